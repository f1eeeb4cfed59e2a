"""What is done to the values that a model predicts, step by step, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..._validate import flag
from ...core._codes import grouped
from ._library import renew_total
from ._mean_shrinkage import shrink_mean_change
from ._nonnegative import make_nonnegative
from ._zero_fraction import match_zero_fraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._typing import Bools, Floats, Ints
    from ..base._expression import Expression

    Values = NDArray[np.floating]

POST_OPTIONS = ("match_zeros", "renew_library")  # options of every prediction


@dataclass(frozen=True, eq=False)
class Moved:
    """Cells that a model has moved, before anything else is done to them.

    Attributes
    ----------
    values
        (n, n_features) predicted values.
    start
        (n, n_features) values that the model started from.
    measured
        (n, n_features) values of the measured cells behind these, before any move between
        contexts; `start` if ``None``.
    perturbed
        (n,) which cells were perturbed at their start; none if ``None``.
    """

    values: Values
    start: Values
    measured: Values | None = None
    perturbed: Bools | None = None

    @classmethod
    def joined(cls, parts: Sequence[Moved], order: Ints) -> Moved:
        """Return several populations as one, rows in an order; all with all four attributes."""
        names = ("values", "start", "measured", "perturbed")
        return cls(*(np.concatenate([getattr(part, n) for part in parts])[order] for n in names))


@dataclass(frozen=True)
class Postprocessing:
    """The steps between what a model returns and the cells that a user gets.

    1. Values below 0 become 0 (`nonnegative`). The mean of every population is kept, unless they
       are cut (`cut`).
    2. Genes are switched off in as many cells as expected. A gene that is off in all training cells
       stays as it was in the starting cells (`match_zeros`). Cells whose zeros the network has
       drawn are left as they are (`zeros_drawn`).
    3. Values that differ from 0 by rounding alone become 0 (`rounding`).
    4. A share of the change of the mean is taken back, for cells that were perturbed at their start
       (`mean_shrinkage`).
    5. Every cell that was moved gets the total of a training cell, where these have one
       (`renew_library`).

    Cells that were not moved stay exactly as they are.

    Attributes
    ----------
    nonnegative
        Whether values cannot be below 0. Without it steps 1, 2, 3 and 5 are left out.
    cut
        Whether values below 0 are cut.
    match_zeros
        Whether step 2 is done.
    zeros_drawn
        Whether the network has drawn the zeros of cells that were not perturbed at their start.
    renew_library
        Whether step 5 is done.
    rounding
        (n_features,) values below which a value counts as 0; ``None`` leaves out step 3.
    mean_shrinkage
        Share of step 4, from 0 (nothing is taken back) to 1 (all of it).
    expression
        What training cells say about zeros and totals; ``None`` leaves out steps 2 and 5.
    """

    nonnegative: bool = False
    cut: bool = False
    match_zeros: bool = False
    zeros_drawn: bool = False
    renew_library: bool = False
    rounding: Floats | None = None
    mean_shrinkage: float = 0.0
    expression: Expression | None = field(default=None, compare=False)

    @classmethod
    def as_expected(
        cls, expression: Expression, *, nonnegative: bool, cut: bool = False
    ) -> Postprocessing:
        """Return the usual steps: zeros and totals as training cells let expect."""
        steps = {"cut": cut, "match_zeros": True, "renew_library": True}
        return cls(nonnegative=nonnegative, expression=expression, **steps)

    def with_options(
        self, *, match_zeros: bool | None = None, renew_library: bool | None = None
    ) -> Postprocessing:
        """Return the same steps, with some turned on or off; ``None`` leaves one as it is.

        Raises
        ------
        TypeError
            If one is neither ``True``, ``False`` nor ``None``.
        """
        given = {"match_zeros": match_zeros, "renew_library": renew_library}
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            flag(value, name=name)
        return replace(self, **given)

    def __call__(self, moved: Moved, population: Ints, rng: np.random.Generator) -> Values:
        """Return the (n, n_features) values after all steps.

        Parameters
        ----------
        moved
            What a model has predicted; its values are changed in place.
        population
            (n,) codes of the populations that the cells belong to.
        rng
            Chooses among cells with equal values which ones are off.
        """
        values, start = moved.values, moved.start
        measured = start if moved.measured is None else moved.measured
        perturbed = np.zeros(len(values), dtype=bool)
        if moved.perturbed is not None:
            perturbed = moved.perturbed
            population, _ = grouped(population=population, perturbed=perturbed)
        told = self.expression if self.nonnegative else None
        if self.nonnegative and self.cut:
            np.maximum(values, 0, out=values)
        elif self.nonnegative:
            make_nonnegative(values, population)
        if told is not None and self.match_zeros:
            values[:, told.off] = measured[:, told.off]
            if self.zeros_drawn:
                at = np.flatnonzero(perturbed)
                own = values[at], measured[at], population[at], told.zero_slope, rng
                values[at] = match_zero_fraction(*own)
            else:
                match_zero_fraction(values, measured, population, told.zero_slope, rng)
        if self.nonnegative and self.rounding is not None:
            values[values < self.rounding] = 0
        if self.mean_shrinkage and perturbed.any():
            at, share = np.flatnonzero(perturbed), self.mean_shrinkage
            own = values[at], start[at], population[at], share
            values[at] = shrink_mean_change(*own, nonnegative=self.nonnegative)
        if told is not None and self.renew_library and np.isfinite(told.total):
            renew_total(values, (values != measured).any(axis=1), told.total)
        return values
