"""Nearest perturbations: the response of those whose vectors are most alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from ..._validate import flag, one_of, whole
from ._shift import ShiftBaseline
from ._vectors import alike, apart, averaged, from_arrays, some_of, to_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ...core._population import Population

SAME = 1e-6  # vectors closer than this part of the median distance are one vector
AT_ONCE = 512  # perturbations whose distances from all others are in memory together


class Nearest(ShiftBaseline):
    """Control cells plus the mean response of the perturbations with the nearest vectors.

    The responses are weighted by 1 / distance.

    A perturbation that was measured is at distance 0 of itself and gets its own response. The
    vector of a combination is the mean of those of its parts.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Vectors of perturbations: a name in ``uns["perturbation_embeddings"]``, or a table. One-hot
        if ``None``: the neighbours of a new combination are then what shares its parts.
    k
        Neighbours; all training perturbations if there are fewer.
    metric
        ``"cosine"`` or ``"euclidean"`` distance of vectors.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response.

    Examples
    --------
    >>> import numpy as np, pandas as pd, shoal as sh
    >>> from shoal.models import Nearest
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> vectors = pd.DataFrame(np.arange(10.0).reshape(5, 2), index=["P1", "P2", "P3", "P4", "new"])
    >>> model = Nearest(adata, embedding=vectors, k=2, metric="euclidean")
    >>> model.train()
    >>> model.predict("new", n_cells=20).shape
    (20, 5)
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        embedding: str | pd.DataFrame | None = None,
        k: int = 5,
        metric: Literal["cosine", "euclidean"] = "cosine",
        shrink: bool = True,
    ):
        flag(shrink, name="shrink")
        k = whole(k, name="k")
        one_of(metric, ("cosine", "euclidean"), name="metric")
        self._start(adata, embedding=embedding, k=k, metric=metric, shrink=bool(shrink))

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        arrays = super()._fit(cells)
        vectors = averaged(self.vocabulary, [str(name) for name in arrays["names"]])
        some = some_of(vectors)
        typical = float(np.median(apart(some, some, self.params["metric"]))) or 1.0
        return arrays | to_arrays(vectors, "vectors") | {"same": np.array(SAME * typical)}

    def _ready(self) -> None:
        super()._ready()
        self.vectors = from_arrays(self.arrays, "vectors")
        same = alike(self.vectors, self.params["metric"], float(self.arrays["same"]))
        self._n_alike = np.minimum(np.diff(same.indptr), self.params["k"])
        first = np.arange(same.nnz) - np.repeat(same.indptr[:-1], np.diff(same.indptr))
        same.data = np.where(first < self.params["k"], 1.0, 0.0)
        same.eliminate_zeros()
        same.data = 1.0 / np.repeat(self._n_alike, self._n_alike)
        self._alike = same

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        return self.vocabulary.reasons_without_vector(names)

    def _weights(self, names: Sequence[str]) -> tuple[sparse.csr_matrix, Floats]:
        rows = np.array([self._row.get(name, -1) for name in names], dtype=np.int64)
        known = (rows >= 0) & (self._n_alike[rows] > 0)
        order = np.argsort(np.r_[np.flatnonzero(known), np.flatnonzero(~known)], kind="stable")
        own = self._alike[rows[known]]
        others = self._search([name for name, at in zip(names, known, strict=True) if not at])
        return sparse.vstack([own, others], format="csr")[order], np.zeros(len(names))

    def _search(self, names: Sequence[str]) -> sparse.csr_matrix:
        """Return the weights of unmeasured perturbations, compared with all measured ones."""
        n_known, floor = self.vectors.shape[0], float(self.arrays["same"])
        k = min(self.params["k"], n_known)
        near, columns = np.empty((len(names), k)), np.empty((len(names), k), dtype=np.int64)
        vectors = averaged(self.vocabulary, names) if names else self.vectors[:0]
        for start in range(0, len(names), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            distances = apart(vectors[rows], self.vectors, self.params["metric"])
            columns[rows] = nearest(distances, k)
            near[rows] = np.take_along_axis(distances, columns[rows], axis=1)
        exact = near <= floor
        weight = np.where(exact.any(axis=1, keepdims=True), exact, 1 / np.maximum(near, floor))
        weight /= weight.sum(axis=1, keepdims=True)
        ends = np.arange(len(names) + 1) * k
        return sparse.csr_matrix((weight.ravel(), columns.ravel(), ends), (len(names), n_known))


def nearest(distances: Floats, k: int) -> Ints:
    """Return the (n, k) columns of the smallest values of each row, in order of size.

    Of equal values the first comes first.
    """
    last = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    below, equal = np.nonzero(distances < last), np.nonzero(distances == last)
    n_below = np.bincount(below[0], minlength=len(distances))
    place = np.arange(len(equal[0])) - np.searchsorted(equal[0], equal[0])
    first = place < (k - n_below)[equal[0]]
    rows, columns = (np.r_[a, b[first]] for a, b in zip(below, equal, strict=True))
    order = np.lexsort((columns, distances[rows, columns], rows))
    return columns[order].reshape(-1, k)
