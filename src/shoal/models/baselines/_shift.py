"""Baselines that add to control cells a weighted sum of responses measured in training."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from ...core._codes import grouped, members, recode
from ..post._postprocessing import Moved
from ._baseline import Baseline
from ._deltas import Deltas, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population
    from ..base._requests import PredictionRequest


class ShiftBaseline(Baseline):
    """A control cell plus a response. A subclass says which sum of measured responses that is.

    The response of a measured perturbation is the mean of its training cells minus the mean of the
    controls of the same contexts and batches. It is

    - that of the wanted context, where the perturbation was measured there; else over all contexts;
    - between two measured doses, interpolated in log10 dose.

    Where no training value is negative, predictions are cut at 0.
    """

    sums_cells: ClassVar[bool] = True

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        return asdict(measure(cells, self.vocabulary.contexts))

    def _ready(self) -> None:
        self.deltas = Deltas(**{field.name: self.arrays[field.name] for field in fields(Deltas)})
        self._row = {str(name): i for i, name in enumerate(self.deltas.names)}

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
        shifts = (own @ self.deltas.shares(context, dose)) @ self.deltas.delta
        if on_mean.any():
            shifts = shifts + on_mean[:, None] * self._mean_response(context, dose)
        return np.asarray(shifts)

    def _mean_response(self, context: int, dose: float) -> Floats:
        """Return the (n_features,) mean response of the training perturbations."""
        n = len(self.deltas.names)
        return np.asarray(
            (np.full(n, 1 / n) @ self.deltas.shares(context, dose)) @ self.deltas.delta
        )

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
