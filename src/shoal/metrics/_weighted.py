"""Errors of the predicted mean that weight a gene by how clearly it responds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import positive, shown
from ._arguments import arrays
from ._means import ROUNDING, counted, members, per_condition, tables
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

SINGLE = 1e-3  # share by which sums of squares in single precision may be too small


@arrays
@documented
def welch_t(sums: Floats, squares: Floats, *, counts: Ints, group: Ints | None = None) -> Floats:
    r"""Welch's t of every gene: the cells of a condition against all *other* perturbed cells.

    .. math:: t = \frac{\bar x_p - \bar x_{-p}}{\sqrt{s_p^2 / n_p + s_{-p}^2 / n_{-p}}}

    The condition is left out of the cells that it is compared with. Their sums are the total less
    the condition's of_condition sums, so one pass over the cells is enough for all conditions.

    Parameters
    ----------
    sums
        (P, G) sums of the real cells of each condition. Control cells are no condition.
    squares
        (P, G) sums of their squares.
    counts
        (P,) numbers of cells of the conditions.
    group
        {group}

    Returns
    -------
    (P, G) statistics, float64. 0 for a gene with one value in all cells. NaN for a condition with
    fewer than 2 cells or 2 other cells, and where two different constants are compared.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, a count is no whole number of at least 0, or
        `squares` cannot be of the same cells as `sums`.

    References
    ----------
    Mejia et al. (2025), the statistic behind their weights; scPertEval 0.2.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> cells = np.random.default_rng(0).normal(size=(3, 50, 4))
    >>> cells[0, :, 2] += 2
    >>> t = sh.metrics.welch_t(cells.sum(axis=1), (cells**2).sum(axis=1), counts=np.full(3, 50))
    >>> int(np.abs(t[0]).argmax())
    2
    """
    sums, squares = tables(sums=sums, squares=squares)
    n = _counts(counts, len(sums))
    if (squares * n[:, None] < sums**2 * (1 - SINGLE)).any():
        msg = (
            "squares are too small to be sums of squares of cells with these sums and counts; are "
            "all three in their places, and of the same cells?"
        )
        raise ValueError(msg)
    t = np.full(sums.shape, np.nan)
    for rows in members(group, len(sums)):
        of_condition = sums[rows], squares[rows], n[rows, None]
        mean, noise = _moments(*of_condition)
        other, other_noise = _moments(*(values.sum(axis=0) - values for values in of_condition))
        gap, error = mean - other, np.sqrt(noise + other_noise)
        gap[np.abs(gap) <= ROUNDING * (np.abs(mean) + np.abs(other))] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            t[rows] = np.where(
                error > 0, gap / error, np.where((error == 0) & (gap == 0), 0.0, np.nan)
            )
    return t


@arrays
@documented
def gene_weights(statistic: Floats, *, exponent: float = 2.0, mask: Bools | None = None) -> Floats:
    r"""Weights of the genes of each condition, from a statistic of differential expression.

    .. math:: w_g \propto \left(\frac{|t_g| - \min |t|}{\max |t| - \min |t|}\right)^{2},
              \qquad \sum_g w_g = 1

    Compute the statistic from the *real* cells, against the other perturbed cells
    (:func:`shoal.metrics.welch_t`). A response that all perturbations have in common then weighs
    little.

    Parameters
    ----------
    statistic
        (P, G) statistics; only their size matters. A value that is not finite gets weight 0.
    exponent
        Power of the scaled statistic. A larger one puts the weight on fewer genes.
    mask
        {mask}
        Other genes get weight 0.

    Returns
    -------
    (P, G) weights, float64; each row sums to 1. Equal weights where all statistics are equal; a row
    of zeros where there is no statistic.

    Raises
    ------
    ValueError
        If `statistic` is no table, the shapes differ, or `exponent` is not above 0.

    References
    ----------
    Mejia et al. (2025); equal to scPertEval 0.2 (``mejia_weights``) without a mask.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> sh.metrics.gene_weights(np.array([[0.0, 1.0, -2.0]]))
    array([[0. , 0.2, 0.8]])
    """
    positive(exponent, name="exponent")
    size = np.abs(np.asarray(statistic, dtype=np.float64))
    if size.ndim != 2:
        msg = f"statistic must be a table of conditions x genes, not of shape {size.shape}"
        raise ValueError(msg)
    usable = counted(mask, size.shape) & np.isfinite(size)
    low = np.where(usable, size, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    width = np.where(usable, size, -np.inf).max(axis=1, keepdims=True, initial=-np.inf) - low
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(width > 0, (size - low) / width, 1.0)
    weights = np.where(usable, scaled, 0.0) ** exponent
    total = weights.sum(axis=1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)


@arrays
@documented
def weighted_mse(predicted: Floats, real: Floats, *, weights: Floats) -> Floats:
    r"""Squared error of the mean in the genes that respond.

    .. math:: \sum_g w_g (\hat y_g - \bar x_g)^2

    Lower is better and 0 is perfect. A copy of the control mean, or the mean of the perturbed
    cells, is penalised for exactly the response that it misses. The metric looks at few genes and
    does not notice a model that ruins all others, so read it beside :func:`~shoal.metrics.mse`.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    weights
        (P, G) weights, at least 0 (:func:`shoal.metrics.gene_weights`). They are scaled to sum to 1
        in each row.

    Returns
    -------
    (P,) errors in squared units of the means, float64; NaN for a condition whose weights are all 0.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or a weight is below 0.

    References
    ----------
    Mejia et al. (2025); scPertEval 0.2.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[1.0, 2.0, 3.0]])
    >>> sh.metrics.weighted_mse(real + [9.0, 1.0, 2.0], real, weights=np.array([[0.0, 0.5, 0.5]]))
    array([2.5])
    """
    predicted, truth, share = _weighted(predicted, real, weights)
    return np.einsum("pg,pg->p", share, (predicted - truth) ** 2)


@arrays
@documented
def weighted_r2(predicted: Floats, real: Floats, *, reference: Floats, weights: Floats) -> Floats:
    r"""Share of the weighted variance of the real shift that the predicted shift explains.

    .. math:: R^2_w = 1 - \frac{\sum_g w_g (\hat\Delta_g - \Delta_g)^2}
              {\sum_g w_g (\Delta_g - \bar\Delta_w)^2}, \qquad \Delta = \bar x - r,

    where :math:`\bar\Delta_w` is the weighted mean of the real shift. Higher is better and 1 is
    perfect; there is no lower limit. A prediction equal to the reference r scores 0 or a little
    less. Unlike a correlation, it also judges the size of the shift.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    reference
        (P, G) means from which both shifts are measured: of the perturbed cells, without those of
        the condition.
    weights
        (P, G) weights, at least 0 (:func:`shoal.metrics.gene_weights`).

    Returns
    -------
    (P,) values up to 1, float64. NaN where the weights are all 0, or the weighted shift is equal in
    all genes.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or a weight is below 0.

    References
    ----------
    Mejia et al. (2025); Miller et al. (2025).

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real, flat = np.array([[1.0, -1.0, 0.0]]), np.zeros((1, 3))
    >>> sh.metrics.weighted_r2(0.5 * real, real, reference=flat, weights=flat + 1)
    array([0.75])
    """
    predicted, truth, share = _weighted(predicted, real, weights)
    shift = truth - tables(real=real, reference=reference)[1]
    spread = np.einsum(
        "pg,pg->p", share, (shift - np.einsum("pg,pg->p", share, shift)[:, None]) ** 2
    )
    scale = np.einsum("pg,pg->p", share, truth**2 + (truth - shift) ** 2)
    error = np.einsum("pg,pg->p", share, (predicted - truth) ** 2)
    return 1 - error / np.where(spread > ROUNDING**2 * scale, spread, np.nan)


def _counts(counts: Ints, n: int) -> Floats:
    """Return (n,) numbers of cells as float64."""
    if np.asarray(counts).dtype.kind not in "iuf":
        msg = f"counts must be numbers of cells, not {shown(counts)}"
        raise TypeError(msg)
    found = per_condition(np.asarray(counts, dtype=np.float64), "counts", n)
    wrong = (found < 0) | (found != np.round(found))
    if wrong.any():
        msg = f"counts must be numbers of cells, not {found[wrong].min()}"
        raise ValueError(msg)
    return found


def _moments(total: Floats, square: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Return the mean and its squared standard error.

    Both are NaN below 2 cells; the error is 0 where it is only rounding.
    """
    cells = np.where(n > 1, n, np.nan)
    mean = total / cells
    spread = square - total * mean
    return mean, np.where(spread > ROUNDING * square, spread, 0.0 * mean) / (cells * (cells - 1))


def _weighted(predicted: Floats, real: Floats, weights: Floats) -> list[Floats]:
    """Return the checked tables. Weights are scaled to sum to 1, and are NaN where all are 0."""
    predicted, truth, share = tables(predicted=predicted, real=real, weights=weights)
    if (share < 0).any():
        msg = f"weights must be at least 0, not {share.min()}"
        raise ValueError(msg)
    total = share.sum(axis=1, keepdims=True)
    return [predicted, truth, share / np.where(total > 0, total, np.nan)]
