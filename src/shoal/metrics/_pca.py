"""Principal axes of a covariance matrix, with one sign convention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from .._typing import Floats


def principal_axes(covariance: Floats, n_components: int) -> tuple[Floats, Floats]:
    """Return the leading eigenvectors and eigenvalues of a covariance matrix.

    Two rules make the result unique. The largest loading of every axis (in absolute value) is
    positive, so that the result does not depend on the solver. Directions without variance are left
    out.

    Parameters
    ----------
    covariance
        (d, d) symmetric, positive semi-definite matrix.
    n_components
        Largest number of axes to return.

    Returns
    -------
    axes
        (d, k) orthonormal columns, largest variance first. k is at most `n_components` and the
        rank.
    variance
        (k,) variance along each axis.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._pca import principal_axes
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
    variance, axes = variance[keep], axes[:, keep]
    largest = np.abs(axes).argmax(axis=0)
    sign = np.sign(axes[largest, np.arange(axes.shape[1])])
    return axes * sign, variance
