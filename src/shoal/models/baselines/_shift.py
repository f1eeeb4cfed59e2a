"""Baselines that add to control cells a weighted sum of responses measured in training."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from ..._validate import flag
from ...core._codes import grouped, members, recode
from ..post._postprocessing import Moved
from ._baseline import Baseline
from ._deltas import deltas_of, measure
from ._noise import Noise, noise_of
from ._shrinkage import Responses, responses_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population
    from ..base._requests import PredictionRequest

PLACES = 4  # contexts and doses whose responses are kept


class ShiftBaseline(Baseline):
    """A control cell plus a response. A subclass says which sum of measured responses that is.

    The response of a measured perturbation is the mean of its training cells minus the mean of the
    controls of the same contexts and batches. It is

    - that of the wanted context, where the perturbation was measured there; else over all contexts;
    - between two measured doses, interpolated in log10 dose.

    Where no training value is negative, predictions are cut at 0.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether measured responses are shrunk by their noise, towards the mean response.
    """

    sums_cells: ClassVar[bool] = True
    estimates_noise: ClassVar[bool] = True

    def __init__(self, adata: AnnData | Population, *, shrink: bool = True):
        flag(shrink, name="shrink")
        self._start(adata, shrink=bool(shrink))

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        deltas = measure(cells, self.vocabulary.contexts)
        if not self.params.get("shrink"):
            return asdict(deltas)
        noise = noise_of(cells, deltas)
        return asdict(deltas) | {"axes": noise.axes, "variance": noise.variance}

    def _ready(self) -> None:
        self.deltas = deltas_of(self.arrays)
        shrunk = "axes" in self.arrays
        self.noise = Noise(self.arrays["axes"], self.arrays["variance"]) if shrunk else None
        self._row = {str(name): i for i, name in enumerate(self.deltas.names)}
        self._places: dict[tuple[int, float | None], Responses] = {}

    def _weights(self, names: Sequence[str]) -> tuple[sparse.csr_matrix, Floats]:
        """Return how much the responses measured in training count for some perturbations.

        Returns
        -------
        own
            (n, P) weights of the responses of the training perturbations.
        on_mean
            (n,) weights of their mean response.
        """
        raise NotImplementedError

    def _shifts(self, names: Sequence[str], context: int, dose: float) -> Floats:
        """Return (n, n_features) what is added to the control cells."""
        own, on_mean = self._weights(names)
        responses = self._responses_at(context, dose)
        return responses.sums(own) + on_mean[:, None] * responses.mean

    def _responses_at(self, context: int, dose: float) -> Responses:
        """Return the responses of the training perturbations, which are kept for a while."""
        place = (context, None if np.isnan(dose) else dose)
        if place not in self._places:
            if len(self._places) >= PLACES:
                self._places.clear()
            shares = self.deltas.shares(context, dose)
            self._places[place] = responses_of(self.deltas, shares, self.noise)
        return self._places[place]

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Moved:
        start = cells.values(request.source)
        values = start.copy()
        context = recode(request.context, cells.contexts, self.vocabulary.contexts)
        code, places = grouped(context=context, dose=request.dose)
        for there, place in zip(members(code), places.itertuples(index=False), strict=True):
            which, position = np.unique(request.perturbation[there], return_inverse=True)
            names = [request.names[p] for p in which]
            shifts = self._shifts(names, int(place.context), float(place.dose))
            for rows, shift in zip(members(position), shifts, strict=True):
                values[there[rows]] += shift
        return Moved(values, start)

    def _parts(self, name: str) -> tuple[str, ...]:
        """Return the single perturbations of a perturbation."""
        return self.vocabulary.screen.parts(name)

    def _alone(self, name: str) -> tuple[str, ...]:
        """Return the names that the parts of a perturbation have where they are alone."""
        return self.vocabulary.screen.alone(name)

    def _own_weights(
        self, several: Sequence[Sequence[str]], *, each: Sequence[float]
    ) -> tuple[sparse.csr_matrix, Floats]:
        """Return the weights of sums over the own responses of several perturbations.

        Parameters
        ----------
        several
            Perturbations of each sum. Of one that was not measured, the mean response counts.
        each
            Weight of every perturbation of a sum.
        """
        rows = np.repeat(np.arange(len(several)), [len(names) for names in several])
        columns = np.array([self._row.get(name, -1) for names in several for name in names], int)
        weight, measured = np.asarray(each, dtype=np.float64)[rows], columns >= 0
        entries = (weight[measured], (rows[measured], columns[measured]))
        on_mean = np.bincount(rows[~measured], weights=weight[~measured], minlength=len(several))
        return sparse.csr_matrix(entries, shape=(len(several), len(self._row))), on_mean
