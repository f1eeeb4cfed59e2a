"""Networks whose sets may begin at a perturbation's own cells of other contexts."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...core._codes import recode
from ...core._population import control_means
from ..base._model import PerturbationModel
from ..base._sets import conditions_of
from ..flow._config import view_for
from ..post._mean_shrinkage import shrink_mean_change
from ._other_contexts import Relatives, TransferStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints, Matrix
    from ...core._population import Population
    from ...training import SetSampler, Store
    from ..base._predictor import Wanted
    from ..flow._config import FlowConfig
    from ..monge._config import ConditionalMongeConfig

Recipe = TypeVar("Recipe", "FlowConfig", "ConditionalMongeConfig")


class TransferModel(PerturbationModel):
    """A network whose config has `cross_context`, the share of training sets that begin at such cells, and `mean_shrinkage`.

    Where it is above 0, predictions begin there wherever they can. Cells that are perturbed already are told no
    perturbation: what is left to learn is what else differs between contexts.
    """

    @cached_property
    def _relatives(self) -> Relatives:
        # the screen of a loaded model may have perturbations that were not in training
        known = self.vocabulary.familiar([*self.cells.names, ""])[self.cells.labels.code]
        conditions = conditions_of(self.cells, self.cells.train & known, self.vocabulary)
        names = self.cells.adata.obs_names.to_numpy().astype(str)
        return Relatives(conditions, np.argsort(np.argsort(names, kind="stable")))

    def _store(self, store: str, sampler: SetSampler, cells: Population | None = None) -> Store:
        plain = super()._store(store, sampler, cells)
        if cells is not None or not self.module.config.cross_context:
            return plain
        codes = recode(
            np.arange(len(self.cells.contexts)), self.cells.contexts, self.vocabulary.contexts
        )
        here = [
            int(np.flatnonzero(codes == code)[0]) for code in range(len(self.vocabulary.contexts))
        ]
        centre = self._centres(np.array([*here, -1]), self.cells)
        return TransferStore(plain, self._relatives, centre, self.module.config.cross_context)

    def _generate(
        self,
        wanted: Wanted,
        cells: Population,
        rng: np.random.Generator,
        *,
        cross_context: bool = True,
        **options: Any,
    ) -> Matrix:
        """Generate cells from the perturbation's own cells of other contexts where there are some, else from controls."""
        self._check_trained()
        elsewhere = len(self.vocabulary.contexts) > 1  # else no cell was measured there
        if not (elsewhere and cross_context and self.module.config.cross_context):
            return super()._generate(wanted, cells, rng, **options)
        begin = self._relatives.starts(wanted, cells, self.vocabulary, rng)
        moved = begin >= 0
        values = np.empty((len(wanted), len(self.vocabulary.features)), dtype=np.float32)
        if not moved.all():
            values[~moved] = super()._generate(wanted.take(~moved), cells, rng, **options)
        if moved.any():
            there = wanted.take(moved)
            measured = self.cells.values(begin[moved])
            start = self._moved(measured, begin[moved], there, cells)
            options = self._options_perturbed(options)
            made = self._from(start, there, cells, rng, like=measured, **options)
            share, nonnegative = self.module.config.mean_shrinkage, self.vocabulary.nonnegative
            if share:
                made = shrink_mean_change(
                    made, start, there.populations(), share, nonnegative=nonnegative
                )
            values[moved] = made
        return values

    def _options_perturbed(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of the sampler for cells that are perturbed already."""
        return options

    def _moved(
        self, values: NDArray[np.float32], begin: Ints, wanted: Wanted, cells: Population
    ) -> NDArray[np.float32]:
        """Return `values` (n, n_features) of the training cells `begin`, each moved to the wanted context by the control means."""
        there = control_means(self.cells.context[begin], self.cells, cells)
        return values + control_means(wanted.context, cells, self.cells) - there

    def transport(self, cells: Any, perturbation: str, **options: Any) -> Any:
        """Give every cell the perturbation: as for any model, from these very cells."""
        return super().transport(cells, perturbation, **{**options, "cross_context": False})

    def _with_view(self, config: Recipe, n_dims: int) -> Recipe:
        """Return the config with its view decided: once, and kept, as a loaded model must not count the cells of another screen."""
        if config.n_visible != "auto":
            return config
        self.config["n_visible"] = self._view(n_dims)
        return replace(config, n_visible=self.config["n_visible"])

    def _view(self, n_dims: int) -> int | None:
        """Return how many leading components the median condition has cells to learn the shape of."""
        if (
            self.space.axes is None
        ):  # features as they are, or what an autoencoder makes of them: none comes first
            return None
        return min(
            n_dims, view_for(conditions_of(self.cells, self.cells.train, self.vocabulary).sizes)
        )
