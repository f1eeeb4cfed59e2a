r"""Zeros: in how many cells of a predicted population a gene is off, given how far its mean has moved.

Networks move cells in a few dimensions, and what they add to a gene they add to all cells: where control cells hold a zero, the
predicted ones hold a little of it, and every gene looks changed. Counts do not do that. If a response multiplies the rate of a gene
by r, and molecules come independently (Poisson counts; negative binomial ones whose number of bursts is multiplied), the share of
cells without any goes from :math:`p` to :math:`p^r`. With r the ratio of the mean log-normalised values that is right to .007 to
.021 on five real screens, where p itself is off by .017 to .042 (``benchmarks/zeros.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints

    Values = NDArray[np.floating]

USUAL = 5.0  # weight of the controls of the whole screen, in cells: a gene may be off in all cells that are begun with


def expected_zeros(mean: Floats, like: Values, usual: tuple[Floats, Floats]) -> Floats:
    """Return the share of zeros in a population with some means (d,), from cells (n, d) `like` those it began with.

    As many as those have where the mean is theirs. Features that are off everywhere tell nothing: 0.
    """
    n = len(like)
    own = like.mean(axis=0, dtype=np.float64), (like <= 0).mean(axis=0)
    before, share = (
        (n * here + USUAL * always) / (n + USUAL) for here, always in zip(own, usual, strict=True)
    )
    known = (before > 0) & (share > 0)
    slope = np.divide(
        -np.log(np.where(known, share, 1)), before, out=np.zeros_like(before), where=known
    )
    return np.where(before > 0, np.minimum(own[1] * np.exp(-slope * (mean - own[0])), 1), 0)


def switched_off(
    values: Values, like: Values, population: Ints, usual: tuple[Floats, Floats]
) -> Values:
    """Set the lowest values of every population and feature to 0, as many as are expected; the other cells share what they held.

    Means are kept, and so is the order of the cells. Values that are 0 already stay so, and where all cells would be off none is.

    Parameters
    ----------
    values
        (n, d) predicted values, at least 0; changed in place.
    like
        (n, d) measured values of the cells that they began with.
    population
        (n,) codes of the populations that the cells belong to.
    usual
        Mean of every feature over the controls of the screen, and its share of zeros: ``Population.control_zeros``.

    Returns
    -------
    (n, d) values.
    """
    for rows in members(population):
        mean = values[rows].mean(axis=0, dtype=np.float64)
        n_off = np.round(len(rows) * expected_zeros(mean, like[rows], usual)).astype(np.int64)
        changed = np.flatnonzero((n_off > (values[rows] <= 0).sum(axis=0)) & (n_off < len(rows)))
        if len(changed):
            at = np.ix_(rows, changed)
            values[at] = _lowest_off(values[at], n_off[changed])
    return values


def _lowest_off(x: Values, n_off: Ints) -> Values:
    """Set the lowest `n_off` (k,) values of each column (n, k) to 0, and add what they held to the others, evenly."""
    order = np.argsort(x, axis=0, kind="stable")
    off = np.arange(len(x))[:, None] < n_off
    lowest = np.take_along_axis(x, order, axis=0)
    share = np.where(off, lowest, 0).sum(axis=0, dtype=np.float64) / (len(x) - n_off)
    made = np.empty_like(x)
    np.put_along_axis(made, order, np.where(off, 0, lowest + share).astype(x.dtype), axis=0)
    return made
