"""Retrieval: whether a profile finds the other profiles of its perturbation.

A query ranks its candidates by how near they are. Candidates that are equally near have no order,
so every value here is the mean over all orders of such ties. A representation that is the same for
all profiles is then at chance, in whatever order the profiles are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._random import as_generator
from .._threads import one_thread
from .._validate import one_of
from ._arguments import arrays
from ._candidates import Rules, blocks, check_lengths, same_kind, same_width
from ._mean_ranks import DISTANCES
from ._permutation import permutation_pvalue
from ._precision import expected_precision, random_precision, ranked_precision
from ._texts import documented

if TYPE_CHECKING:
    from .._random import RNGLike
    from .._typing import Bools, Floats, Ints
    from ._discrimination import Metric

    Ranked = tuple[float, int, int]  # precision, matching and all candidates

TIE = 1e-12  # two means of precisions that differ by less are equal


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
    rules = Rules(profiles, label, apart=apart, within=within, negative=negative)
    one_of(metric, tuple(DISTANCES), name="metric")
    n = len(profiles)
    value, matching, total = np.full(n, np.nan), np.zeros(n, int), np.zeros(n, int)
    for rows, distance, rounding in blocks(profiles, profiles, metric):
        same, other = rules.candidates(rows)
        for i, row in enumerate(rows):
            used = same[i] | other[i]
            found = _ranked(distance[i, used], rounding[i, used], same[i, used])
            value[row], matching[row], total[row] = found
    return _normalised(value, matching, total)


@arrays
@one_thread()
def retrieval_precision(
    query: Floats,
    reference: Floats,
    *,
    query_label: Ints,
    reference_label: Ints,
    metric: Metric = "cosine",
) -> AveragePrecision:
    """Average precision (AP) of queries that look for their label among other profiles.

    A query is a predicted profile, say, and the references are the measured ones. The references of
    its own label are to come first. See :func:`shoal.metrics.average_precision`, where profiles
    look for one another.

    Parameters
    ----------
    query
        (n, d) profiles that look.
    reference
        (m, d) profiles that are ranked by each query.
    query_label, reference_label
        (n,) and (m,) perturbations, as numbers or names.
    metric
        As for :func:`shoal.metrics.average_precision`.

    Returns
    -------
    The precision of each query, raw and normalised, and its numbers of candidates. NaN where no
    reference has its label, or all have.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or `metric` is not known.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> measured = np.array([[1.0, 0.1], [0.2, 1.0], [0.1, 1.0], [0.0, 1.0]])
    >>> label = {"query_label": ["a", "b"], "reference_label": ["a", "b", "a", "b"]}
    >>> sh.metrics.retrieval_precision(np.eye(2), measured, **label).value.round(2)
    array([0.83, 0.83])
    """
    one_of(metric, tuple(DISTANCES), name="metric")
    check_lengths(query, {"query_label": query_label}, "query")
    check_lengths(reference, {"reference_label": reference_label}, "reference")
    same_width(query, reference)
    same_kind(query_label, reference_label, ("query_label", "reference_label"))
    n = len(query)
    value, matching, total = np.full(n, np.nan), np.zeros(n, int), np.zeros(n, int)
    for rows, distance, rounding in blocks(query, reference, metric):
        for i, row in enumerate(rows):
            same = reference_label == query_label[row]
            value[row], matching[row], total[row] = _ranked(distance[i], rounding[i], same)
    return _normalised(value, matching, total)


def _ranked(distance: Floats, rounding: Floats, same: Bools) -> Ranked:
    """Return the average precision of a query, and its numbers of matching and all candidates."""
    matching, total = int(same.sum()), len(same)
    if not 0 < matching < total:
        return float("nan"), matching, total
    return ranked_precision(distance, rounding, same), matching, total


def _normalised(value: Floats, matching: Ints, total: Ints) -> AveragePrecision:
    """Return average precisions beside what they are above chance."""
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
