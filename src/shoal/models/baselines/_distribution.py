"""Quantile shift: every gene of a control cell moves to its quantile among perturbed cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._validate import whole
from ...core._codes import grouped, members, recode
from ...core._controls import Controls
from ..post._postprocessing import Moved, Postprocessing
from ._baseline import Baseline
from ._means import MAX_CELLS
from ._pool import Pool, keep
from ._quantiles import SortedCells

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ..base._requests import PredictionRequest


class QuantileShift(Baseline):
    """Control cells of which every gene gets the distribution that it has in perturbed cells.

    For each gene the map is the monotone transport from the training controls to the training cells
    of the perturbation: a value at quantile u of the controls becomes quantile u of the perturbed.
    Among ties, such as zeros, u is drawn at random, so that shares of zeros match too. In the
    contexts that were learned from, the predicted cells have the perturbation's distribution of
    every gene, and the dependence between genes that the control cells have.

    The perturbed cells are

    - those of the wanted context, where the perturbation was measured there;
    - else those of all its contexts;
    - for a perturbation without training cells, those of all perturbations, each counting equally.

    Of several doses the nearest in log10 counts. The controls are weighted to have the contexts and
    batches of the perturbed cells.

    Parameters
    ----------
    adata
        Screen.
    max_cells
        Most cells to keep of each perturbation (and of the controls), context and dose.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import QuantileShift
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = QuantileShift(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    keeps_cells: ClassVar[bool] = True

    def __init__(self, adata: AnnData, *, max_cells: int = MAX_CELLS):
        max_cells = whole(max_cells, name="max_cells")
        self._start(adata, max_cells=max_cells)

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        chosen = {"pool": cells.train, "control": cells.train_control}
        pools = [
            keep(cells, which, self.vocabulary, max_cells=self.params["max_cells"]).arrays(name)
            for name, which in chosen.items()
        ]
        return pools[0] | pools[1]

    def _ready(self) -> None:
        n = len(self.vocabulary.features)
        self.pool, self.control = (
            Pool.from_arrays(self.arrays, name, n) for name in ("pool", "control")
        )
        everyone = np.arange(len(self.control))
        self._controls = Controls(
            cells=everyone, context=self.control.context, batch=self.control.batch
        )

    @property
    def post(self) -> Postprocessing:
        """What is done to moved cells: the total of training cells. Zeros come with the map."""
        return replace(super().post, match_zeros=False)

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> NDArray[Any]:
        start = cells.values(request.source)
        values = np.empty_like(start)
        context = recode(request.context, cells.contexts, self.vocabulary.contexts)
        code, _ = grouped(perturbation=request.perturbation, context=context, dose=request.dose)
        anyone: dict[tuple[int, float | None], tuple[Ints, Floats]] = {}
        ranked = SortedCells(self.control)
        for there in members(code):
            name, place = request.names[request.perturbation[there[0]]], int(context[there[0]])
            target = self._target(name, place, float(request.dose[there[0]]), rng, anyone)
            values[there] = ranked.of(self._matched(target)).moved(
                start[there], self.pool.dense(target), rng
            )
        return Moved(values, start)

    def _target(
        self,
        name: str,
        context: int,
        dose: float,
        rng: np.random.Generator,
        anyone: dict[tuple[int, float | None], tuple[Ints, Floats]],
    ) -> Ints:
        """Return the rows of the pool whose distribution is wanted.

        Parameters
        ----------
        name, context, dose
            What is wanted; the context as a position, -1 if unknown.
        rng
            Draws cells of all perturbations for one that has none of its own.
        anyone
            What such draws are made from by context and dose; filled by the first.
        """
        own = self.pool.of(name)
        if len(own):
            return self._near(own, context, dose)
        place = (context, None if np.isnan(dose) else dose)
        if place not in anyone:
            rows = self._near(np.arange(len(self.pool)), context, dose)
            reached = np.cumsum(self.pool.balanced(rows))
            anyone[place] = rows, reached / reached[-1]
        rows, reached = anyone[place]
        n = min(len(rows), self.params["max_cells"])
        return rows[np.searchsorted(reached, rng.random(n), side="right")]

    def _near(self, rows: Ints, context: int, dose: float) -> Ints:
        """Return those of `rows` of a context, where there are any, and of the nearest dose."""
        here = rows[(self.pool.context[rows] == context) & (context >= 0)]
        return self.pool.nearest_dose(here if len(here) else rows, dose)

    def _matched(self, target: Ints) -> Floats:
        """Return (n_controls,) weights that give controls the contexts and batches of `target`."""
        place, places = grouped(context=self.pool.context[target], batch=self.pool.batch[target])
        weight = np.zeros(len(self.control))
        for share, (context, batch) in zip(
            np.bincount(place), places.itertuples(index=False), strict=True
        ):
            pool, _ = self._controls.pool(context, batch)
            weight[pool] += share / len(target) / len(pool)
        return weight
