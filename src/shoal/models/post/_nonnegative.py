"""Log-normalised values are not negative: populations that a model pushes below 0 are brought back, with their mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints

    Values = NDArray[np.floating]


def nonnegative(values: Values, population: Ints) -> Values:
    r"""Return the nearest values without a negative one that have the same mean in every population and feature.

    Cutting at 0 shrinks every response that lowers a gene: most cells hold a zero already, stay there, and the mean comes
    down by less than was predicted. The nearest point (in squares) of :math:`\{y \ge 0, \sum_i y_i = \max(0, \sum_i x_i)\}`
    is :math:`y_i = \max(0, x_i - \lambda)` with one :math:`\lambda` for each population and feature: cells with low values
    become zeros, and the others give what those still owe.

    Parameters
    ----------
    values
        (n, d) predicted values; changed in place.
    population
        (n,) codes of the populations that the cells belong to.

    Returns
    -------
    (n, d) values, at least 0.

    References
    ----------
    Held, Wolfe & Crowder (1974); Duchi et al. (2008), projection onto the simplex.
    """
    for rows in members(population):
        columns = np.flatnonzero(values[rows].min(axis=0, initial=0) < 0)
        if len(columns):
            at = np.ix_(rows, columns)
            values[at] = _projected(values[at])
    return values


def _projected(x: Values) -> Values:
    """Project each column of (n, k) values onto the nonnegative values with its sum, or 0 where that is negative."""
    total = x.sum(axis=0, dtype=np.float64)
    falling = -np.sort(-x, axis=0)
    excess = (np.cumsum(falling, axis=0, dtype=np.float64) - total) / np.arange(1, len(x) + 1)[
        :, None
    ]
    above = np.maximum((falling > excess).sum(axis=0), 1)  # how many cells stay above 0
    shift = excess[above - 1, np.arange(x.shape[1])]
    return np.where(total > 0, np.maximum(x - shift, 0), 0).astype(x.dtype)
