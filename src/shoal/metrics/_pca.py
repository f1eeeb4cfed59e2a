"""Principal axes of a covariance matrix, with one sign convention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from .._typing import Floats


def principal_axes(covariance: Floats, n_components: int) -> tuple[Floats, Floats]:
    """Return the leading eigenvectors and eigenvalues of a covariance matrix.

    Every axis has its largest loading (in absolute value) positive, so that the result does not depend on the solver.
    Directions without variance are left out: they have no direction to report.

    Parameters
    ----------
    covariance
        (d, d) symmetric, positive semi-definite.
    n_components
        Most axes to return, at most d.

    Returns
    -------
    axes
        (d, k) orthonormal columns, largest variance first; k is at most `n_components` and the rank.
    variance
        (k,) variance along each axis.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import principal_axes
    >>> axes, variance = principal_axes(np.diag([1.0, 4.0, 0.0]), 3)
    >>> variance
    array([4., 1.])
    """
    d = len(covariance)
    low = d - min(n_components, d)
    variance, axes = linalg.eigh(covariance, subset_by_index=[low, d - 1])
    variance, axes = variance[::-1], axes[:, ::-1]
    floor = max(float(variance[0]), 0.0) * d * np.finfo(np.float64).eps
    keep = variance > floor
    return _with_sign(axes[:, keep]), variance[keep]


def axes_of_rows(values: Floats, n_components: int) -> tuple[Floats, Floats]:
    """Return `principal_axes` of ``values.T @ values``, from the smaller of the two products.

    Parameters
    ----------
    values
        (n, d) observations.
    n_components
        Most axes to return.

    Returns
    -------
    axes
        (d, k) orthonormal columns.
    variance
        (k,) sum of squares along each axis.
    """
    n, d = values.shape
    if d <= n:
        return principal_axes(values.T @ values, n_components)
    left, variance = principal_axes(values @ values.T, n_components)
    keep = variance > variance.max(initial=0.0) * d * np.finfo(np.float64).eps
    axes = values.T @ (left[:, keep] / np.sqrt(variance[keep]))
    return _with_sign(axes), variance[keep]


def _with_sign(axes: Floats) -> Floats:
    """Return axes whose largest loading (in absolute value) is positive."""
    largest = np.abs(axes).argmax(axis=0)
    return np.asarray(axes * np.sign(axes[largest, np.arange(axes.shape[1])]))
