"""Can a prediction be told from those of other perturbations? Ranks of the own mean among the means of all conditions.

One mean asks (the query), the others answer (the candidates), and the score is the rank of the condition's own candidate by
distance. Target genes that are left out for a query are left out of all its distances. With q the query, 0 in the genes that
do not count, c a candidate and m the query's mask, all distances are products of matrices but for one unmasked l1:

    |q - c|^2 = |q|^2 - 2 q.c + m.c^2,       |q - c|_1 over counted genes = |q - c|_1 - (1 - m).|c|
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .._threads import one_thread
from .._validate import one_of
from ._kernels import compiled
from ._means import ROUNDING, counted, members, tables
from ._pairs import BLOCK_BYTES

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

Metric = Literal["l1", "l2", "cosine"]


@one_thread()
def discrimination_score(
    predicted: Floats,
    real: Floats,
    *,
    metric: Metric = "l1",
    mask: Bools | None = None,
    group: Ints | None = None,
    ties: Literal["average", "order"] = "average",
    scale: Literal["pds", "unit"] = "pds",
) -> Floats:
    r"""Perturbation discrimination score (PDS): how early a prediction finds its own real mean among all real means.

    .. math:: \mathrm{PDS}_p = 1 - \frac{\mathrm{rank}_p}{N}, \qquad
              \mathrm{rank}_p = \#\{j \ne p : d(\hat y_p, \bar x_j) < d(\hat y_p, \bar x_p)\}

    Higher is better, 1 is perfect. Chance, and any prediction that is the same for all conditions, is 0.5 + 1/(2N); with
    ``scale="unit"`` it is 0.5 whatever N. It does not see the size of an error, l1 and l2 reward a scale of the shift that
    suits the neighbours, and the score saturates where responses are strong and different.

    Parameters
    ----------
    predicted
        (P, G) predicted means, one row a condition. For the cosine: shifts from the mean of the real controls.
    real
        (P, G) real means, or shifts, of the same conditions.
    metric
        Distance: sum of absolute differences, Euclidean, or 1 - cosine. The cosine with a shift of length 0 counts as 0.
    mask
        (P, G) genes that count when the prediction of row p is compared, with all real means; all by default.
    group
        (P,) context of each condition; conditions compete within their context only. One context by default.
    ties
        ``"average"``: a tie counts half. ``"order"``: the earlier row wins, as in cell-eval, where a prediction
        that cannot tell two conditions apart is right about the first.
    scale
        ``"pds"`` divides the rank by N, the conditions of the context, as published; ``"unit"`` by N - 1, so that the worst is 0.

    Returns
    -------
    (P,) scores, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or an option is not known.

    References
    ----------
    cell-eval 0.8 (``discrimination_score_l1``, ``_l2``, ``_cosine``), with ``ties="order"``; Virtual Cell Challenge 2025.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    >>> sh.metrics.discrimination_score(real + 0.1, real)
    array([1., 1., 1.])
    """
    guess, truth = tables(predicted=predicted, real=real)
    return 1 - _ranks(guess, truth, metric, mask=mask, group=group, ties=ties, scale=scale)


@one_thread()
def retrieval_rank(
    predicted: Floats,
    real: Floats,
    *,
    metric: Metric = "l2",
    mask: Bools | None = None,
    group: Ints | None = None,
) -> Floats:
    r"""Normalised inverse rank (NIR): how early a real mean finds its own prediction among all predictions.

    .. math:: \mathrm{NIR}_p = 1 - \frac{\#\{j \ne p : d(\hat y_j, \bar x_p) < d(\hat y_p, \bar x_p)\}}{N - 1}

    Higher is better: 1 is perfect, 0.5 is chance and what predictions that are all the same get (ties count half). It is the
    other direction of :func:`shoal.metrics.discrimination_score`: a model that predicts one condition near everything, as one
    of small shifts among large ones, takes the first place from the others.

    Parameters
    ----------
    predicted
        (P, G) predicted means, one row a condition. For the cosine: shifts from the mean of the real controls.
    real
        (P, G) real means, or shifts, of the same conditions.
    metric
        Distance, as for :func:`shoal.metrics.discrimination_score`.
    mask
        (P, G) genes that count when the real mean of row p is compared, with all predictions; all by default.
    group
        (P,) context of each condition; conditions compete within their context only. One context by default.

    Returns
    -------
    (P,) scores from 0 to 1, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or `metric` is not known.

    References
    ----------
    1 - ``rank`` of scPertEval 0.2, which ranks as here; its ``nir`` ranks the real means for each prediction, which is
    :func:`shoal.metrics.centroid_accuracy`. Miller et al. (2025).

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    >>> sh.metrics.retrieval_rank(np.ones_like(real), real)
    array([0.5, 0.5, 0.5])
    """
    guess, truth = tables(predicted=predicted, real=real)
    return 1 - _ranks(truth, guess, metric, mask=mask, group=group, scale="unit")


@one_thread()
def centroid_accuracy(
    predicted: Floats, real: Floats, *, mask: Bools | None = None, group: Ints | None = None
) -> Floats:
    """Share of the other real means that are farther from a prediction than its own real mean; Euclidean.

    Higher is better: 1 is perfect, 0.5 is chance; ties count half. It is the discrimination score in l2 on the scale from 0
    to 1, and misleads as that does.

    Parameters
    ----------
    predicted
        (P, G) predicted means, one row a condition.
    real
        (P, G) real means of the same conditions.
    mask
        (P, G) genes that count when the prediction of row p is compared; all by default.
    group
        (P,) context of each condition; conditions compete within their context only. One context by default.

    Returns
    -------
    (P,) shares from 0 to 1, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    References
    ----------
    Viñas Torné et al. (2025), Nat. Biotechnol., "Systema"; ``nir`` of scPertEval 0.2.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0], [1.0], [4.0]])
    >>> sh.metrics.centroid_accuracy(np.array([[0.2], [0.2], [0.2]]), real)
    array([1. , 0.5, 0. ])
    """
    return discrimination_score(predicted, real, metric="l2", mask=mask, group=group, scale="unit")


@one_thread()
def rank_score(
    predicted: Floats,
    real: Floats,
    *,
    metric: Metric = "l2",
    mask: Bools | None = None,
    group: Ints | None = None,
) -> Floats:
    """Rank of the own prediction among all predictions, by distance to the real mean, divided by their number.

    Lower is better: 0 is perfect, chance is 0.5 - 1/(2N). The ranks are those of :func:`shoal.metrics.retrieval_rank`.

    Parameters
    ----------
    predicted
        (P, G) predicted means, one row a condition. For the cosine: shifts, or log fold changes.
    real
        (P, G) real means, or shifts, of the same conditions.
    metric
        Distance, as for :func:`shoal.metrics.discrimination_score`; l2 ranks as the RMSE does.
    mask
        (P, G) genes that count when the real mean of row p is compared; all by default.
    group
        (P,) context of each condition; conditions compete within their context only. One context by default.

    Returns
    -------
    (P,) ranks from 0 to below 1, float64; NaN for a condition that is alone in its context.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or `metric` is not known.

    References
    ----------
    Wu et al. (2024), "PerturBench". It shuffles before it sorts, so that its ranks of ties are random; these are their mean.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0], [1.0], [4.0], [9.0]])
    >>> sh.metrics.rank_score(real[[1, 0, 2, 3]], real)
    array([0.25, 0.25, 0.  , 0.  ])
    """
    guess, truth = tables(predicted=predicted, real=real)
    return _ranks(truth, guess, metric, mask=mask, group=group)


def _ranks(
    query: Floats,
    candidates: Floats,
    metric: str,
    *,
    mask: Bools | None,
    group: Ints | None,
    ties: str = "average",
    scale: str = "pds",
) -> Floats:
    """Return the rank of candidate p for query p, from 0, divided by the N conditions of its group, or by N - 1."""
    one_of(metric, tuple(_DISTANCES), name="metric")
    one_of(ties, ("average", "order"), name="ties")
    one_of(scale, ("pds", "unit"), name="scale")
    genes = None if mask is None else counted(mask, query.shape)
    found = np.full(len(query), np.nan)
    for rows in members(group, len(query)):
        n, others = len(rows), candidates[rows]
        if n < 2:
            continue
        centre = (
            others.mean(axis=0) if metric == "l2" else 0.0
        )  # products of smaller numbers round less
        others = others - centre
        step = max(1, BLOCK_BYTES // (8 * max(n, query.shape[1])))
        for start in range(0, n, step):
            block = rows[start : start + step]
            own = np.arange(start, start + len(block))
            counts = None if genes is None else genes[block].astype(np.float64)
            distance, rounding = _DISTANCES[metric](query[block] - centre, others, counts)
            before, tied = _compare(distance, rounding, own)
            first = np.arange(n) < own[:, None]
            wins = (tied & first).sum(axis=1) if ties == "order" else (tied.sum(axis=1) - 1) / 2
            found[block] = (before.sum(axis=1) + wins) / (n if scale == "pds" else n - 1)
    return found


def _compare(distance: Floats, rounding: Floats, own: Ints) -> tuple[Bools, Bools]:
    """Return which candidates are closer than the own one, and which as close up to rounding (the own one among them)."""
    mine = own[:, None]
    gap = distance - np.take_along_axis(distance, mine, axis=1)
    slack = rounding + np.take_along_axis(rounding, mine, axis=1)
    return gap < -slack, np.abs(gap) <= slack


def _l1(query: Floats, candidates: Floats, counts: Floats | None) -> tuple[Floats, Floats]:
    """Return (b, n) l1 distances over the genes that count for a query, and the size of their rounding."""
    if counts is None:
        distance = _l1_distances(query, candidates)
        return distance, ROUNDING * distance
    every = _l1_distances(query * counts, candidates)
    return every - (1 - counts) @ np.abs(candidates).T, ROUNDING * every


def _l2(query: Floats, candidates: Floats, counts: Floats | None) -> tuple[Floats, Floats]:
    """Return (b, n) squared distances, and the size of their rounding."""
    if counts is not None:
        query = query * counts
    lengths = np.einsum("ig,ig->i", query, query)[:, None]
    every = lengths + np.einsum("jg,jg->j", candidates, candidates)
    theirs = every - lengths if counts is None else counts @ (candidates**2).T
    return lengths + theirs - 2 * (query @ candidates.T), ROUNDING * every


def _cosine(query: Floats, candidates: Floats, counts: Floats | None) -> tuple[Floats, Floats]:
    """Return (b, n) values of -cosine, 0 where a length is 0, and the size of their rounding."""
    if counts is not None:
        query = query * counts
    every = np.einsum("jg,jg->j", candidates, candidates)[None, :]
    theirs = every if counts is None else counts @ (candidates**2).T
    theirs = np.where(theirs > ROUNDING * every, theirs, 0.0)
    scale = np.sqrt(np.einsum("ig,ig->i", query, query)[:, None] * theirs)
    safe = np.where(scale > 0, scale, 1.0)
    cosine = np.where(scale > 0, query @ candidates.T, 0.0) / safe
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.where(
            theirs > 0, every / theirs, 1.0
        )  # how much of a length the mask took away: it cancels
    return -cosine, ROUNDING * lost


_DISTANCES = {"l1": _l1, "l2": _l2, "cosine": _cosine}


def _l1_loop(x: Floats, y: Floats) -> Floats:
    out = np.empty((len(x), len(y)))
    for start in range(0, len(y), 16):  # few candidates at a time: they stay in the cache
        for i in range(len(x)):
            for j in range(start, min(start + 16, len(y))):
                total = 0.0
                for g in range(x.shape[1]):
                    total += abs(x[i, g] - y[j, g])
                out[i, j] = total
    return out


_l1_distances = compiled(
    _l1_loop, fastmath=True
)  # four times faster than scipy's, which cannot reorder its sums
