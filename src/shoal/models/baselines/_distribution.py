"""Quantile shift: every gene of a control cell is moved to the same quantile among the perturbed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..._validate import positive
from ...core._codes import grouped, recode
from ...core._controls import Controls
from ._baseline import Baseline
from ._means import MAX_CELLS
from ._pool import Pool, keep

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ..base._requests import PredictionRequest


class QuantileShift(Baseline):
    """Control cells of which every gene is mapped to the distribution that it has in the perturbed cells.

    For each gene the map is the monotone transport from the training controls to the training cells of the perturbation:
    a value at quantile u of the controls becomes quantile u of the perturbed. Among ties, such as zeros, u is drawn at
    random, so that shares of zeros match too. In the contexts that were learned from, the predicted cells have the
    perturbation's distribution of every gene and the dependence between genes that the control cells have.

    The perturbed cells are those of the wanted context where it was measured there, else of all its contexts; for a
    perturbation without training cells, those of all perturbations, each counting equally. The controls are weighted to
    have the same contexts and batches. Of several doses, the nearest in log10.

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
        positive(max_cells, name="max_cells")
        self._start(adata, max_cells=int(max_cells))

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

    def _generate(
        self, wanted: PredictionRequest, cells: Population, rng: np.random.Generator, **options: Any
    ) -> NDArray[Any]:
        values = cells.values(wanted.source)
        context = recode(wanted.context, cells.contexts, self.vocabulary.contexts)
        place, places = grouped(perturbation=wanted.perturbation, context=context, dose=wanted.dose)
        for i, (code, where, dose) in enumerate(places.itertuples(index=False)):
            there = np.flatnonzero(place == i)
            target = self._target(wanted.names[int(code)], int(where), float(dose), rng)
            weight = self._matched(target)
            source = np.flatnonzero(weight)
            values[there] = map_quantiles(
                values[there],
                self.control.dense(source),
                weight[source],
                self.pool.dense(target),
                rng,
            )
        return values

    def _target(self, name: str, context: int, dose: float, rng: np.random.Generator) -> Ints:
        """Return the rows of the pool whose distribution is wanted."""
        own = self.pool.of(name)
        rows = own if len(own) else np.arange(len(self.pool))
        here = rows[(self.pool.context[rows] == context) & (context >= 0)]
        rows = self.pool.nearest_dose(here if len(here) else rows, dose)
        if len(own):
            return rows
        return rng.choice(
            rows, min(len(rows), self.params["max_cells"]), p=self.pool.balanced(rows)
        )

    def _matched(self, target: Ints) -> Floats:
        """Return (n_controls,) weights that give the controls the contexts and batches of the target cells."""
        place, places = grouped(context=self.pool.context[target], batch=self.pool.batch[target])
        weight = np.zeros(len(self.control))
        for share, (context, batch) in zip(
            np.bincount(place), places.itertuples(index=False), strict=True
        ):
            pool, _ = self._controls.pool(context, batch)
            weight[pool] += share / len(target) / len(pool)
        return weight


def map_quantiles(
    x: Floats, source: Floats, weight: Floats, target: Floats, rng: np.random.Generator
) -> Floats:
    """Move values to the same quantile of another distribution, column by column.

    Parameters
    ----------
    x
        (n, d) values.
    source, weight
        (n_source, d) sample of the distribution of `x` and (n_source,) weights that sum to 1.
    target
        (n_target, d) sample of the wanted distribution.
    rng
        Draws the quantile of a value among its ties.

    Returns
    -------
    (n, d) values of `target`; values outside the source become the smallest or largest of the target.
    """
    at_random, n, out = rng.random(x.shape), len(target), np.empty_like(x)
    columns = np.ascontiguousarray(source.T)
    order = np.argsort(columns, axis=1, kind="stable")
    ranked, reached = (
        np.take_along_axis(columns, order, axis=1),
        np.zeros((len(order), len(source) + 1)),
    )
    np.cumsum(weight[order], axis=1, out=reached[:, 1:])
    for j, (values, goal) in enumerate(
        zip(np.ascontiguousarray(x.T), np.sort(target, axis=0).T, strict=True)
    ):
        low = reached[j, np.searchsorted(ranked[j], values, side="left")]
        high = reached[j, np.searchsorted(ranked[j], values, side="right")]
        u = low + at_random[:, j] * (high - low)
        out[:, j] = goal[np.minimum((u * n).astype(np.int64), n - 1)]
    return out
