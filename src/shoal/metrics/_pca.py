"""Principal axes: of a covariance matrix, of cells, and of cells that are read in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import linalg

from .._threads import one_thread
from ._cells import densify

if TYPE_CHECKING:
    from .._typing import Floats, Matrix

EXACT = 2_000  # most features whose covariance is decomposed exactly
EXTRA = 10  # dimensions beside those asked for that the iteration carries along
TURNS = 8  # of the iteration


@one_thread()
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


def axes_of_cells(cells: Matrix, n_components: int, *, rng: np.random.Generator) -> Floats:
    """Return the leading principal axes of cells, dense or CSR, about their mean.

    The covariance of up to `EXACT` features is decomposed exactly. More features are decomposed by
    iteration, and a sparse matrix stays sparse. All is done in double precision and in the same
    way for either kind of matrix, so that the axes are those of the values, however stored.

    Parameters
    ----------
    cells
        (n, d) values.
    n_components
        Number of axes, at most d and n.
    rng
        Starts the iteration.

    Returns
    -------
    (d, k) orthonormal columns, largest variance first. k is at most `n_components` and, where they
    are decomposed exactly, the rank.
    """
    exact = cells.astype(np.float64, copy=False)
    mean = np.asarray(exact.mean(axis=0)).ravel()
    if exact.shape[1] > EXACT:
        return _by_iteration(exact, mean, n_components, rng)
    scatter = densify(exact.T @ exact)
    scatter -= exact.shape[0] * np.outer(mean, mean)
    return principal_axes(scatter, n_components)[0]


def _by_iteration(cells: Matrix, mean: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Return k principal axes (d, k) by subspace iteration from a random start.

    Source: halko2011finding, algorithm 4.4.
    """
    span = rng.standard_normal((len(mean), min(k + EXTRA, *cells.shape)))
    for _ in range(TURNS):
        scores = np.linalg.qr(cells @ span - mean @ span)[0]
        span = cells.T @ scores - np.outer(mean, scores.sum(axis=0))
        span = np.linalg.qr(span)[0]
    scores = cells @ span - mean @ span
    _, _, rotation = np.linalg.svd(scores, full_matrices=False)
    return _with_sign(span @ rotation[:k].T)


def axes_of_few_cells(cells: Matrix, n_components: int) -> Floats:
    """Return the leading principal axes of cells about their mean, from products between cells.

    It is the way for fewer cells than features: the covariance of the features is never formed.

    Parameters
    ----------
    cells
        (n, d) values in double precision, dense or CSR; a sparse matrix stays sparse.
    n_components
        Most axes to return.

    Returns
    -------
    (d, k) orthonormal columns, largest variance first; k is 0 if the cells do not vary.
    """
    products = densify(cells @ cells.T)
    products -= products.mean(axis=0)
    products -= products.mean(axis=1)[:, None]
    vectors, size = principal_axes(products, min(n_components, len(products) - 1))
    vectors -= vectors.mean(axis=0)
    return np.asarray(cells.T @ (vectors / np.sqrt(size)))


def rotated_onto(axes: Floats, target: Floats) -> Floats:
    """Return axes (d, k) of the same span, as near as possible to the `target` axes (d, k).

    This is the orthogonal Procrustes rotation.
    """
    u, _, vt = np.linalg.svd(axes.T @ target, full_matrices=False)
    rotated: Floats = axes @ (u @ vt)
    return rotated


@dataclass
class Moments:
    """Count, sum and sum of outer products of cells that are read in pieces.

    Attributes
    ----------
    n
        Number of cells so far.
    total
        (d,) their sum.
    gram
        (d, d) sum of their outer products.
    """

    n: int
    total: Floats
    gram: Floats

    @classmethod
    def zero(cls, d: int) -> Self:
        """Return the moments of no cell with `d` features."""
        return cls(0, np.zeros(d), np.zeros((d, d)))

    @classmethod
    def sum_of(cls, parts: list[Self]) -> Self:
        """Return the moments of all cells of several parts."""
        whole = cls.zero(len(parts[0].total))
        for part in parts:
            whole = cls(whole.n + part.n, whole.total + part.total, whole.gram + part.gram)
        return whole

    def add(self, piece: Floats) -> None:
        """Add (n, d) cells."""
        self.n += len(piece)
        self.total += piece.sum(axis=0)
        self.gram += piece.T @ piece

    def without(self, part: Self) -> Self:
        """Return the moments of the cells that are not in a part."""
        return type(self)(self.n - part.n, self.total - part.total, self.gram - part.gram)

    @property
    def mean(self) -> Floats:
        """(d,) mean of the cells."""
        return self.total / self.n

    @property
    def covariance(self) -> Floats:
        """(d, d) covariance of the cells, divided by n - 1."""
        scatter = self.gram - self.n * np.outer(self.mean, self.mean)
        covariance: Floats = scatter / max(self.n - 1, 1)
        return covariance
