"""What an ensemble was wrong by within training, for the intervals of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ...metrics._conformal import excess_variance, quantiles, radius

if TYPE_CHECKING:
    from ..._typing import Floats, Ints


@dataclass(frozen=True, eq=False)
class Residuals:
    """The errors of one kind of question.

    Attributes
    ----------
    excess
        (d,) variance of measured around predicted responses, beyond the noise of measuring.
    grid
        (C, 201) quantiles over genes of the absolute errors of every condition, in their scales.
    n
        Cells of the median condition.
    control
        Variance of the noise of the controls, in units of that of a cell: the median over
        conditions of 1 / controls.
    """

    excess: Floats
    grid: Floats
    n: float
    control: float

    @classmethod
    def of(cls, residual: Floats, cell: Floats, n: Ints, control: Floats) -> Self:
        """Return the errors of a kind of question.

        Parameters
        ----------
        residual
            (C, d) measured minus predicted responses.
        cell
            (d,) variance of one cell.
        n
            (C,) cells of each condition.
        control
            (C,) variance of the noise of its controls, in units of that of a cell.
        """
        each = (1 / n + control)[:, None] * cell
        excess = excess_variance(residual, each)
        grid = quantiles(residual, np.sqrt(excess + each))
        return cls(excess, grid, float(np.median(n)), float(np.median(control)))

    def half_width(
        self, cell: Floats, level: float, *, n_cells: int | None = None, pooled: bool = False
    ) -> tuple[Floats, bool]:
        """Return (d,) half the width of the interval of every gene, and whether there is enough.

        Parameters
        ----------
        cell
            (d,) variance of one cell.
        level
            Share that is to be covered.
        n_cells
            Cells of the measurement that is to be covered; those of the median condition if
            ``None``.
        pooled
            Whether the share of all genes of all conditions is meant.
        """
        size, enough = radius(self.grid, level, pooled=pooled)
        noise = 1 / (self.n if n_cells is None else n_cells) + self.control
        return size * np.sqrt(self.excess + noise * cell), enough
