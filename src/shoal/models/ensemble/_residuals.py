"""What an ensemble was wrong by within training, for the intervals of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ...metrics._conformal import excess_variance, quantiles, radius

if TYPE_CHECKING:
    from ..._typing import Floats


@dataclass(frozen=True, eq=False)
class Residuals:
    """The errors of one kind of question.

    Attributes
    ----------
    excess
        (d,) variance of measured around predicted responses, beyond the noise of measuring.
    grid
        (C, 201) quantiles over genes of the absolute errors of every condition, in their scales.
    noise
        Variance of the noise of a measured response, in units of that of a cell: the median over
        conditions of 1 / cells + 1 / controls.
    """

    excess: Floats
    grid: Floats
    noise: float

    @classmethod
    def of(cls, residual: Floats, cell: Floats, noise: Floats) -> Self:
        """Return the errors of a kind of question.

        Parameters
        ----------
        residual
            (C, d) measured minus predicted responses.
        cell
            (d,) variance of one cell.
        noise
            (C,) variance of the noise of a measured response, in units of that of a cell.
        """
        each = noise[:, None] * cell
        excess = excess_variance(residual, each)
        grid = quantiles(residual, np.sqrt(excess + each))
        return cls(excess, grid, float(np.median(noise)))

    def half_width(
        self, cell: Floats, level: float, *, pooled: bool = False
    ) -> tuple[Floats, bool]:
        """Return (d,) half the width of the interval of every gene, and whether there is enough.

        Parameters
        ----------
        cell
            (d,) variance of one cell.
        level
            Share that is to be covered.
        pooled
            Whether the share of all genes of all conditions is meant.
        """
        size, enough = radius(self.grid, level, pooled=pooled)
        return size * np.sqrt(self.excess + self.noise * cell), enough
