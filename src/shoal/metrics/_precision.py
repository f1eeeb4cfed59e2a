r"""Average precision of one ranking, and what it is in a random order.

For a query with M matching candidates among T, and ranks in a random order, the average precision
is, on average,

.. math:: E = \frac{1}{T} \left( \frac{M - 1}{T - 1} (T - H_T) + H_T \right), \qquad
          H_T = \sum_{k=1}^T \frac{1}{k}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._pairs import BLOCK_BYTES

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints


def ranked_precision(distance: Floats, rounding: Floats, same: Bools) -> float:
    """Return the average precision of one ranking, the mean over the orders of its ties.

    In a tie of t candidates, r of them matching, with s candidates and R matching ones before it,
    the k-th place holds a matching candidate with probability r / t. The expected number of
    matching ones up to it is then R + 1 + (k - 1) (r - 1) / (t - 1).
    """
    order = np.argsort(distance, kind="stable")
    d, e, hit = distance[order], rounding[order], same[order]
    tie = np.cumsum(np.r_[0, np.diff(d) > e[1:] + e[:-1]])
    size, hits = np.bincount(tie), np.bincount(tie, weights=hit)
    start, before = np.cumsum(size) - size, np.cumsum(hits) - hits
    place = np.arange(1, len(d) + 1)
    t, r = size[tie], hits[tie]
    within = (place - start[tie] - 1) * (r - 1) / np.maximum(t - 1, 1)
    return float((r / t * (before[tie] + 1 + within) / place).sum() / hit.sum())


def expected_precision(matching: Ints, total: Ints) -> Floats:
    """Return the mean average precision of a random order; NaN without candidates of both kinds."""
    m, t = np.asarray(matching, dtype=float), np.asarray(total)
    harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, t.max(initial=1) + 1))][t]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = ((m - 1) / (t - 1) * (t - harmonic) + harmonic) / t
    return np.where((m > 0) & (t > m), mean, np.nan)


def random_precision(
    matching: int, total: int, n_perms: int, *, rng: np.random.Generator
) -> Floats:
    """Return (n_perms,) average precisions of `matching` among `total` in random orders."""
    step = max(1, BLOCK_BYTES // (8 * total))
    place = np.arange(1, matching + 1)
    parts = []
    for start in range(0, n_perms, step):
        n = min(step, n_perms - start)
        ranks = rng.permuted(np.tile(np.arange(1, total + 1), (n, 1)), axis=1)[:, :matching]
        ranks.sort(axis=1)
        parts.append((place / ranks).mean(axis=1))
    return np.concatenate(parts)
