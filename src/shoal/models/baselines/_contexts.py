"""The perturbation's own cells of other contexts, moved to the wanted one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._validate import whole
from ...core._codes import grouped, members, recode
from ...core._controls import shuffled
from ..post._postprocessing import Moved
from ._baseline import Baseline
from ._control_means import ControlMeans
from ._means import MAX_CELLS
from ._pool import Pool, keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ...core._population import Population
    from ..base._requests import PredictionRequest


class OtherContexts(Baseline):
    """The perturbation's own training cells of other contexts, moved to the wanted context.

    A cell of context and batch s becomes x + (mean of the controls of the wanted context and batch)
    - (mean of those of s). The shape of the response, its spread and the share of cells that
    respond are kept.

    - Where the perturbation was measured in no other context, its cells of the wanted one serve.
    - Of several doses the nearest in log10 counts.
    - Where no training value is negative, predictions are cut at 0.

    The predicted cells do not start from control cells: ``source`` names a control cell of the
    wanted context and batch.

    Parameters
    ----------
    adata
        Screen.
    max_cells
        Most cells to keep of each perturbation, context and dose.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> from shoal.models import OtherContexts
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> adata.obs["day"] = np.where(np.arange(adata.n_obs) % 2, "one", "two")
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    >>> model = OtherContexts(adata)
    >>> model.train()
    >>> model.predict("P1", context="one", n_cells=20).shape
    (20, 5)
    """

    draws: ClassVar[str] = "cells of the perturbation from other contexts"
    keeps_cells: ClassVar[bool] = True
    sums_cells: ClassVar[bool] = True
    refusal: ClassVar[str] = (
        "it draws from the perturbation's own training cells, and there are none; 'additive' sums "
        "the responses of the parts of a combination, 'mean_shift' predicts any perturbation, "
        "'latent_linear' and 'nearest' use embedding="
    )

    def __init__(self, adata: AnnData, *, max_cells: int = MAX_CELLS):
        max_cells = whole(max_cells, name="max_cells")
        self._start(adata, max_cells=max_cells)

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        pool = keep(cells, cells.train, self.vocabulary, max_cells=self.params["max_cells"])
        stratum, keys = grouped(context=pool.context, batch=pool.batch)
        means = ControlMeans.of_training(cells)
        context = recode(keys["context"].to_numpy(), self.vocabulary.contexts, cells.contexts)
        batch = recode(keys["batch"].to_numpy(), self.vocabulary.batches, cells.batches)
        return pool.arrays("pool") | {"stratum": stratum, "means": means.at(context, batch)}

    def _ready(self) -> None:
        self.pool = Pool.from_arrays(self.arrays, "pool", len(self.vocabulary.features))
        self._means: tuple[Population, ControlMeans] | None = None

    def _unknown(self, names: Sequence[str]) -> list[str]:
        return sorted(set(names) - set(map(str, self.pool.names)))

    def _control_means(self, cells: Population) -> ControlMeans:
        if self._means is None or self._means[0] is not cells:
            self._means = (cells, ControlMeans.of_all(cells))
        return self._means[1]

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Moved:
        known = recode(request.context, cells.contexts, self.vocabulary.contexts)
        place, places = grouped(
            perturbation=request.perturbation,
            context=request.context,
            batch=request.batch,
            dose=request.dose,
        )
        here = self._control_means(cells).at(
            places["context"].to_numpy(), places["batch"].to_numpy()
        )
        drawn = np.empty(len(request), dtype=np.int64)
        shift = np.empty((len(request), len(self.vocabulary.features)), dtype=np.float32)
        for i, there in enumerate(members(place)):
            own = self.pool.of(request.names[request.perturbation[there[0]]])
            others = own[self.pool.context[own] != known[there[0]]]
            rows = self.pool.nearest_dose(
                others if len(others) else own, float(request.dose[there[0]])
            )
            drawn[there], _ = shuffled(rows, len(there), rng)
            shift[there] = here[i] - self.arrays["means"][self.arrays["stratum"][drawn[there]]]
        start = self.pool.dense(drawn)
        return Moved(start + shift, start)
