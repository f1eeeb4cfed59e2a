"""Predicted against real populations, gene by gene: distributions, spread and zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .._threads import one_thread
from ._arguments import arrays
from ._cells import densify, sum_of
from ._pairs import BLOCK_BYTES
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix

ROUNDING = 1e-12  # a spread below this share of the mean is rounding


@arrays
@one_thread()
@documented
def wasserstein_per_gene(X: Matrix, Y: Matrix, *, block_bytes: int = BLOCK_BYTES) -> Floats:
    r"""Wasserstein-1 distance of two populations in every column (gene).

    .. math:: \int_0^1 |F_x^{-1}(u) - F_y^{-1}(u)|\, du

    It is exact for populations of any two sizes. Two samples of one population are not at distance
    0: they are about :math:`s\sqrt{1/n + 1/m}` apart, for a spread s. Compare with the distance of
    two halves of the real cells.

    Parameters
    ----------
    X
        (n, n_genes) cells of one population; dense, or sparse of scipy.
    Y
        (m, n_genes) cells of the other population; dense, or sparse of scipy.
    block_bytes
        {block_bytes}
        Sparse columns are made dense a few at a time.

    Returns
    -------
    (n_genes,) distances in the units of the columns, float64. At least 0, and 0 only for equal
    distributions.

    Raises
    ------
    ValueError
        If the columns differ, a value is not finite, or a population has no cells.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> sh.metrics.wasserstein_per_gene(x, x + [0.0, 1.0, -2.0]).round(6)
    array([0., 1., 2.])
    """
    x, y = (checked_cells(values, name, least=1) for name, values in (("X", X), ("Y", Y)))
    same_columns(x, y)
    weight, of_x, of_y = quantile_steps(x.shape[0], y.shape[0])
    distance = np.empty(x.shape[1])
    # memory for both gathered arrays, their difference and the cells
    width = max(1, int(block_bytes / (8 * 4 * len(weight))))
    for start in range(0, len(distance), width):
        part = slice(start, start + width)
        low, high = (
            np.sort(densify(values[:, part]).astype(np.float64), axis=0) for values in (x, y)
        )
        distance[part] = weight @ np.abs(low[of_x] - high[of_y])
    return distance


@arrays
@one_thread()
@documented
def variance_ratio(X: Matrix, Y: Matrix) -> float:
    """Total variance of one population divided by that of the other.

    Total variance is the trace of the unbiased covariance. Below 1, the first population is less
    diverse than the second. It is 0 for one cell repeated, as when a model predicts a mean.

    Parameters
    ----------
    X
        {genes_predicted}
    Y
        {genes_real}

    Returns
    -------
    Ratio, at least 0; 1 for equal spread. NaN if the real cells do not vary.

    Raises
    ------
    ValueError
        If the columns differ, a value is not finite, or a population has fewer than 2 cells.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> round(sh.metrics.variance_ratio(2 * x + 5, x), 6)
    4.0
    """
    x, y = (checked_cells(values, name, least=2) for name, values in (("X", X), ("Y", Y)))
    same_columns(x, y)
    of_x, of_y = _total_variance(x), _total_variance(y)
    return of_x / of_y if of_y > 0 else float("nan")


@arrays
@one_thread()
@documented
def zero_fraction_error(X: Matrix, Y: Matrix, *, tolerance: float = 0.0) -> float:
    """Mean over genes of the absolute difference in the fraction of cells with a zero.

    Two samples of one population differ by about ``sqrt(p (1 - p) (1/n + 1/m))`` in a gene whose
    fraction of zeros is p.

    Parameters
    ----------
    X
        {genes_predicted}
    Y
        {genes_real}
    tolerance
        Values up to this size count as zeros. A model of continuous values makes none that are
        exactly zero.

    Returns
    -------
    Mean difference, 0 to 1.

    Raises
    ------
    ValueError
        If the columns differ, a value is not finite, a population has no cells, or `tolerance` is
        negative.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[0.0, 2.0], [0.0, 3.0], [1.0, 0.0], [2.0, 0.0]])
    >>> sh.metrics.zero_fraction_error(np.ones((3, 2)), real)
    0.5
    """
    if not tolerance >= 0:
        msg = f"tolerance must be at least 0, not {tolerance!r}"
        raise ValueError(msg)
    x, y = (checked_cells(values, name, least=1) for name, values in (("X", X), ("Y", Y)))
    same_columns(x, y)
    return float(np.mean(np.abs(_zero_fraction(x, tolerance) - _zero_fraction(y, tolerance))))


def checked_cells(values: Matrix, name: str, *, least: int) -> Matrix:
    """Return an array, or a canonical CSC matrix, of finite values.

    Raises
    ------
    ValueError
        If a value is not finite, there are fewer than `least` cells, or there is no gene.
    """
    values = _by_column(values) if sparse.issparse(values) else np.asarray(values)
    if values.ndim != 2 or values.shape[0] < least or values.shape[1] == 0:
        msg = (
            f"{name} must hold at least {least} cells (rows) and a gene (column), "
            f"not be of shape {values.shape}"
        )
        raise ValueError(msg)
    if not np.isfinite(values.data if sparse.issparse(values) else values).all():
        msg = f"{name} holds NaN or infinite values; drop or fix those cells first"
        raise ValueError(msg)
    return values


def _by_column(values: Matrix) -> Matrix:
    """Return a CSC matrix without duplicate entries; the matrix that came in is not changed."""
    table = sparse.csc_matrix(values)
    if not table.has_canonical_format:
        table = table.copy()
        table.sum_duplicates()
    return table


def same_columns(x: Matrix, y: Matrix) -> None:
    if x.shape[1] != y.shape[1]:
        msg = f"X and Y must have the same columns, not {x.shape[1]} and {y.shape[1]}"
        raise ValueError(msg)


def quantile_steps(n: int, m: int) -> tuple[Floats, Ints, Ints]:
    """Return the merged steps of two quantile functions: lengths, and ranks that hold on each.

    The quantile function of n values jumps at multiples of 1/n. In units of 1/(n m) all jumps of
    both functions are integers.
    """
    ends = np.union1d(np.arange(1, n + 1) * np.int64(m), np.arange(1, m + 1) * np.int64(n))
    starts = np.concatenate([[0], ends[:-1]])
    return (ends - starts) / (n * m), starts // m, starts // n


def _total_variance(values: Matrix) -> float:
    """Return the trace of the unbiased covariance; 0 where it is nothing but rounding."""
    n = values.shape[0]
    mean = sum_of(values) / n
    if sparse.issparse(values):
        stored = np.diff(values.indptr)
        gap = values.data - np.repeat(mean, stored)
        # values that are not stored are zeros
        square = float(gap @ gap + (n - stored) @ mean**2)
    else:
        gap = (values - mean).ravel()
        square = float(gap @ gap)
    return square / (n - 1) if square > n * ROUNDING**2 * (mean @ mean) else 0.0


def _zero_fraction(values: Matrix, tolerance: float) -> Floats:
    """Return (n_genes,) fractions of cells at zero, stored or not."""
    n = values.shape[0]
    if sparse.issparse(values):
        beyond = sparse.csc_matrix(
            (np.abs(values.data) > tolerance, values.indices, values.indptr), values.shape
        )
        return 1.0 - np.asarray(beyond.sum(axis=0)).ravel() / n
    return np.mean(np.abs(values) <= tolerance, axis=0)
