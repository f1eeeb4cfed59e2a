"""Do predictions differ from each other as the real responses do? Similarities, collapse and sizes over a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._threads import one_thread
from .._validate import positive
from ._lists import spearman, spearman_rows
from ._means import ROUNDING, counted, members, per_condition, shifts, tables
from ._pairs import BLOCK_BYTES

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

LEAST = 4  # other conditions that a rank correlation takes
DIGITS = 9  # cosines that agree to this many digits are tied


@one_thread()
def similarity_structure(
    predicted: Floats,
    real: Floats,
    *,
    reference: Floats,
    mask: Bools | None = None,
    group: Ints | None = None,
) -> Floats:
    r"""Whether a condition resembles the same other conditions in the predictions as in the data.

    .. math:: \rho_p = \mathrm{Spearman}_{q \ne p}\left(\cos(\hat\Delta_p, \hat\Delta_q), \cos(\Delta_p, \Delta_q)\right)

    Higher is better: 1 is perfect, 0 is chance. It sees neither sizes nor directions: predictions that are all rotated or
    reversed alike keep 1. The similarities of weak real responses are mostly noise, which bounds what can be reached.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a condition.
    real
        (P, G) means of the real cells.
    reference
        (P, G) means from which the shifts are measured, as for :func:`shoal.metrics.pearson_delta`.
    mask
        (P, G) genes that count; the shift of a condition in others is taken as 0. All by default.
    group
        (P,) context of each condition; similarities are within a context. One context by default.

    Returns
    -------
    (P,) correlations, float64. NaN with fewer than 4 others in the context, and where the similarities to all others are
    equal: a prediction equal to the reference, or the same shift for all.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    References
    ----------
    Kriegeskorte et al. (2008), Front. Syst. Neurosci.: representational similarity analysis, one row at a time.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.random.default_rng(0).normal(size=(6, 30))
    >>> sh.metrics.similarity_structure(2 * real, real, reference=np.zeros_like(real)).round(6)
    array([1., 1., 1., 1., 1., 1.])
    """
    guess, truth, origin = tables(predicted=predicted, real=real, reference=reference)
    genes = counted(mask, truth.shape)
    directions = [_unit(shifts(means, origin, genes)) for means in (guess, truth)]
    found = np.full(len(truth), np.nan)
    for rows in members(group, len(truth)):
        if len(rows) <= LEAST:
            continue
        step = max(1, BLOCK_BYTES // (8 * 8 * len(rows)))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            others = np.arange(len(rows)) != np.arange(start, start + len(block))[:, None]
            of_guess, of_truth = (
                (unit[block] @ unit[rows].T).round(DIGITS)[others].reshape(len(block), -1)
                for unit in directions
            )
            found[block] = spearman_rows(of_guess, of_truth)
    return found


@one_thread()
def collapse_index(
    predicted: Floats, real: Floats, *, mask: Bools | None = None, group: Ints | None = None
) -> float:
    r"""Variance of the predicted means between conditions, relative to that of the real means.

    .. math:: \frac{\sum_g \mathrm{Var}_p(\hat y_{pg})}{\sum_g \mathrm{Var}_p(\bar x_{pg})}

    1 is the target. 0 is mode collapse, one prediction for all; above 1, predictions differ more than responses do. It does
    not ask whether they differ rightly. Real means carry the noise of few cells, which adds to the denominator: a prediction
    without noise and without fault stays below 1, a second sample of as many cells is at 1.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a condition.
    real
        (P, G) means of the real cells.
    mask
        (P, G) genes that count; all by default.
    group
        (P,) context of each condition; variance is within contexts, summed over them. One context by default.

    Returns
    -------
    Ratio, at least 0; NaN if no context has 2 conditions or the real means do not vary.

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
    of_guess, of_truth = (_between(values, genes, members(group, len(values))) for values in means)
    return of_guess / of_truth if of_truth > 0 else float("nan")


@one_thread()
def mean_cosine(
    predicted: Floats, *, reference: Floats, mask: Bools | None = None, group: Ints | None = None
) -> float:
    """Mean cosine between the shifts of two conditions.

    1 if all predictions point the same way, the other face of mode collapse: sizes may differ, so that
    :func:`shoal.metrics.collapse_index` need not see it. Compare with its value for the real means, which is not 0
    where perturbations have a response in common.

    Parameters
    ----------
    predicted
        (P, G) means, one row a condition; predicted or real.
    reference
        (P, G) means from which the shifts are measured.
    mask
        (P, G) genes that count; the shift of a condition in others is taken as 0. All by default.
    group
        (P,) context of each condition; pairs are within a context. One context by default.

    Returns
    -------
    Mean over pairs, -1 to 1; NaN if there is no pair. Conditions without a shift have no direction and are left out.

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
        own = unit[rows]
        n = float((own != 0).any(axis=1).sum())
        total += float(np.sum(own.sum(axis=0) ** 2)) - n
        pairs += n * (n - 1)
    return total / pairs if pairs > 0 else float("nan")


@one_thread()
def magnitude_error(predicted: Floats, real: Floats, *, floor: float | None = None) -> Floats:
    r"""How much too strong a predicted response is, as the log of a ratio that stays defined at and below 0.

    .. math:: \mathrm{asinh}\frac{\hat m_p}{2 f} - \mathrm{asinh}\frac{m_p}{2 f}

    0 is perfect; above 0 is too strong, below too weak. Far above the floor f it is log(m̂ / m). Unbiased magnitudes scatter
    around 0 where there is no response, so that negative ones are small and not wrong; a ratio would explode or be undefined
    there. Near 0 this one is linear: sizes far below f are all "no response".

    Parameters
    ----------
    predicted
        (P,) magnitudes of the predicted responses: unbiased distances to the controls, on any scale.
    real
        (P,) magnitudes of the real responses, measured in the same way with as many cells. NaN where not known.
    floor
        f, below which a size does not matter; a tenth of the median size of the real ones by default.

    Returns
    -------
    (P,) errors in natural logarithms, float64; NaN where a magnitude is NaN, or if the real ones are all 0.

    Raises
    ------
    ValueError
        If the shapes differ, a value is infinite, or `floor` is not above 0.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> sh.metrics.magnitude_error(np.array([20.0, 0.0]), np.array([10.0, 0.0]), floor=0.01).round(
    ...     3
    ... )
    array([0.693, 0.   ])
    """
    guess, truth = _sizes(predicted, real)
    if floor is None:
        known = np.abs(truth[np.isfinite(truth)])
        floor = 0.1 * float(np.median(known)) if known.size else 0.0
        if floor == 0:
            return np.full(len(truth), np.nan)
    positive(floor, name="floor")
    return np.arcsinh(guess / (2 * floor)) - np.arcsinh(truth / (2 * floor))


@one_thread()
def magnitude_spearman(predicted: Floats, real: Floats) -> float:
    """Rank correlation over conditions of the predicted with the real sizes of the responses.

    Higher is better: 1 is perfect, 0 is chance. Predictions that are all too strong or too weak by one factor keep 1. Sizes
    that grow with the number of cells, as biased distances do, correlate without any merit: use unbiased ones.

    Parameters
    ----------
    predicted
        (P,) magnitudes of the predicted responses.
    real
        (P,) magnitudes of the real responses; conditions with NaN in either are left out.

    Returns
    -------
    Correlation, -1 to 1; NaN with fewer than 4 conditions or where all have one magnitude.

    Raises
    ------
    ValueError
        If the shapes differ or a value is infinite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> round(
    ...     sh.metrics.magnitude_spearman(np.array([1.0, 2, 3, 9]), np.array([0.1, 0.3, 0.2, 5])), 6
    ... )
    0.8
    """
    guess, truth = _sizes(predicted, real)
    both = np.isfinite(guess) & np.isfinite(truth)
    if both.sum() < LEAST:
        return float("nan")
    return spearman(guess[both], truth[both])


def _sizes(predicted: Floats, real: Floats) -> tuple[Floats, Floats]:
    n = np.size(real)
    return per_condition(predicted, "predicted", n), per_condition(real, "real", n)


def _unit(shift: Floats) -> Floats:
    """Return rows of length 1; rows of 0 stay 0."""
    length = np.linalg.norm(shift, axis=1, keepdims=True)
    return shift / np.where(length > 0, length, 1.0)


def _between(values: Floats, genes: Bools, groups: list[Ints]) -> float:
    """Return the variance between conditions, within groups, summed over genes; each over the conditions it counts in."""
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
