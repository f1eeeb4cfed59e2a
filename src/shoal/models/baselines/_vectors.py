"""Vectors of perturbations and distances between them; one-hot vectors stay sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._typing import Floats, Matrix
    from ..base._vocabulary import Vocabulary

MOST = 1000  # vectors among which a typical distance is looked for
ROUNDING = 1e-12  # of squared distances


def summed(vocabulary: Vocabulary, names: Sequence[str]) -> Matrix:
    """Return the (n, E) sums of the vectors of the parts of perturbations, dense or CSR."""
    return vocabulary.incidence(names) @ vocabulary.vectors.astype(np.float64)


def averaged(vocabulary: Vocabulary, names: Sequence[str]) -> Matrix:
    """Return the (n, E) means of the vectors of the parts of perturbations, dense or CSR."""
    total = summed(vocabulary, names)
    n_parts = np.array([len(vocabulary.screen.parts(name)) for name in names], dtype=np.float64)
    if sparse.issparse(total):
        return sparse.csr_matrix(
            (total.data / np.repeat(n_parts, np.diff(total.indptr)), total.indices, total.indptr),
            shape=total.shape,
        )
    return np.asarray(total / n_parts[:, None])


def apart(a: Matrix, b: Matrix, metric: str) -> Floats:
    """Return the (n, m) distances of the rows of `a` and `b`.

    Parameters
    ----------
    a, b
        (n, E) and (m, E) vectors, both dense or both CSR.
    metric
        ``"cosine"``, ``"euclidean"`` or ``"sqeuclidean"``. The cosine distance from a vector of
        zeros is 1.
    """
    if not sparse.issparse(a):
        distances = cdist(a, b, metric)
        distances[np.isnan(distances)] = 1.0  # from a vector of zeros
        return np.asarray(distances)
    inner = (a @ b.T).toarray()
    squares = [np.asarray(x.multiply(x).sum(axis=1), dtype=np.float64).ravel() for x in (a, b)]
    if metric == "cosine":
        size = np.sqrt(np.outer(*squares))
        return 1.0 - np.divide(inner, size, out=np.zeros_like(inner), where=size > 0)
    found = np.maximum(squares[0][:, None] + squares[1] - 2.0 * inner, 0.0)
    return np.sqrt(found) if metric == "euclidean" else found


def alike(vectors: Matrix, metric: str, most: float) -> sparse.csr_matrix:
    """Return which vectors are within a very small distance of each other, without all pairs.

    Parameters
    ----------
    vectors
        (n, E) vectors, dense or CSR.
    metric
        ``"cosine"`` or ``"euclidean"``.
    most
        Largest distance.

    Returns
    -------
    (n, n) 1 where two vectors are alike. A vector of zeros has no direction: by the cosine it is
    not even like itself.
    """
    size = (
        np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        if sparse.issparse(vectors)
        else np.linalg.norm(vectors, axis=1)
    )
    if metric == "cosine":  # of unit vectors half the squared distance
        unit = 1.0 / np.where(size > 0, size, 1.0)
        vectors, most = sparse.diags(unit) @ vectors, float(np.sqrt(2 * most))
    used = np.flatnonzero((size > 0) | (metric != "cosine"))
    if sparse.issparse(vectors):
        inner = (vectors[used] @ vectors[used].T).tocoo()
        squares = np.asarray(vectors[used].multiply(vectors[used]).sum(axis=1)).ravel()
        apart_squared = squares[inner.row] + squares[inner.col] - 2 * inner.data
        near = apart_squared <= most**2 + ROUNDING
        pairs = np.column_stack([inner.row[near], inner.col[near]])
    else:
        others = cKDTree(vectors[used]).query_pairs(most, output_type="ndarray")
        own = np.column_stack([np.arange(len(used))] * 2)
        pairs = np.concatenate([own, others, others[:, ::-1]])
    rows, columns = used[pairs].T
    n = vectors.shape[0]
    found = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    found.sort_indices()
    return found


def some_of(vectors: Matrix, most: int = MOST) -> Matrix:
    """Return all vectors, or `most` evenly spaced ones if there are more."""
    n = vectors.shape[0]
    return vectors if n <= most else vectors[np.linspace(0, n - 1, most).astype(np.int64)]


def to_arrays(vectors: Matrix, name: str) -> dict[str, NDArray[Any]]:
    """Return plain arrays to save vectors as; `from_arrays` reads them."""
    if not sparse.issparse(vectors):
        return {name: vectors}
    parts = {part: getattr(vectors, part) for part in ("data", "indices", "indptr")}
    return {f"{name}_{part}": value for part, value in parts.items()} | {
        f"{name}_shape": np.array(vectors.shape)
    }


def from_arrays(arrays: dict[str, NDArray[Any]], name: str) -> Matrix:
    """Read what `to_arrays` returned."""
    if name in arrays:
        return arrays[name]
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]))
