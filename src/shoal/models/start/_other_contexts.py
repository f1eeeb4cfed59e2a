"""The start strategy of other contexts: a perturbation's own cells there, moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import recode
from ...core._population import control_means
from ..base._sets import conditions_of
from ._measured_elsewhere import MeasuredElsewhere
from ._start import StartingCells
from ._store import CrossContextStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._typing import Bools
    from ...core._population import Population
    from ...training import Store
    from ..base._requests import PredictionRequest
    from ..base._vocabulary import Vocabulary
    from ..space._space import Space


@dataclass(frozen=True, eq=False)
class OtherContexts:
    """Predictions start at the perturbation's own cells of other contexts where there are some.

    Such a cell is moved by the difference between the control means of the two contexts. Where a
    perturbation was measured nowhere else, its predictions start at control cells.

    Attributes
    ----------
    get_cells
        Returns the screen of training; called when cells are needed, as a model may be loaded
        without any.
    get_trained
        Returns (n_obs,) which of its cells the network was trained on.
    vocabulary
        Names that the model knows.
    space
        Space of the network.
    share
        Share of the training sets that start at cells of other contexts.
    """

    get_cells: Callable[[], Population]
    get_trained: Callable[[], Bools]
    vocabulary: Vocabulary
    space: Space
    share: float

    @property
    def cells(self) -> Population:
        """Screen of training."""
        return self.get_cells()

    @cached_property
    def measured(self) -> MeasuredElsewhere:
        """Lookup of the training cells of other contexts."""
        cells, vocabulary = self.cells, self.vocabulary
        # the screen of a loaded model may hold perturbations that training did not have
        known = vocabulary.familiar([*cells.names, ""])[cells.labels.code]
        conditions = conditions_of(cells, self.get_trained() & known, vocabulary)
        names = cells.adata.obs_names.to_numpy().astype(str)
        return MeasuredElsewhere(conditions, np.argsort(np.argsort(names, kind="stable")))

    def training_store(self, store: Store) -> Store:
        """Return a store of which a share of the sets starts at cells of other contexts."""
        cells, contexts = self.cells, self.vocabulary.contexts
        codes = recode(np.arange(len(cells.contexts)), cells.contexts, contexts)
        here = [int(np.flatnonzero(codes == code)[0]) for code in range(len(contexts))]
        centre = self.space.encode(control_means(np.array([*here, -1]), cells, cells))
        return CrossContextStore(store, self.measured, centre, self.share)

    def elsewhere(
        self, request: PredictionRequest, cells: Population, rng: np.random.Generator
    ) -> StartingCells | None:
        """Return the cells of those rows of a request that start in another context."""
        begin = self.measured.for_request(request, cells, self.vocabulary, rng)
        rows = np.flatnonzero(begin >= 0)
        if not len(rows):
            return None
        begin = begin[rows]
        measured = self.cells.values(begin)
        origin = control_means(self.cells.context[begin], self.cells, cells)
        there = control_means(request.context[rows], cells, self.cells)
        return StartingCells(
            rows=rows, values=measured + there - origin, measured=measured, perturbed=True
        )
