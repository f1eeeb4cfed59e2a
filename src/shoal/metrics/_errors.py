"""Errors of the predicted means, gene by gene, and of predicted cells where the truth of each cell is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._cells import densify
from ._means import counted, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Matrix


def mae(predicted: Floats, real: Floats, *, mask: Bools | None = None) -> Floats:
    r"""Mean absolute error of the mean, :math:`\frac{1}{G}\sum_g |\hat y_g - \bar x_g|`.

    Lower is better, 0 is perfect. Most genes do not respond, so that a copy of the control or the mean of the perturbed
    cells comes close to the best value there is; report it for comparison with published numbers, rank models by others.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a condition.
    real
        (P, G) means of the real cells.
    mask
        (P, G) genes that count; all by default.

    Returns
    -------
    (P,) errors in the units of the means, float64; NaN for a condition without a gene that counts.

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


def mse(predicted: Floats, real: Floats, *, mask: Bools | None = None) -> Floats:
    r"""Mean squared error of the mean, :math:`\frac{1}{G}\sum_g (\hat y_g - \bar x_g)^2`.

    Lower is better, 0 is perfect. It misleads as :func:`shoal.metrics.mae` does; see
    :func:`shoal.metrics.weighted_mse` for one that looks where something happens.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a condition.
    real
        (P, G) means of the real cells.
    mask
        (P, G) genes that count; all by default.

    Returns
    -------
    (P,) errors in squared units of the means, float64; NaN for a condition without a gene that counts.

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


def rmse(predicted: Floats, real: Floats, *, mask: Bools | None = None) -> Floats:
    r"""Root of the mean squared error of the mean.

    Lower is better, 0 is perfect. A shift of one gene by 10 weighs as much as one of 100 genes by 1.

    Parameters
    ----------
    predicted
        (P, G) means of the predicted cells, one row a condition.
    real
        (P, G) means of the real cells.
    mask
        (P, G) genes that count; all by default.

    Returns
    -------
    (P,) errors in the units of the means, float64; NaN for a condition without a gene that counts.

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


def cell_error(
    predicted: Sequence[Matrix], real: Sequence[Matrix], *, start: Sequence[Matrix]
) -> Floats:
    r"""Distance of each cell to its true counterfactual, relative to the distance if nothing is done.

    .. math:: \frac{\sum_i \lVert \hat y_i - y_i \rVert}{\sum_i \lVert x_i - y_i \rVert}

    for cells x that became y. Lower is better: 0 is perfect, 1 is what leaving every cell unperturbed gives, and there is
    no upper limit. Nobody observes y in an experiment, so it is for simulated screens only. Where the response itself is
    random, 0 cannot be reached, and a prediction of the conditional mean does better than a faithful random one.

    Parameters
    ----------
    predicted
        P populations, each (n, d): what the model makes of every cell; dense, or sparse of scipy.
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
        msg = f"expected one population a condition in each, not {len(predicted)}, {len(real)} and {len(start)}"
        raise ValueError(msg)
    found = np.full(len(real), np.nan)
    for i, (guess, truth, before) in enumerate(zip(predicted, real, start, strict=True)):
        if not guess.shape == truth.shape == before.shape:
            msg = f"population {i}: the same cells thrice, not {guess.shape}, {truth.shape} and {before.shape}"
            raise ValueError(msg)
        error, distance = _path(guess, truth), _path(before, truth)
        if not np.isfinite(error + distance):
            msg = f"population {i} holds NaN or infinite values; drop those cells from all three first"
            raise ValueError(msg)
        found[i] = error / distance if distance > 0 else np.nan
    return found


def _gap(predicted: Floats, real: Floats) -> Floats:
    guess, truth = tables(predicted=predicted, real=real)
    return guess - truth


def _mean(errors: Floats, mask: Bools | None) -> Floats:
    """Return the mean over the genes that count, NaN where there is none."""
    genes = counted(mask, errors.shape)
    n = genes.sum(axis=1)
    return np.where(genes, errors, 0.0).sum(axis=1) / np.where(n > 0, n, np.nan)


def _path(x: Matrix, y: Matrix) -> float:
    """Return the sum over cells of the distance of x to y; a difference of sparse cells stays sparse."""
    gap: Matrix = x - y if sparse.issparse(x) and sparse.issparse(y) else densify(x) - densify(y)
    square = gap.multiply(gap) if sparse.issparse(gap) else gap**2
    return float(np.sqrt(np.asarray(square.sum(axis=1), dtype=np.float64)).sum())
