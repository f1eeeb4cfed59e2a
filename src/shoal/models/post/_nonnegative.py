"""Non-negativity: values below 0 become 0, and every mean is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints

    Values = NDArray[np.floating]


def make_nonnegative(values: Values, population: Ints) -> Values:
    r"""Return the nearest values of at least 0 that have the same mean.

    Each feature of each population is treated by itself. Its nearest values (in squared distance)
    under :math:`y_i \ge 0` and :math:`\sum_i y_i = \max(0, \sum_i x_i)` are
    :math:`y_i = \max(0, x_i - \lambda)`, with one number :math:`\lambda`. Low values become zeros,
    and the other cells give what is missing.

    Cutting at 0 would not keep the mean. Where a response lowers a gene, most cells hold a zero
    already and would stay there, so that the mean would fall by less than was predicted.

    Parameters
    ----------
    values
        (n, d) predicted values; changed in place.
    population
        (n,) code of the population of each cell.

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
    """Project each column of (n, k) values onto the values of at least 0 that have its sum.

    A column with a sum below 0 becomes zeros.
    """
    total = x.sum(axis=0, dtype=np.float64)
    falling = -np.sort(-x, axis=0)
    count = np.arange(1, len(x) + 1)[:, None]
    excess = (np.cumsum(falling, axis=0, dtype=np.float64) - total) / count
    above = np.maximum((falling > excess).sum(axis=0), 1)  # how many cells stay above 0
    shift = excess[above - 1, np.arange(x.shape[1])]
    return np.where(total > 0, np.maximum(x - shift, 0), 0).astype(x.dtype)
