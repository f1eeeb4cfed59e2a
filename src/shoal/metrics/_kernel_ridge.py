"""Kernel ridge regression of responses on vectors: leave-one-out errors in closed form."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats

RIDGES = np.logspace(-4, 4, 17)  # tried, in units of the mean diagonal of the centred kernel
ROUNDING = 1e-9  # errors that differ by less, as a share, are equal
STEPS = 4  # weights of summed kernels are multiples of a quarter
MOST_ON_GRID = 4  # kernels for which all such weights are tried


class CentredRidge:
    """Ridge regression on a kernel of n observations, with an intercept without penalty.

    Let H be the centring matrix and K_c = H K H = V diag(v) V'. The smoother is
    11'/n + V diag(v / (v + ridge)) V', and I minus it is the residual matrix R. The residual of
    observation i in a fit without it is (R Y)_i / R_ii.

    Parameters
    ----------
    kernel
        (n, n) kernel of the observations.
    """

    def __init__(self, kernel: Floats):
        n = len(kernel)
        self.centring = np.eye(n) - 1 / n
        value, self.vector = np.linalg.eigh(self.centring @ kernel @ self.centring)
        self.value = np.maximum(value, 0)
        self.unit = float(self.value.mean()) or 1.0

    def residual(self, ridge: float) -> Floats:
        """Return the (n, n) residual matrix R, for a ridge in units of the mean of v."""
        value = self.value / (self.value + ridge * self.unit)
        return np.asarray(self.centring - (self.vector * value) @ self.vector.T)

    def inverse(self, ridge: float) -> Floats:
        """Return the (n, n) matrix H (K_c + ridge)^-1 H."""
        shrunk = self.vector / (self.value + ridge * self.unit)
        return np.asarray(self.centring @ (shrunk @ self.vector.T) @ self.centring)

    def left_out(self, gram: Floats, ridges: Floats) -> Floats:
        """Return the (k, n) squared leave-one-out errors of observations, for k ridges.

        Parameters
        ----------
        gram
            (n, n) inner products of the responses: the errors need no more of them.
        ridges
            Penalties, in units of the mean diagonal of the centred kernel.
        """
        errors = []
        for ridge in ridges:
            residual = self.residual(ridge)
            left = np.maximum(np.diag(residual), 1e-12)  # 0 only where n is 1
            errors.append(np.einsum("ij,ij->i", residual @ gram, residual) / left**2)
        return np.array(errors)


def chosen_ridge(ridges: Floats, errors: Sequence[float] | Floats) -> float:
    """Return the ridge of the smallest error, the largest one of those that differ by rounding.

    All ridges have one error where all vectors are equally far apart, as one-hot ones are. Rounding
    differs between machines, and even between runs.

    Parameters
    ----------
    ridges
        (k,) penalties, ascending.
    errors
        (k,) their errors.
    """
    least = min(errors)
    return float(ridges[np.asarray(errors) <= least + ROUNDING * abs(least)][-1])


def fit_ridge(kernel: Floats, gram: Floats, ridges: Floats) -> Floats:
    """Return H (K_c + ridge)^-1 H for the ridge with the smallest leave-one-out error.

    H is the centring matrix, and K_c the centred kernel.

    Parameters
    ----------
    kernel
        (n, n) kernel of the observations.
    gram
        (n, n) inner products of their responses: the error needs no more of them.
    ridges
        Penalties to choose from, in units of the mean diagonal of the centred kernel K_c.
    """
    fit = CentredRidge(kernel)
    return fit.inverse(chosen_ridge(ridges, fit.left_out(gram, ridges).mean(axis=1)))


def gaussian_width(vectors: Floats) -> float:
    """Return the median distance above 0 between vectors; 1 if there is none."""
    distances = cdist(vectors, vectors)[np.triu_indices(len(vectors), 1)]
    apart = distances[distances > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def scale_of(kernel: Floats) -> float:
    """Return the mean diagonal of a centred kernel; 1 if it is 0."""
    return float(np.diag(kernel).mean() - kernel.mean()) or 1.0


def weight_grid(n: int) -> Floats:
    """Return (g, n) weights of n kernels that are tried; each row sums to 1.

    Of up to four kernels, all multiples of a quarter. Of more, equal weights, one kernel alone, and
    one kernel left out.
    """
    if n <= MOST_ON_GRID:
        rows = [np.bincount(c, minlength=n) for c in combinations_with_replacement(range(n), STEPS)]
        grid = [np.full(n, 1 / n), *(row / STEPS for row in rows)]
    else:
        grid = [np.full(n, 1 / n), *np.eye(n), *((1 - np.eye(n)) / (n - 1))]
    return np.unique(np.round(grid, 12), axis=0)


def kernel_weights(kernels: Sequence[Floats], gram: Floats, ridges: Floats = RIDGES) -> Floats:
    """Return how much each of several kernels counts in their sum, by leave-one-out errors.

    Every weighting of `weight_grid` has the ridge of its smallest mean error. The weights are those
    nearest to equal ones whose error is not larger than the smallest by more than one standard
    error of the difference, over observations. With few observations they stay equal.

    Parameters
    ----------
    kernels
        M kernels (n, n) of the observations, of like scale (`scale_of`).
    gram
        (n, n) inner products of the responses.
    ridges
        Penalties to choose from, as of `CentredRidge.left_out`.

    Returns
    -------
    (M,) weights, at least 0, whose sum is 1.
    """
    n, grid = len(gram), weight_grid(len(kernels))
    if len(grid) == 1 or n < 3:
        return np.full(len(kernels), 1 / len(kernels))
    errors = []
    for weights in grid:
        by_ridge = CentredRidge(np.tensordot(weights, kernels, 1)).left_out(gram, ridges)
        errors.append(by_ridge[by_ridge.mean(axis=1).argmin()])
    each = np.array(errors)
    more = each - each[each.mean(axis=1).argmin()]
    spread = more.std(axis=1, ddof=1) / np.sqrt(n)
    good = more.mean(axis=1) <= spread + ROUNDING * each.mean()
    far = np.where(good, ((grid - 1 / len(kernels)) ** 2).sum(axis=1), np.inf)
    nearest = np.flatnonzero(far <= far.min() + ROUNDING)
    return np.asarray(grid[nearest[each[nearest].mean(axis=1).argmin()]])
