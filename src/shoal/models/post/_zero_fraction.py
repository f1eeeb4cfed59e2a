r"""Zeros of predicted populations: a gene is off in as many cells as its mean lets expect.

Networks move cells in a few dimensions, and what they add to a gene they add to all cells. Where
control cells hold a zero, the predicted cells would hold a small value, and every gene would look
changed.

Counts behave otherwise. Let a response multiply the rate of a gene by r, and let molecules come
independently: Poisson counts, or negative binomial counts whose number of bursts is multiplied. The
fraction of cells without any molecule then goes from :math:`p` to :math:`p^r`. With r the ratio of
the mean log-normalised values, this is right to within .007 to .021 on five real screens. Keeping
p itself is wrong by .017 to .042 (``benchmarks/zeros.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints

    Values = NDArray[np.floating]

CONTROL_WEIGHT = 5.0  # in cells: a gene may be off in all cells that a population starts from


def expected_zero_fraction(mean: Floats, start: Values, control: tuple[Floats, Floats]) -> Floats:
    """Return the fraction of zeros of every feature in a population with given means.

    It is that of the start cells where the mean is theirs, and falls as the mean rises.

    Parameters
    ----------
    mean
        (d,) means of the population.
    start
        (n, d) measured values of the cells that the population starts from.
    control
        Mean (d,) of every feature over the control cells of the screen, and its fraction of zeros
        (d,). They count as much as `CONTROL_WEIGHT` start cells.

    Returns
    -------
    (d,) fractions; 0 for a feature that is off in all these cells, of which nothing is known.
    """
    n = len(start)
    own = start.mean(axis=0, dtype=np.float64), (start <= 0).mean(axis=0)
    before, share = (
        (n * here + CONTROL_WEIGHT * always) / (n + CONTROL_WEIGHT)
        for here, always in zip(own, control, strict=True)
    )
    known = (before > 0) & (share > 0)
    slope = np.divide(
        -np.log(np.where(known, share, 1)), before, out=np.zeros_like(before), where=known
    )
    return np.where(before > 0, np.minimum(own[1] * np.exp(-slope * (mean - own[0])), 1), 0)


def match_zero_fraction(
    values: Values, start: Values, population: Ints, control: tuple[Floats, Floats]
) -> Values:
    """Set the lowest values of every population and feature to 0, as many as are expected.

    - What these cells held is shared evenly among the other cells, so that every mean is kept.
    - The order of the cells is kept.
    - Values that are 0 already stay 0.
    - Where all cells of a population would be off, none is changed.

    Parameters
    ----------
    values
        (n, d) predicted values, at least 0; changed in place.
    start
        (n, d) measured values of the cells that the predictions start from.
    population
        (n,) code of the population of each cell.
    control
        Mean (d,) of every feature over the control cells of the screen, and its fraction of zeros
        (d,): ``Population.control_zeros``.

    Returns
    -------
    (n, d) values.
    """
    for rows in members(population):
        mean = values[rows].mean(axis=0, dtype=np.float64)
        expected = expected_zero_fraction(mean, start[rows], control)
        n_off = np.round(len(rows) * expected).astype(np.int64)
        changed = np.flatnonzero((n_off > (values[rows] <= 0).sum(axis=0)) & (n_off < len(rows)))
        if len(changed):
            at = np.ix_(rows, changed)
            values[at] = _lowest_off(values[at], n_off[changed])
    return values


def _lowest_off(x: Values, n_off: Ints) -> Values:
    """Set the lowest `n_off` (k,) values of each column (n, k) to 0.

    What they held is added to the others, evenly.
    """
    order = np.argsort(x, axis=0, kind="stable")
    off = np.arange(len(x))[:, None] < n_off
    lowest = np.take_along_axis(x, order, axis=0)
    share = np.where(off, lowest, 0).sum(axis=0, dtype=np.float64) / (len(x) - n_off)
    made = np.empty_like(x)
    np.put_along_axis(made, order, np.where(off, 0, lowest + share).astype(x.dtype), axis=0)
    return made
