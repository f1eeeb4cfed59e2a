"""Kernel ridge regression of responses on vectors of perturbations."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from ..._validate import flag, one_of, positive
from ._deltas import deltas_of
from ._landmarks import LandmarkRidge, chosen_ridge, fit_landmarks
from ._shift import PLACES, ShiftBaseline
from ._vectors import MOST, apart, averaged, from_arrays, some_of, summed, to_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Matrix
    from ...core._population import Population

RIDGES = np.logspace(-4, 4, 17)  # tried, in units of the mean diagonal of the centred kernel
MOST_EXACT = 2000  # training perturbations that are all compared with each other


class KernelRidge(ShiftBaseline):
    """Control cells plus a response by kernel ridge regression on the perturbation's vector.

    - The mean response is the intercept and is not penalised.
    - The vector of a combination is the sum of those of its parts for the linear kernel, and their
      mean for the Gaussian one.
    - Of more than 2,000 training perturbations, 1,000 landmarks are taken, evenly spaced in the
      order of the names. The regression is then on the kernel with these (Nyström's method), so
      that its cost grows linearly with the number of perturbations.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Vectors of perturbations: a name in ``uns["perturbation_embeddings"]``, or a table. One-hot
        if ``None``, which only links combinations with their parts: single perturbations are then
        all equally unlike each other.
    kernel
        ``"rbf"``, a Gaussian as wide as the median distance between training perturbations, or
        ``"linear"``.
    ridge
        Penalty in units of the mean diagonal of the centred kernel. If ``None``, the one of 17
        between 1e-4 and 1e4 whose leave-one-out error on the training perturbations is smallest.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response. The ridge
        is chosen on what was measured.

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
        shrink: bool = True,
    ):
        flag(shrink, name="shrink")
        one_of(kernel, ("rbf", "linear"), name="kernel")
        if ridge is not None:
            positive(ridge, name="ridge")
        self._start(adata, embedding=embedding, kernel=kernel, ridge=ridge, shrink=bool(shrink))

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        arrays = super()._fit(cells)
        responses = deltas_of(arrays).at(-1, np.nan)
        vectors = self._vectors([str(name) for name in arrays["names"]])
        some = some_of(vectors, MOST if len(responses) > MOST_EXACT else MOST_EXACT)
        distances = apart(some, some, "euclidean")
        distances = distances[np.triu_indices(len(distances), 1)]
        width = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
        ridges = RIDGES if self.params["ridge"] is None else np.array([self.params["ridge"]])
        among = self._kernel(some, some, width)
        if len(responses) <= MOST_EXACT:
            fitted = {"inverse": fit_ridge(among, responses @ responses.T, ridges)}
        else:
            kernel = self._kernel(vectors, some, width)
            fitted = asdict(fit_landmarks(among, kernel, responses, ridges))
        return arrays | to_arrays(some, "vectors") | {"width": np.array(width)} | fitted

    def _ready(self) -> None:
        super()._ready()
        self.vectors, self.width = from_arrays(self.arrays, "vectors"), float(self.arrays["width"])
        self.is_exact = "inverse" in self.arrays
        if self.is_exact:
            self._column = self._kernel(self.vectors, self.vectors, self.width).mean(axis=1)
        else:
            parts = {f.name: self.arrays[f.name] for f in fields(LandmarkRidge)}
            self._ridge = LandmarkRidge(**parts)
        self._pulled: dict[tuple[int, float | None], Floats] = {}

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        return self.vocabulary.reasons_without_vector(names)

    def _shifts(self, names: Sequence[str], context: int, dose: float) -> Floats:
        kernel = self._kernel(self._vectors(names), self.vectors, self.width)
        responses = self._responses_at(context, dose)
        if not self.is_exact:
            own = self._ridge.phi(kernel) @ self._coefficients(context, dose)
            return np.asarray(own + responses.mean)
        k = kernel - self._column
        own = (k - k.mean(axis=1, keepdims=True)) @ self.arrays["inverse"]
        return responses.sums(own) + responses.mean

    def _coefficients(self, context: int, dose: float) -> Floats:
        """Return the (r, n_features) coefficients of the features, which are kept for a while."""
        place = (context, None if np.isnan(dose) else dose)
        if place not in self._pulled:
            if len(self._pulled) >= PLACES:
                self._pulled.clear()
            self._pulled[place] = self._responses_at(context, dose).sums(self._ridge.pull.T)
        return self._pulled[place]

    def _vectors(self, names: Sequence[str]) -> Matrix:
        of_parts = summed if self.params["kernel"] == "linear" else averaged
        return of_parts(self.vocabulary, names)

    def _kernel(self, a: Matrix, b: Matrix, width: float) -> Floats:
        if self.params["kernel"] == "linear":
            product = a @ b.T
            return np.asarray(product.toarray() if sparse.issparse(product) else product)
        return np.exp(-apart(a, b, "sqeuclidean") / (2 * width**2))


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
    best = chosen_ridge(ridges, errors)
    return centring @ ((vector / (value + best * unit)) @ vector.T) @ centring
