"""Kernel ridge regression of responses on vectors of perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.spatial.distance import cdist, pdist

from ..._validate import one_of, positive
from ._deltas import Deltas
from ._shift import ShiftBaseline, part_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population

RIDGES = np.logspace(-4, 4, 17)  # tried, in units of the mean diagonal of the centred kernel


class KernelRidge(ShiftBaseline):
    """Control cells plus a response predicted from the perturbation's vector by kernel ridge regression.

    The mean response is the intercept and is not penalised. The vector of a combination is the sum of its parts' for the
    linear kernel and their mean for the Gaussian one.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Vectors of perturbations: a name in ``uns["perturbation_embeddings"]``, or a table; one-hot if ``None``, which
        only links combinations with their parts: single perturbations are then all equally unlike each other.
    kernel
        ``"rbf"``, a Gaussian as wide as the median distance between training perturbations, or ``"linear"``.
    ridge
        Penalty in units of the mean diagonal of the centred kernel; if ``None``, the one of 17 between 1e-4 and 1e4
        whose leave-one-out error on the training perturbations is smallest.

    Examples
    --------
    >>> import numpy as np, pandas as pd, shoal as sh
    >>> from shoal.models import KernelRidge
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> vectors = pd.DataFrame(np.eye(5, 3), index=["P1", "P2", "P3", "P4", "new"])
    >>> model = KernelRidge(adata, embedding=vectors)
    >>> model.train()
    >>> model.predict("new", n_cells=20).shape
    (20, 5)
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        embedding: str | pd.DataFrame | None = None,
        kernel: Literal["rbf", "linear"] = "rbf",
        ridge: float | None = None,
    ):
        one_of(kernel, ("rbf", "linear"), name="kernel")
        if ridge is not None:
            positive(ridge, name="ridge")
        self._start(adata, embedding=embedding, kernel=kernel, ridge=ridge)

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        arrays = super()._fit(cells)
        responses = Deltas(**arrays).at(-1, np.nan)
        vectors = self._vectors([str(name) for name in arrays["names"]])
        apart = pdist(vectors)
        width = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
        kernel = self._kernel(vectors, vectors, width)
        ridges = RIDGES if self.params["ridge"] is None else np.array([self.params["ridge"]])
        inverse = fit_ridge(kernel, responses @ responses.T, ridges)
        return arrays | {"vectors": vectors, "width": np.array(width), "inverse": inverse}

    def _unknown(self, names: Sequence[str]) -> list[str]:
        self.vocabulary.parts(names)
        return []

    def _weights(self, names: Sequence[str]) -> Floats:
        vectors, width = self.arrays["vectors"], float(self.arrays["width"])
        column = self._kernel(vectors, vectors, width).mean(axis=1)
        k = self._kernel(self._vectors(names), vectors, width) - column
        return (k - k.mean(axis=1, keepdims=True)) @ self.arrays["inverse"] + self._mean_weights()

    def _vectors(self, names: Sequence[str]) -> Floats:
        summed = part_vectors(self.vocabulary, names).sum(axis=1)
        if self.params["kernel"] == "linear":
            return summed
        return summed / np.array([[len(self._singles(name))] for name in names])

    def _kernel(self, a: Floats, b: Floats, width: float) -> Floats:
        if self.params["kernel"] == "linear":
            return a @ b.T
        return np.exp(-cdist(a, b, "sqeuclidean") / (2 * width**2))


def fit_ridge(kernel: Floats, gram: Floats, ridges: Floats) -> Floats:
    """Return H (K_c + ridge)^-1 H, H the centring matrix, for the ridge with the smallest leave-one-out error.

    Parameters
    ----------
    kernel
        (n, n) kernel of the observations.
    gram
        (n, n) inner products of their responses: the error needs no more of them.
    ridges
        Penalties to choose from, in units of the mean diagonal of the centred kernel K_c.
    """
    n = len(kernel)
    centring = np.eye(n) - 1 / n
    value, vector = np.linalg.eigh(centring @ kernel @ centring)
    value = np.maximum(value, 0)
    unit = value.mean() or 1.0
    errors = []
    for ridge in ridges:
        residual = (
            centring - (vector * (value / (value + ridge * unit))) @ vector.T
        )  # I minus the smoother
        left = np.maximum(np.diag(residual), 1e-12)  # 0 only where n is 1
        errors.append(float((np.einsum("ij,ij->i", residual @ gram, residual) / left**2).mean()))
    best = ridges[len(ridges) - 1 - int(np.argmin(errors[::-1]))]  # the larger of equals
    return centring @ ((vector / (value + best * unit)) @ vector.T) @ centring
