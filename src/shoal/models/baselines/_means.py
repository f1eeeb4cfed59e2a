"""Baselines that know no perturbation: the control cells, or any perturbed cells of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._validate import whole
from ...core._codes import members, recode
from ..base._requests import in_words
from ._baseline import Baseline
from ._pool import Pool, keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Matrix
    from ...core._population import Population
    from ..base._requests import PredictionRequest

MAX_CELLS = 1000  # kept of each perturbation, context and dose


class ControlCopy(Baseline):
    """The control cells themselves: the perturbation does nothing.

    Parameters
    ----------
    adata
        Screen.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import ControlCopy
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = ControlCopy(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        return {}

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Matrix:
        unique, back = np.unique(request.source, return_inverse=True)
        return cells.rows.take(unique)[back]


class PerturbedMean(Baseline):
    """Perturbed cells of training, drawn from all contexts, each perturbation equally often.

    A mean over perturbations, as cells. It is the same for every perturbation, context and dose.

    Parameters
    ----------
    adata
        Screen.
    max_cells
        Most cells to keep of each perturbation, context and dose.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import PerturbedMean
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = PerturbedMean(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    draws: ClassVar[str] = "perturbed cells of training"
    keeps_cells: ClassVar[bool] = True

    def __init__(self, adata: AnnData, *, max_cells: int = MAX_CELLS):
        max_cells = whole(max_cells, name="max_cells")
        self._start(adata, max_cells=max_cells)

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        return keep(cells, cells.train, self.vocabulary, max_cells=self.params["max_cells"]).arrays(
            "pool"
        )

    def _ready(self) -> None:
        self.pool = Pool.from_arrays(self.arrays, "pool", len(self.vocabulary.features))

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Matrix:
        rows = np.arange(len(self.pool))
        return self.pool.values[rng.choice(rows, len(request), p=self.pool.balanced(rows))]


class ContextMean(PerturbedMean):
    """Perturbed cells of training, drawn from the wanted context, each perturbation equally often.

    The context mean of State, as cells. A context without perturbed cells in training cannot be
    predicted.

    Parameters
    ----------
    adata
        Screen.
    max_cells
        Most cells to keep of each perturbation, context and dose.

    References
    ----------
    Adduri et al. (2025), bioRxiv, "State".

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import ContextMean
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = ContextMean(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    refusal: ClassVar[str] = (
        "it has no perturbed cell in training; 'perturbed_mean' draws from all contexts, and "
        "'mean_shift' moves the context's control cells"
    )

    def _reasons_of_contexts(self, contexts: Sequence[str]) -> dict[str, str]:
        having = {self.vocabulary.contexts[i] for i in np.unique(self.pool.context) if i >= 0}
        return dict.fromkeys(sorted(set(contexts) - having), self._why)

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Matrix:
        context = recode(request.context, cells.contexts, self.vocabulary.contexts)
        drawn = np.empty(len(request), dtype=np.int64)
        for here in members(request.context):
            code = request.context[here[0]]
            rows = np.flatnonzero((self.pool.context == context[here[0]]) & (code >= 0))
            if not len(rows):
                label = repr(cells.contexts[code]) if code >= 0 else "missing"
                raise ValueError(in_words({f"context {label}": self._why}))
            drawn[here] = rng.choice(rows, len(here), p=self.pool.balanced(rows))
        return self.pool.values[drawn]
