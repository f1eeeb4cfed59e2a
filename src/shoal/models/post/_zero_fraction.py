r"""Zeros of predicted populations: a gene is off in as many cells as its mean lets expect.

Models move cells in a few dimensions or by one shift, and what they add to a gene they add to all
cells. Where control cells hold a zero, the predicted cells would hold a small value, and every gene
would look changed.

Counts behave otherwise. Let a response multiply the rate of a gene by r, and let molecules come
independently: Poisson counts, or negative binomial counts whose number of bursts is multiplied. The
fraction of cells without any molecule then goes from :math:`p` to :math:`p^r`. With r the ratio of
the mean log-normalised values, this is a line: :math:`-\log p` is a slope times the mean. On held
out conditions of five real screens the line is right to within .005 to .022. Keeping p itself is
wrong by .016 to .046 (``benchmarks/zeros.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints

    Values = NDArray[np.floating]

TRAINING_WEIGHT = 5.0  # of the slope of training cells, in starting cells that have the gene


def zero_slope(share: Floats, mean: Floats) -> Floats:
    """Return minus the logarithm of the share of zeros, for a mean of 1.

    Parameters
    ----------
    share
        (d,) shares of zeros, above 0.
    mean
        (d,) means.

    Returns
    -------
    (d,) slopes; 0 where the mean is 0.
    """
    return np.divide(-np.log(share), mean, out=np.zeros(len(mean)), where=mean > 0)


def expected_zero_fraction(mean: Floats, start: Values, slope: Floats) -> Floats:
    """Return the share of zeros of every feature in a population with given means.

    It is that of the start cells where the mean is theirs, and falls as the mean rises. The slope
    is that of the start cells as far as they have the feature, and that of training for the rest.

    Parameters
    ----------
    mean
        (d,) means of the population.
    start
        (n, d) measured values of the cells that the population starts from.
    slope
        (d,) slopes of training: ``Expression.zero_slope``.

    Returns
    -------
    (d,) shares.
    """
    n, before, off = len(start), start.mean(axis=0, dtype=np.float64), (start <= 0).sum(axis=0)
    own = zero_slope((off + 0.5) / (n + 0.5), before)
    steep = ((n - off) * own + TRAINING_WEIGHT * slope) / (n - off + TRAINING_WEIGHT)
    # of n cells that are all on, less than one is expected to be off
    share = np.where(off > 0, off / n, np.minimum(np.exp(-steep * before), 0.5 / (n + 0.5)))
    return np.minimum(share * np.exp(-steep * (mean - before)), 1)


def match_zero_fraction(
    values: Values, start: Values, population: Ints, slope: Floats, rng: np.random.Generator
) -> Values:
    """Set values of every population and feature to 0, as many as are expected.

    - Values that are 0 already stay 0. Next come cells whose starting cell holds a 0, at random,
      and then the others, the lowest first.
    - What these cells held is shared evenly among the other cells, so that every mean is kept.
    - At least one cell stays on, so that no mean is lost.

    Parameters
    ----------
    values
        (n, d) predicted values, at least 0; changed in place.
    start
        (n, d) measured values of the cells that the predictions start from.
    population
        (n,) code of the population of each cell.
    slope
        (d,) slopes of training: ``Expression.zero_slope``.
    rng
        Orders the cells that start at 0. If the lowest of them were taken, those that a model moves
        least would be off in all features at once, and features would go together too much.

    Returns
    -------
    (n, d) values.
    """
    for rows in members(population):
        n, mean = len(rows), values[rows].mean(axis=0, dtype=np.float64)
        expected = expected_zero_fraction(mean, start[rows], slope)
        n_off = np.minimum(np.round(n * expected).astype(np.int64), n - 1)
        changed = np.flatnonzero(n_off > (values[rows] <= 0).sum(axis=0))
        if len(changed):
            at = np.ix_(rows, changed)
            values[at] = _off(values[at], start[at], n_off[changed], rng)
    return values


def _off(x: Values, start: Values, n_off: Ints, rng: np.random.Generator) -> Values:
    """Set `n_off` (k,) values of each column (n, k) to 0.

    What they held is added to the others, evenly.
    """
    place = np.broadcast_to(np.arange(len(x))[:, None], x.shape)
    order = rng.permuted(place, axis=0)
    key = np.where(x <= 0, -2.0, np.where(start <= 0, -1.0, x))
    by_size = np.argsort(np.take_along_axis(key, order, axis=0), axis=0, kind="stable")
    order = np.take_along_axis(order, by_size, axis=0)
    off = place < n_off
    lowest = np.take_along_axis(x, order, axis=0)
    share = np.where(off, lowest, 0).sum(axis=0, dtype=np.float64) / (len(x) - n_off)
    made = np.empty_like(x)
    np.put_along_axis(made, order, np.where(off, 0, lowest + share).astype(x.dtype), axis=0)
    return made
