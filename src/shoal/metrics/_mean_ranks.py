r"""Ranks of the matching mean among the means of all conditions, by distance.

Each mean is a query in turn, and the means of all conditions are its candidates. Genes that do not
count for a query, such as its target, are left out of all its distances. Let q be the query, with 0
in the genes that do not count, c a candidate and m the mask of the query. All distances are then
products of matrices, except for one l1 distance without mask:

.. math:: |q - c|^2 = |q|^2 - 2\, q \cdot c + m \cdot c^2, \qquad
          |q - c|_{1, m} = |q - c|_1 - (1 - m) \cdot |c|
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import one_of
from ._kernels import compiled
from ._means import ROUNDING, counted, members
from ._pairs import BLOCK_BYTES

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

FEWEST = 50  # genes that ranks need, or half of the genes where there are fewer than twice as many


def panel_genes(mask: Bools, group: Ints | None) -> Bools:
    r"""Return the genes in which conditions are ranked: no target of any condition of a context.

    A knock-down lowers its own target, which everybody knows. If gene t is the target of condition
    q, it stands out in the mean of q alone. So what a prediction says of t decides how far it is
    from q, whatever the response is. Say that the real shift of every target is -δ, and that a
    prediction is higher by a in the targets of all other conditions. It is then farther from each
    of them than from its own mean, by the squared distance

    .. math:: (a + \delta)^2 - a^2 = \delta^2 + 2 a \delta

    which grows with a without bound. Where no target of the panel counts, nothing is gained.

    Parameters
    ----------
    mask
        (P, G) genes that count: all but the targets of the condition itself.
    group
        (P,) context of each condition.

    Returns
    -------
    (P, G) booleans, the same in all conditions of a context. A context in which too few genes are
    left (see `enough`) keeps `mask`.
    """
    genes = mask.copy()
    for rows in members(group, len(mask)):
        left = np.asarray(mask[rows].all(axis=0))
        if enough(left):
            genes[rows] = left
    return genes


def enough(left: Bools) -> bool:
    """Return whether conditions can be ranked by these of all (G,) genes: by 50, or by half."""
    return int(left.sum()) >= min(FEWEST, len(left) / 2)


def rank_among(
    query: Floats,
    candidates: Floats,
    metric: str,
    *,
    mask: Bools | None,
    group: Ints | None,
    ties: str = "average",
    scale: str = "pds",
) -> Floats:
    """Return the rank of candidate p for query p, from 0, divided by the size of its group.

    The size is the number N of conditions, or N - 1 with ``scale="unit"``.
    """
    one_of(metric, tuple(DISTANCES), name="metric")
    one_of(ties, ("average", "order"), name="ties")
    one_of(scale, ("pds", "unit"), name="scale")
    genes = None if mask is None else counted(mask, query.shape)
    ranks = np.full(len(query), np.nan)
    for rows in members(group, len(query)):
        n, others = len(rows), candidates[rows]
        if n < 2:
            continue
        step = max(1, BLOCK_BYTES // (8 * max(n, query.shape[1])))
        for start in range(0, n, step):
            block = rows[start : start + step]
            counterpart = np.arange(start, start + len(block))
            counts = None if genes is None else genes[block].astype(np.float64)
            distance, rounding = DISTANCES[metric](query[block], others, counts)
            before, tied = _compare(distance, rounding, counterpart)
            first = np.arange(n) < counterpart[:, None]
            wins = (tied & first).sum(axis=1) if ties == "order" else (tied.sum(axis=1) - 1) / 2
            ranks[block] = (before.sum(axis=1) + wins) / (n if scale == "pds" else n - 1)
    return ranks


def _compare(distance: Floats, rounding: Floats, counterpart: Ints) -> tuple[Bools, Bools]:
    """Return which candidates are closer than the counterpart, and which are equally close.

    Distances are equal if they differ by no more than rounding. The counterpart is among
    them.
    """
    mine = counterpart[:, None]
    gap = distance - np.take_along_axis(distance, mine, axis=1)
    slack = rounding + np.take_along_axis(rounding, mine, axis=1)
    return gap < -slack, np.abs(gap) <= slack


def _l1(query: Floats, candidates: Floats, counts: Floats | None) -> tuple[Floats, Floats]:
    """Return (b, n) l1 distances over the genes that count, and their rounding errors."""
    if counts is None:
        distance = _l1_distances(query, candidates)
        return distance, ROUNDING * distance
    every = _l1_distances(query * counts, candidates)
    return every - (1 - counts) @ np.abs(candidates).T, ROUNDING * every


def _l2(query: Floats, candidates: Floats, counts: Floats | None) -> tuple[Floats, Floats]:
    """Return (b, n) squared distances, and their rounding errors."""
    centre = candidates.mean(axis=0)  # products of smaller numbers have smaller rounding errors
    query, candidates = query - centre, candidates - centre
    if counts is not None:
        query = query * counts
    lengths = np.einsum("ig,ig->i", query, query)[:, None]
    every = lengths + np.einsum("jg,jg->j", candidates, candidates)
    theirs = every - lengths if counts is None else counts @ (candidates**2).T
    return lengths + theirs - 2 * (query @ candidates.T), ROUNDING * every


def _cosine(query: Floats, candidates: Floats, counts: Floats | None) -> tuple[Floats, Floats]:
    """Return (b, n) values of -cosine, 0 where a length is 0, and their rounding errors."""
    if counts is not None:
        query = query * counts
    every = np.einsum("jg,jg->j", candidates, candidates)[None, :]
    theirs = every if counts is None else counts @ (candidates**2).T
    theirs = np.where(theirs > ROUNDING * every, theirs, 0.0)
    scale = np.sqrt(np.einsum("ig,ig->i", query, query))[:, None] * np.sqrt(theirs)
    safe = np.where(scale > 0, scale, 1.0)
    cosine = np.where(scale > 0, query @ candidates.T, 0.0) / safe
    with np.errstate(divide="ignore", invalid="ignore"):
        # what the mask removed from a squared length cancels, and adds rounding
        lost = np.where(theirs > 0, every / theirs, 1.0)
    return -cosine, ROUNDING * lost


DISTANCES = {"l1": _l1, "l2": _l2, "cosine": _cosine}


def _l1_loop(x: Floats, y: Floats) -> Floats:
    out = np.empty((len(x), len(y)))
    for start in range(0, len(y), 16):  # few candidates at a time, so that they stay in the cache
        for i in range(len(x)):
            for j in range(start, min(start + 16, len(y))):
                total = 0.0
                for g in range(x.shape[1]):
                    total += abs(x[i, g] - y[j, g])
                out[i, j] = total
    return out


# with fastmath, four times faster than scipy, which cannot reorder its sums
_l1_distances = compiled(_l1_loop, fastmath=True)
