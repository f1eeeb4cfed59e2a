"""Do predictions differ from each other as the real responses do: similarities, collapse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._threads import one_thread
from ._arguments import arrays
from ._lists import spearman_rows
from ._means import ROUNDING, counted, members, shifts, tables
from ._pairs import BLOCK_BYTES
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

LEAST = 4  # fewest other conditions for a rank correlation
DIGITS = 9  # cosines that agree to this many digits are tied


@arrays
@one_thread()
@documented
def similarity_structure(
    predicted: Floats,
    real: Floats,
    *,
    reference: Floats,
    mask: Bools | None = None,
    group: Ints | None = None,
) -> Floats:
    r"""Whether a condition resembles the same other conditions in the predictions as in the data.

    .. math:: \rho_p = \mathrm{Spearman}_{q \ne p}\left(\cos(\hat\Delta_p, \hat\Delta_q),
              \cos(\Delta_p, \Delta_q)\right)

    Here Δ is the shift of a condition. Higher is better: 1 is perfect and 0 is chance. It sees
    neither sizes nor directions: predictions that are all rotated or reversed alike keep the value
    1. The similarities of weak real responses are mostly noise, which limits the best value that
    can be reached.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    reference
        (P, G) means from which the shifts are measured, as for :func:`shoal.metrics.pearson_delta`.
    mask
        {mask}
        In other genes the shift of a condition is taken as 0.
    group
        {group}

    Returns
    -------
    (P,) correlations, float64. NaN with fewer than 4 other conditions in the context. NaN also
    where the similarities to all others are equal: a prediction equal to the reference, or the same
    shift for all.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    References
    ----------
    Kriegeskorte et al. (2008), Front. Syst. Neurosci.: representational similarity analysis, one
    row at a time.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.random.default_rng(0).normal(size=(6, 30))
    >>> sh.metrics.similarity_structure(2 * real, real, reference=np.zeros_like(real)).round(6)
    array([1., 1., 1., 1., 1., 1.])
    """
    predicted, truth, origin = tables(predicted=predicted, real=real, reference=reference)
    genes = counted(mask, truth.shape)
    directions = [_unit(shifts(means, origin, genes)) for means in (predicted, truth)]
    similarity = np.full(len(truth), np.nan)
    for rows in members(group, len(truth)):
        if len(rows) <= LEAST:
            continue
        step = max(1, BLOCK_BYTES // (8 * 8 * len(rows)))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            others = np.arange(len(rows)) != np.arange(start, start + len(block))[:, None]
            of_predicted, of_truth = (
                (unit[block] @ unit[rows].T).round(DIGITS)[others].reshape(len(block), -1)
                for unit in directions
            )
            similarity[block] = spearman_rows(of_predicted, of_truth)
    return similarity


@arrays
@one_thread()
@documented
def collapse_index(
    predicted: Floats, real: Floats, *, mask: Bools | None = None, group: Ints | None = None
) -> float:
    r"""Variance of the predicted means between conditions, relative to that of the real means.

    .. math:: \frac{\sum_g \mathrm{Var}_p(\hat y_{pg})}{\sum_g \mathrm{Var}_p(\bar x_{pg})}

    - 1 is the target.
    - 0 is mode collapse: one prediction for all conditions.
    - Above 1, predictions differ more than responses do.

    It does not see whether predictions differ in the right way. Real means carry the noise of few
    cells, which adds to the denominator. So a perfect prediction without noise stays below 1, and a
    second sample of as many cells is at 1.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    mask
        {mask}
    group
        (P,) context of each condition. The variance is within contexts, summed over them. By
        default all are of one context.

    Returns
    -------
    Ratio, at least 0. NaN if no context has 2 conditions or the real means do not vary.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.random.default_rng(0).normal(size=(6, 30))
    >>> round(sh.metrics.collapse_index(0.5 * real + 3, real), 6)
    0.25
    """
    means = tables(predicted=predicted, real=real)
    genes = counted(mask, means[0].shape)
    of_predicted, of_truth = (
        _between(values, genes, members(group, len(values))) for values in means
    )
    return of_predicted / of_truth if of_truth > 0 else float("nan")


@arrays
@one_thread()
@documented
def mean_cosine(
    predicted: Floats, *, reference: Floats, mask: Bools | None = None, group: Ints | None = None
) -> float:
    """Mean cosine between the shifts of two conditions.

    It is 1 if all predictions point the same way. This is mode collapse that
    :func:`shoal.metrics.collapse_index` may not see, because sizes can still differ. Compare with
    the value for the real means, which is not 0 where perturbations have a response in common.

    Parameters
    ----------
    predicted
        (P, G) means, predicted or real, one row per condition.
    reference
        (P, G) means from which the shifts are measured.
    mask
        {mask}
        In other genes the shift of a condition is taken as 0.
    group
        {group}

    Returns
    -------
    Mean over pairs, -1 to 1; NaN if there is no pair. Conditions without a shift have no direction
    and are left out.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> means = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    >>> round(sh.metrics.mean_cosine(means, reference=0 * means), 3)
    0.333
    """
    means, origin = tables(predicted=predicted, reference=reference)
    unit = _unit(shifts(means, origin, counted(mask, means.shape)))
    total = pairs = 0.0
    for rows in members(group, len(unit)):
        directions = unit[rows]
        n = float((directions != 0).any(axis=1).sum())
        total += float(np.sum(directions.sum(axis=0) ** 2)) - n
        pairs += n * (n - 1)
    return total / pairs if pairs > 0 else float("nan")


def _unit(shift: Floats) -> Floats:
    """Return rows of length 1; rows of 0 stay 0."""
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    return shift / np.where(length > 0, length, 1.0)


def _between(values: Floats, genes: Bools, groups: list[Ints]) -> float:
    """Return the variance between conditions within groups, summed over genes.

    The variance of a gene is over the conditions in which it counts.
    """
    square, freedom = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    scale = np.abs(values).max(axis=0, initial=0.0)
    for rows in groups:
        use = genes[rows]
        n = use.sum(axis=0)
        mean = np.where(use, values[rows], 0.0).sum(axis=0) / np.maximum(n, 1)
        gap = np.where(use, values[rows] - mean, 0.0)
        gap[np.abs(gap) <= ROUNDING * scale] = 0.0
        square += (gap**2).sum(axis=0)
        freedom += np.maximum(n - 1, 0)
    return float(np.sum(square[freedom > 0] / freedom[freedom > 0]))
