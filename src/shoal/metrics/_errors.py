"""Errors of predicted means, gene by gene, and of single predicted cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._arguments import arrays
from ._cells import densify
from ._means import counted, tables
from ._texts import documented

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Matrix


@arrays
@documented
def mae(predicted: Floats, real: Floats, *, mask: Bools | None = None) -> Floats:
    r"""Mean absolute error of the mean, :math:`\frac{1}{G}\sum_g |\hat y_g - \bar x_g|`.

    Lower is better and 0 is perfect. Most genes do not respond, so a copy of the control mean, or
    the mean of the perturbed cells, comes close to the best value there is. Report it for
    comparison with published numbers, and rank models by other metrics.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    mask
        {mask}

    Returns
    -------
    (P,) errors in the units of the means, float64; NaN for a condition in which no gene counts.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[1.0, 2.0, 3.0]])
    >>> sh.metrics.mae(real + [1.0, -1.0, 4.0], real)
    array([2.])
    """
    return _mean(np.abs(_gap(predicted, real)), mask)


@arrays
@documented
def mse(predicted: Floats, real: Floats, *, mask: Bools | None = None) -> Floats:
    r"""Mean squared error of the mean, :math:`\frac{1}{G}\sum_g (\hat y_g - \bar x_g)^2`.

    Lower is better and 0 is perfect. It misleads as :func:`shoal.metrics.mae` does.
    :func:`shoal.metrics.weighted_mse` looks at the genes that respond.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    mask
        {mask}

    Returns
    -------
    (P,) errors in squared units of the means, float64; NaN for a condition in which no gene counts.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[1.0, 2.0, 3.0]])
    >>> sh.metrics.mse(real + [1.0, -1.0, 4.0], real)
    array([6.])
    """
    return _mean(_gap(predicted, real) ** 2, mask)


@arrays
@documented
def rmse(predicted: Floats, real: Floats, *, mask: Bools | None = None) -> Floats:
    r"""Root of the mean squared error of the mean.

    Lower is better and 0 is perfect. An error of 10 in one gene weighs as much as an error of 1 in
    100 genes.

    Parameters
    ----------
    predicted
        {predicted_means}
    real
        {real_means}
    mask
        {mask}

    Returns
    -------
    (P,) errors in the units of the means, float64; NaN for a condition in which no gene counts.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> real = np.array([[1.0, 2.0]])
    >>> sh.metrics.rmse(real + [3.0, 3.0], real)
    array([3.])
    """
    return np.sqrt(mse(predicted, real, mask=mask))


@arrays
def cell_error(
    predicted: Sequence[Matrix], real: Sequence[Matrix], *, start: Sequence[Matrix]
) -> Floats:
    r"""Distance of each cell to its true counterfactual, relative to leaving the cell as it is.

    For cells x that became y, with predictions ŷ:

    .. math:: \frac{\sum_i \lVert \hat y_i - y_i \rVert}{\sum_i \lVert x_i - y_i \rVert}

    Lower is better: 0 is perfect, 1 is the value of leaving every cell unperturbed, and there is no
    upper limit. No experiment observes y for a cell x, so the metric is for simulated screens.
    Where the response itself is random, 0 cannot be reached, and a prediction of the conditional
    mean does better than a faithful random one.

    Parameters
    ----------
    predicted
        P populations, each (n, d): the prediction for every cell; dense, or sparse of scipy.
    real
        P populations, each (n, d): what became of the same cells, in the same order.
    start
        P populations, each (n, d): the cells before the perturbation.

    Returns
    -------
    (P,) ratios, float64; NaN for a population without cells, or in which no cell moved.

    Raises
    ------
    ValueError
        If the populations do not correspond, or a value is not finite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> cells = np.random.default_rng(0).normal(size=(20, 3))
    >>> sh.metrics.cell_error([cells + 1.5], [cells + 2.0], start=[cells]).round(6)
    array([0.25])
    """
    if not len(predicted) == len(real) == len(start):
        msg = (
            f"expected one population per condition in each, not {len(predicted)}, "
            f"{len(real)} and {len(start)}"
        )
        raise ValueError(msg)
    ratios = np.full(len(real), np.nan)
    for i, (cells, truth, before) in enumerate(zip(predicted, real, start, strict=True)):
        if not cells.shape == truth.shape == before.shape:
            msg = (
                f"population {i} must hold the same cells in predicted, real and start, "
                f"not {cells.shape}, {truth.shape} and {before.shape}"
            )
            raise ValueError(msg)
        error, distance = _path(cells, truth), _path(before, truth)
        if not np.isfinite(error + distance):
            msg = (
                f"population {i} holds NaN or infinite values; "
                "drop those cells from all three first"
            )
            raise ValueError(msg)
        ratios[i] = error / distance if distance > 0 else np.nan
    return ratios


def _gap(predicted: Floats, real: Floats) -> Floats:
    predicted, truth = tables(predicted=predicted, real=real)
    return predicted - truth


def _mean(errors: Floats, mask: Bools | None) -> Floats:
    """Return the mean over the genes that count; NaN where none does."""
    genes = counted(mask, errors.shape)
    n = genes.sum(axis=1)
    return np.where(genes, errors, 0.0).sum(axis=1) / np.where(n > 0, n, np.nan)


def _path(x: Matrix, y: Matrix) -> float:
    """Return the sum over cells of the distance of x to y. Sparse cells stay sparse."""
    gap: Matrix = x - y if sparse.issparse(x) and sparse.issparse(y) else densify(x) - densify(y)
    square = gap.multiply(gap) if sparse.issparse(gap) else gap**2
    return float(np.sqrt(np.asarray(square.sum(axis=1), dtype=np.float64)).sum())
