"""Nearest perturbations: the response of those whose vectors are most alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial.distance import cdist

from ..._validate import one_of, positive
from ._shift import ShiftBaseline, part_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population

SAME = 1e-6  # vectors closer than this part of the median distance are one vector


class Nearest(ShiftBaseline):
    """Control cells plus the mean response of the perturbations with the nearest vectors, weighted by 1 / distance.

    A perturbation that was measured is at distance 0 of itself and gets its own response. The vector of a combination is
    the mean of those of its parts.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Vectors of perturbations: a name in ``uns["perturbation_embeddings"]``, or a table; one-hot if ``None``, with
        which the neighbours of a new combination are what shares its parts.
    k
        Neighbours; all training perturbations if there are fewer.
    metric
        ``"cosine"`` or ``"euclidean"`` distance of vectors.

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
    ):
        positive(k, name="k")
        one_of(metric, ("cosine", "euclidean"), name="metric")
        self._start(adata, embedding=embedding, k=int(k), metric=metric)

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        arrays = super()._fit(cells)
        return arrays | {"vectors": self._vectors([str(name) for name in arrays["names"]])}

    def _unknown(self, names: Sequence[str]) -> list[str]:
        self.vocabulary.parts(names)
        return []

    def _vectors(self, names: Sequence[str]) -> Floats:
        n_parts = np.array([[len(self._singles(name))] for name in names])
        return part_vectors(self.vocabulary, names).sum(axis=1) / n_parts

    def _weights(self, names: Sequence[str]) -> Floats:
        vectors = self.arrays["vectors"]
        apart = np.nan_to_num(
            cdist(self._vectors(names), vectors, self.params["metric"]), nan=1.0
        )  # a vector of zeros
        k = min(self.params["k"], len(vectors))
        order = np.argsort(apart, axis=1, kind="stable")[:, :k]
        near = np.take_along_axis(apart, order, axis=1)
        floor = SAME * (np.median(apart) or 1.0)
        exact = near <= floor
        weight = np.where(exact.any(axis=1, keepdims=True), exact, 1 / np.maximum(near, floor))
        table = np.zeros_like(apart)
        np.put_along_axis(table, order, weight / weight.sum(axis=1, keepdims=True), axis=1)
        return table
