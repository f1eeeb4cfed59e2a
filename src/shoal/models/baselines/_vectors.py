"""Vectors of perturbations and distances between them; one-hot vectors stay sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._typing import Floats, Matrix
    from ..base._vocabulary import Vocabulary

MOST = 1000  # vectors among which a typical distance is looked for


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
        return np.nan_to_num(cdist(a, b, metric), nan=1.0)
    inner = (a @ b.T).toarray()
    squares = [np.asarray(x.multiply(x).sum(axis=1), dtype=np.float64).ravel() for x in (a, b)]
    if metric == "cosine":
        size = np.sqrt(np.outer(*squares))
        return 1.0 - np.divide(inner, size, out=np.zeros_like(inner), where=size > 0)
    found = np.maximum(squares[0][:, None] + squares[1] - 2.0 * inner, 0.0)
    return np.sqrt(found) if metric == "euclidean" else found


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
