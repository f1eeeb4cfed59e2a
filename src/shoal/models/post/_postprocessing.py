"""What is done to the values that a network predicts, step by step, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._mean_shrinkage import shrink_mean_change
from ._nonnegative import make_nonnegative
from ._zero_fraction import match_zero_fraction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints

    Values = NDArray[np.floating]


@dataclass(frozen=True)
class Postprocessing:
    """The steps between what a network returns and the cells that a user gets.

    1. Values below 0 become 0, and the mean of every population is kept (`nonnegative`).
    2. Genes are switched off in as many cells as expected (`match_zero_fraction`).
    3. Values that differ from 0 by rounding alone become 0 (`rounding`).
    4. A share of the change of the mean is taken back, for cells that were perturbed at their start
       (`mean_shrinkage`).

    Attributes
    ----------
    nonnegative
        Whether values cannot be below 0. Without it steps 1 to 3 are left out.
    match_zero_fraction
        Whether step 2 is done.
    rounding
        (n_features,) values below which a value counts as 0; ``None`` leaves out step 3.
    mean_shrinkage
        Share of step 4, from 0 (nothing is taken back) to 1 (all of it).
    """

    nonnegative: bool = False
    match_zero_fraction: bool = False
    rounding: Floats | None = None
    mean_shrinkage: float = 0.0

    @property
    def needs_control_zeros(self) -> bool:
        """Whether a call needs the share of zeros among control cells."""
        return self.nonnegative and self.match_zero_fraction

    def __call__(
        self,
        values: Values,
        *,
        start: Values,
        measured: Values,
        population: Ints,
        perturbed: bool,
        control_zeros: tuple[Floats, Floats] | None,
    ) -> Values:
        """Return the values after all steps.

        Parameters
        ----------
        values
            (n, n_features) predicted values; changed in place.
        start
            (n, n_features) values that the network started from.
        measured
            (n, n_features) measured values of the same cells, before any move between contexts.
        population
            (n,) codes of the populations that the cells belong to.
        perturbed
            Whether the cells were perturbed at their start.
        control_zeros
            Mean of every feature over the control cells, and its share of zeros. May be ``None``
            unless `needs_control_zeros`.

        Returns
        -------
        (n, n_features) values.
        """
        if self.nonnegative:
            make_nonnegative(values, population)
            if self.match_zero_fraction and control_zeros is not None:
                match_zero_fraction(values, measured, population, control_zeros)
            if self.rounding is not None:
                values[values < self.rounding] = 0
        if perturbed and self.mean_shrinkage:
            share = self.mean_shrinkage
            shrink_mean_change(values, start, population, share, nonnegative=self.nonnegative)
        return values
