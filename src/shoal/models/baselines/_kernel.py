"""Kernel ridge regression of responses on vectors of perturbations."""

from __future__ import annotations

from dataclasses import asdict, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from ..._validate import flag, one_of, positive
from ...metrics._kernel_ridge import RIDGES, fit_ridge, kernel_weights, scale_of
from ._deltas import deltas_of
from ._landmarks import LandmarkRidge, fit_landmarks
from ._shift import PLACES, ShiftBaseline
from ._vectors import MOST, apart, averaged, from_arrays, some_of, summed, to_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Matrix
    from ...core._population import Population

MOST_EXACT = 2000  # training perturbations that are all compared with each other
MOST_WEIGHED = 500  # training perturbations by which kernels are weighed


class KernelRidge(ShiftBaseline):
    """Control cells plus a response by kernel ridge regression on the perturbation's vector.

    - The mean response is the intercept and is not penalised.
    - The vector of a combination is the sum of those of its parts for the linear kernel, and their
      mean for the Gaussian one.
    - Of more than 2,000 training perturbations, 1,000 landmarks are taken, evenly spaced in the
      order of the names. The regression is then on the kernel with these (Nyström's method), so
      that its cost grows linearly with the number of perturbations.
    - Joined embeddings (``sh.pp.embed(method="joined")``) have a kernel each, of mean centred
      diagonal 1. The kernel is their sum, with the weights nearest to equal ones whose
      leave-one-out error on at most 500 training perturbations is within one standard error of the
      smallest. ``source_weights`` tells them.

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
        self.width = np.array([_width(part) for part in self._split(some)])
        share, self.weight = self._weigh(vectors, responses)
        ridges = RIDGES if self.params["ridge"] is None else np.array([self.params["ridge"]])
        among = self._kernel(some, some)
        if len(responses) <= MOST_EXACT:
            fitted = {"inverse": fit_ridge(among, responses @ responses.T, ridges)}
        else:
            kernel = self._kernel(vectors, some)
            fitted = asdict(fit_landmarks(among, kernel, responses, ridges))
        learned = {"width": self.width, "weight": self.weight, "share": share}
        return arrays | to_arrays(some, "vectors") | learned | fitted

    def _weigh(self, vectors: Matrix, responses: Floats) -> tuple[Floats, Floats]:
        """Return the share of each source, and what its kernel is multiplied by."""
        if len(self.width) == 1:
            return np.ones(1), np.ones(1)
        few = some_of(np.arange(len(responses)), MOST_WEIGHED)
        kernels = self._kernels(vectors[few], vectors[few])
        scales = np.array([scale_of(kernel) for kernel in kernels])
        alike = [kernel / scale for kernel, scale in zip(kernels, scales, strict=True)]
        share = kernel_weights(alike, responses[few] @ responses[few].T)
        return share, share / scales

    def _ready(self) -> None:
        super()._ready()
        self.vectors = from_arrays(self.arrays, "vectors")
        self.width, self.weight = self.arrays["width"], self.arrays["weight"]
        self.is_exact = "inverse" in self.arrays
        if self.is_exact:
            self._column = self._kernel(self.vectors, self.vectors).mean(axis=1)
        else:
            parts = {f.name: self.arrays[f.name] for f in fields(LandmarkRidge)}
            self._ridge = LandmarkRidge(**parts)
        self._pulled: dict[tuple[int, float | None], Floats] = {}

    @property
    def source_weights(self) -> dict[str, float]:
        """How much each of several joined embeddings counts, in sum 1; empty for a single one."""
        sources = self.vocabulary.sources
        if not sources or not self.is_trained:
            return {}
        return dict(zip(sources, map(float, self.arrays["share"]), strict=True))

    def _reasons(self, names: Sequence[str]) -> dict[str, str]:
        return self.vocabulary.reasons_without_vector(names)

    def _shifts(self, names: Sequence[str], context: int, dose: float) -> Floats:
        kernel = self._kernel(self._vectors(names), self.vectors)
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

    def _split(self, vectors: Matrix) -> list[Matrix]:
        """Return the columns of each source of joined vectors; all of them if there is one."""
        ends = np.cumsum([0, *self.vocabulary.source_sizes])
        if len(ends) == 1:
            return [vectors]
        return [vectors[:, a:b] for a, b in pairwise(ends)]

    def _kernels(self, a: Matrix, b: Matrix) -> list[Floats]:
        """Return the kernel of each source."""
        parts = zip(self._split(a), self._split(b), self.width, strict=True)
        if self.params["kernel"] == "linear":
            products = [x @ y.T for x, y, _ in parts]
            return [np.asarray(p.toarray() if sparse.issparse(p) else p) for p in products]
        return [np.exp(-apart(x, y, "sqeuclidean") / (2 * float(w) ** 2)) for x, y, w in parts]

    def _kernel(self, a: Matrix, b: Matrix) -> Floats:
        weighted = zip(self._kernels(a, b), self.weight, strict=True)
        return sum(weight * kernel for kernel, weight in weighted)


def _width(vectors: Matrix) -> float:
    """Return the median distance above 0 between vectors; 1 if there is none."""
    distances = apart(vectors, vectors, "euclidean")[np.triu_indices(vectors.shape[0], 1)]
    return float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
