"""Cell-kNN shift: every control cell gets the response of the contexts of cells like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from ..._validate import flag, whole
from ...core._codes import grouped, members, recode
from ...core._matrix import as_rows
from ..post._postprocessing import Moved
from ..space._pca import PCASpace, fit_pca
from ._context_shift import by_context, refuse_no_contexts
from ._means import MAX_CELLS
from ._pool import keep
from ._shift import ShiftBaseline
from ._shrinkage import responses_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population
    from ..base._requests import PredictionRequest
    from ._shrinkage import Responses

AT_ONCE = 512  # cells whose distances from all training controls are in memory together


class CellKnnShift(ShiftBaseline):
    """Control cells, each moved by the responses of the contexts of its nearest training controls.

    A control cell of the wanted context is compared with the training controls of the contexts in
    which the perturbation was measured, in principal components of all training controls. Its
    response is the mean over its nearest ones, each with the response of the perturbation in its
    own context. Cells of different states, such as subtypes of a held-out type, are so moved
    differently.

    - Where the perturbation was measured in the wanted context, its response there is taken.
    - Where it was measured in no context that has a label, its response over all cells is taken.
    - A perturbation (single or combination) that was not measured as such gets the mean response of
      the training perturbations in the contexts of the neighbours.

    Controls of a context in which the perturbation was not measured are never neighbours: a
    held-out context with controls in training does not take the place of what can be learned from.
    A screen without contexts is refused.

    Parameters
    ----------
    adata
        Screen.
    n_neighbours
        Training controls that a cell is compared with; all if there are fewer. Of several at the
        distance of the last, all count, with weights that sum to those that are left.
    n_comps
        Principal components; fewer if there are fewer features or training controls.
    max_cells
        Most control cells to keep of each context and dose.
    shrink
        Whether the responses in each context are shrunk by their noise, towards their mean there.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import CellKnnShift
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=60, contexts=3, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> model = CellKnnShift(adata, n_neighbours=20)
    >>> model.train()
    >>> model.predict("P1", context="context1", n_cells=20).shape
    (20, 60)
    """

    keeps_cells: ClassVar[bool] = True

    def __init__(
        self,
        adata: AnnData,
        *,
        n_neighbours: int = 30,
        n_comps: int = 30,
        max_cells: int = MAX_CELLS,
        shrink: bool = True,
    ):
        flag(shrink, name="shrink")
        given = {"n_neighbours": n_neighbours, "n_comps": n_comps, "max_cells": max_cells}
        numbers = {name: whole(value, name=name) for name, value in given.items()}
        self._start(adata, **numbers, shrink=bool(shrink))

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        refuse_no_contexts(self.name, cells)
        control = cells.train_control
        pool = keep(cells, control, self.vocabulary, max_cells=self.params["max_cells"])
        rng = np.random.default_rng(0)
        n_comps = self.params["n_comps"]
        space = fit_pca(as_rows(pool.values), np.arange(len(pool)), n_latent=n_comps, rng=rng)
        return super()._fit(cells) | {
            "space_mean": space.mean,
            "space_axes": space.axes,
            "space_scale": np.array(space.scale),
            "scores": space.encode(pool.values),
            "score_context": pool.context,
        }

    def _ready(self) -> None:
        super()._ready()
        mean, axes, scale = (self.arrays[f"space_{name}"] for name in ("mean", "axes", "scale"))
        self.space = PCASpace(mean, axes, float(scale))
        measured = by_context(self.deltas, len(self.vocabulary.contexts), np.nan)[1] > 0
        self._measured = np.vstack([measured, measured.any(axis=0)])  # last: any perturbation

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Moved:
        start = cells.values(request.source)
        values = start.copy()
        rows = np.array([self._row.get(name, len(self._row)) for name in request.names])
        row = rows[request.perturbation]
        shares = self._shares(row, request, cells)
        for same in members(grouped(dose=request.dose)[0]):
            dose = float(request.dose[same[0]])
            within = self._within(dose)
            over_all = self._responses_at(-1, dose)
            for own in members(row[same]):
                there = same[own]
                which = int(row[there[0]])
                if self._measured[which].any():
                    values[there] += shares[there] @ self._in_each(which, within)
                else:
                    values[there] += over_all.of(which)
        return Moved(values, start)

    def _shares(self, row: Ints, request: PredictionRequest, cells: Population) -> Floats:
        """Return (n, K) how much the response in each training context counts for each cell.

        Parameters
        ----------
        row
            (n,) row of each cell's perturbation in the table of what was measured where.
        request, cells
            Cells to generate, and the cells that they start from.
        """
        known = recode(request.context, cells.contexts, self.vocabulary.contexts)
        shares = np.zeros((len(row), self._measured.shape[1]))
        _, pattern = np.unique(self._measured, axis=0, return_inverse=True)
        for there in members(pattern.ravel()[row]):
            measured = self._measured[row[there[0]]]
            here = (known[there] >= 0) & measured[known[there]]
            shares[there[here], known[there[here]]] = 1.0
            others = there[~here]
            if len(others) and measured.any():
                source, back = np.unique(request.source[others], return_inverse=True)
                scores = self.space.encode(cells.rows.take(source))
                shares[others] = self._neighbours(scores, measured)[back]
        return shares

    def _neighbours(self, scores: NDArray[np.float32], measured: Bools) -> Floats:
        """Return (n, K) shares of the contexts among the neighbours of (n, k) scores.

        Neighbours are training controls of the contexts in which something was `measured` (K,). A
        context without controls in training has no neighbours; where that is true of all of them,
        each counts alike.
        """
        context = self.arrays["score_context"]
        among = np.flatnonzero((context >= 0) & measured[context])
        if not len(among):
            return np.tile(measured / measured.sum(), (len(scores), 1))
        others = self.arrays["scores"][among]
        own = (context[among][:, None] == np.arange(len(measured))).astype(np.float64)
        k, shares = (
            min(self.params["n_neighbours"], len(among)),
            np.empty((len(scores), own.shape[1])),
        )
        for start in range(0, len(scores), AT_ONCE):
            block = slice(start, start + AT_ONCE)
            distance = cdist(scores[block], others)
            last = np.partition(distance, k - 1, axis=1)[:, k - 1 : k]
            below, equal = distance < last, distance == last
            left = (k - below.sum(axis=1)) / equal.sum(axis=1)
            shares[block] = (below @ own + left[:, None] * (equal @ own)) / k
        return shares

    def _within(self, dose: float) -> list[Responses | None]:
        """Return the responses of the perturbations that were measured in each context, if any."""
        n_contexts = self._measured.shape[1]
        within, _ = by_context(self.deltas, n_contexts, dose)
        rows = [np.flatnonzero(measured) for measured in self._measured[:-1].T]
        return [
            responses_of(self.deltas, within[own * n_contexts + k], self.noise)
            if len(own)
            else None
            for k, own in enumerate(rows)
        ]

    def _in_each(self, row: int, within: Sequence[Responses | None]) -> Floats:
        """Return the (K, d) responses in each context, 0 where not measured.

        Of the row after the last perturbation they are means over the perturbations measured there.
        """
        found = np.zeros((len(within), len(self.deltas.control)))
        for context, responses in enumerate(within):
            if responses is not None and self._measured[row, context]:
                found[context] = responses.of(int(self._measured[:row, context].sum()))
        return found
