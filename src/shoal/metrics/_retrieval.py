r"""Retrieval: whether a profile finds the other profiles of its perturbation.

A query ranks its candidates by how near they are. Candidates that are equally near have no order,
so every value here is the mean over all orders of such ties. A representation that is the same for
all profiles is then at chance, in whatever order the profiles are stored.

For a query with M matching candidates among T, and ranks in a random order, the average precision
is, on average,

.. math:: E = \frac{1}{T} \left( \frac{M - 1}{T - 1} (T - H_T) + H_T \right), \qquad
          H_T = \sum_{k=1}^T \frac{1}{k}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._random import as_generator
from .._threads import one_thread
from .._validate import one_of
from ._arguments import arrays, require_finite
from ._mean_ranks import DISTANCES
from ._pairs import BLOCK_BYTES
from ._permutation import permutation_pvalue
from ._texts import documented

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._random import RNGLike
    from .._typing import Bools, Floats, Ints
    from ._discrimination import Metric


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of every profile.

    Attributes
    ----------
    value
        (n,) average precision, NaN for a profile without matching or without other candidates.
    normalised
        (n,) the same, with 0 at chance and 1 at best: (value - E) / (1 - E), where E is the mean
        over random orders. It can fall below -1, where copairs cuts it, so that its mean is 0 by
        chance.
    n_matching, n_candidates
        (n,) numbers of matching candidates, and of all candidates.
    """

    value: Floats
    normalised: Floats
    n_matching: Ints
    n_candidates: Ints


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Mean average precision of every label, in the sorted order of the labels.

    Attributes
    ----------
    value, normalised
        (P,) means of the average precisions of the label's profiles; NaN where none has one.
    n_queries
        (P,) profiles that have an average precision.
    pvalue
        (P,) chance of a value at least as large, if the ranks were random.
    """

    value: Floats
    normalised: Floats
    n_queries: Ints
    pvalue: Floats


@arrays
@one_thread()
@documented
def average_precision(
    profiles: Floats,
    label: Ints,
    *,
    apart: Ints | None = None,
    within: Ints | None = None,
    negative: Bools | None = None,
    metric: Metric = "cosine",
) -> AveragePrecision:
    r"""Average precision (AP): how early a profile finds its replicates among other profiles.

    Each profile is a query in turn. Its candidates are its replicates and profiles of other labels,
    ranked by similarity. AP is the mean, over the M replicates, of the share of replicates among
    the candidates up to that one:

    .. math:: \mathrm{AP} = \frac{1}{M} \sum_{i=1}^{M} \frac{i}{\mathrm{rank}_i}

    1 is perfect. Chance depends on M and on the number of candidates, see `normalised`.

    Parameters
    ----------
    {profiles}
    metric
        How near two profiles are: ``"cosine"``, ``"l2"`` or ``"l1"``.

    Returns
    -------
    The precision of each profile, raw and normalised, and its numbers of candidates.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or `metric` is not known.

    References
    ----------
    Kalinin et al. (2025), "copairs" 0.5, which breaks ties by the order of the profiles.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> profiles = np.array([[1.0, 0.1], [1.0, 0.2], [0.9, 0.3], [0.0, 1.0]])
    >>> sh.metrics.average_precision(profiles, ["a", "a", "b", "b"]).value.round(2)
    array([1.  , 1.  , 0.33, 1.  ])
    """
    rules = _Rules(profiles, label, apart=apart, within=within, negative=negative)
    one_of(metric, tuple(DISTANCES), name="metric")
    n = len(profiles)
    value, matching, total = np.full(n, np.nan), np.zeros(n, int), np.zeros(n, int)
    for rows, distance, rounding in _blocks(profiles, profiles, metric):
        same, other = rules.candidates(rows)
        for i, row in enumerate(rows):
            used = same[i] | other[i]
            matching[row], total[row] = same[i].sum(), used.sum()
            if matching[row] and total[row] > matching[row]:
                value[row] = _precision(distance[i, used], rounding[i, used], same[i, used])
    chance = expected_precision(matching, total)
    return AveragePrecision(value, (value - chance) / (1 - chance), matching, total)


@arrays
@one_thread()
@documented
def mean_average_precision(
    profiles: Floats,
    label: Ints,
    *,
    apart: Ints | None = None,
    within: Ints | None = None,
    negative: Bools | None = None,
    metric: Metric = "cosine",
    n_perms: int = 999,
    rng: RNGLike = 0,
) -> MeanAveragePrecision:
    """Mean average precision (mAP) of every label, with its null by random ranks.

    The null ranks the candidates of a query in a random order. Queries with the same numbers of
    candidates share their random orders, as in copairs. That is as if the profiles of a label stood
    or fell together, so the test keeps its level, and is conservative where they do not.

    Parameters
    ----------
    {profiles}
    metric
        As for :func:`shoal.metrics.average_precision`.
    n_perms
        Number B of random orders. The p-value is (b + 1) / (B + 1), where b orders reach the value;
        ties count.
    rng
        {rng}

    Returns
    -------
    One entry for each label, in sorted order.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or an option is not known.

    References
    ----------
    Kalinin et al. (2025), "copairs" 0.5. There, ties of the null with the value do not count.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> profiles = np.repeat(np.eye(5), 4, axis=0)
    >>> found = sh.metrics.mean_average_precision(profiles, np.repeat(list("abcde"), 4))
    >>> found.value
    array([1., 1., 1., 1., 1.])
    >>> bool((found.pvalue < 0.05).all())
    True
    """
    generator = as_generator(rng)
    own = average_precision(
        profiles, label, apart=apart, within=within, negative=negative, metric=metric
    )
    names, code = np.unique(label, return_inverse=True)
    there = np.flatnonzero(~np.isnan(own.value))
    sizes = np.stack([own.n_matching, own.n_candidates], axis=1)
    kinds, kind = np.unique(sizes[there], axis=0, return_inverse=True)
    null = (
        np.stack([random_precision(int(m), int(t), n_perms, rng=generator) for m, t in kinds])
        if len(kinds)
        else np.empty((0, n_perms))
    )
    count = np.bincount(code[there], minlength=len(names))
    found = np.full((3, len(names)), np.nan)
    for p in np.flatnonzero(count):
        mine = code[there] == p
        rows = there[mine]
        value = own.value[rows].mean()
        reached = (null[kind.ravel()[mine]].mean(axis=0) >= value - TIE).sum()
        found[:, p] = value, own.normalised[rows].mean(), permutation_pvalue(reached, n_perms)
    return MeanAveragePrecision(found[0], found[1], count, found[2])


@arrays
@one_thread()
@documented
def top_k_accuracy(
    query: Floats,
    reference: Floats,
    query_label: Ints,
    reference_label: Ints,
    *,
    k: int = 1,
    query_unit: Ints | None = None,
    reference_unit: Ints | None = None,
    metric: Metric = "cosine",
) -> Floats:
    """Whether the label of a query is among the k labels that are nearest to it.

    Labels are ranked by their nearest reference profile. Chance is k divided by the number of
    labels. Where labels are equally near, the value is the share of their orders in which the right
    one is among the first k.

    Parameters
    ----------
    query
        (n, d) profiles, such as those of a new cell line.
    reference
        (m, d) profiles whose labels are known, or one mean per label.
    query_label, reference_label
        (n,) and (m,) perturbations, as numbers or names.
    k
        How many labels count.
    query_unit, reference_unit
        (n,) and (m,) unit of each profile, such as its well. A reference of the query's own unit is
        left out. Where the references are the queries themselves, number the profiles.
    metric
        As for :func:`shoal.metrics.average_precision`.

    Returns
    -------
    (n,) values from 0 to 1. NaN where no reference has the label of the query.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, only one of the units is given, or an option
        is not known.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> means = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> query = np.array([[0.9, 0.2], [0.9, 0.2]])
    >>> sh.metrics.top_k_accuracy(query, means, ["a", "b"], ["a", "b", "c"])
    array([1., 0.])
    >>> sh.metrics.top_k_accuracy(query, means, ["a", "b"], ["a", "b", "c"], k=2)
    array([1., 1.])
    """
    one_of(metric, tuple(DISTANCES), name="metric")
    if (query_unit is None) != (reference_unit is None):
        msg = "query_unit and reference_unit go together: give both, or none"
        raise ValueError(msg)
    _check_lengths(query, {"query_label": query_label, "query_unit": query_unit}, "query")
    of_reference = {"reference_label": reference_label, "reference_unit": reference_unit}
    _check_lengths(reference, of_reference, "reference")
    if query.shape[1] != reference.shape[1]:
        msg = f"query has {query.shape[1]} features and reference {reference.shape[1]}"
        raise ValueError(msg)
    names, code = np.unique(reference_label, return_inverse=True)
    position = {name: i for i, name in enumerate(names.tolist())}
    own = np.array([position.get(name, -1) for name in query_label.tolist()])
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(len(names)))
    found = np.full(len(query), np.nan)
    for rows, distance, rounding in _blocks(query, reference, metric):
        if query_unit is not None and reference_unit is not None:
            distance[query_unit[rows][:, None] == reference_unit[None, :]] = np.inf
        nearest = np.minimum.reduceat(distance[:, order], starts, axis=1)
        slack = np.max(rounding, axis=1, keepdims=True)
        mine = np.take_along_axis(nearest, np.maximum(own[rows], 0)[:, None], axis=1)
        with np.errstate(invalid="ignore"):  # inf - inf, of labels without a reference
            gap = nearest - mine
        before = (gap < -slack).sum(axis=1)
        tied = (np.abs(gap) <= slack).sum(axis=1)  # the own label among them
        share = np.clip((k - before) / np.maximum(tied, 1), 0, 1)
        found[rows] = np.where((own[rows] >= 0) & np.isfinite(mine[:, 0]), share, np.nan)
    return found


# -- one query -------------------------------------------------------------------------------------

TIE = 1e-12  # two means of precisions that differ by less are equal


def _precision(distance: Floats, rounding: Floats, same: Bools) -> float:
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


# -- candidates ------------------------------------------------------------------------------------


class _Rules:
    """Which profiles a query ranks, and which of them match."""

    def __init__(
        self,
        profiles: Floats,
        label: Ints,
        *,
        apart: Ints | None,
        within: Ints | None,
        negative: Bools | None,
    ) -> None:
        given = {"label": label, "apart": apart, "within": within, "negative": negative}
        _check_lengths(profiles, given, "profiles")
        self.label, self.negative = label, negative
        self.apart = np.arange(len(profiles)) if apart is None else apart
        self.within = within

    def candidates(self, rows: Ints) -> tuple[Bools, Bools]:
        """Return (b, n) which profiles match each of some queries, and which others it ranks."""
        same = self.label[rows][:, None] == self.label[None, :]
        other = ~same
        if self.within is not None:
            other &= self.within[rows][:, None] == self.within[None, :]
        if self.negative is not None:
            other &= self.negative[None, :].astype(bool)
        same &= self.apart[rows][:, None] != self.apart[None, :]
        same[np.arange(len(rows)), rows] = False
        return same, other


def _check_lengths(profiles: Floats, given: Mapping[str, Any], name: str) -> None:
    """Raise ``ValueError`` unless there is one entry for each profile, all finite."""
    if profiles.ndim != 2 or not profiles.size:
        msg = (
            f"{name} must be a table with a row for each profile and at least one feature, not of "
            f"shape {profiles.shape}"
        )
        raise ValueError(msg)
    for key, values in given.items():
        if values is not None and values.shape != (len(profiles),):
            msg = f"{key} has the shape {values.shape}; there are {len(profiles)} {name}"
            raise ValueError(msg)
    require_finite({name: profiles})


def _blocks(query: Floats, reference: Floats, metric: str) -> Iterator[tuple[Ints, Floats, Floats]]:
    """Yield some rows of the queries, their distances to all references, and rounding errors."""
    query, reference = query.astype(np.float64), reference.astype(np.float64)
    step = max(1, BLOCK_BYTES // (32 * max(reference.shape)))
    for start in range(0, len(query), step):
        rows = np.arange(start, min(start + step, len(query)))
        distance, rounding = DISTANCES[metric](query[rows], reference, None)
        yield rows, distance, np.broadcast_to(rounding, distance.shape)
