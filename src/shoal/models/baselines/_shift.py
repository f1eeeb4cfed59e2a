"""Baselines that move control cells: to each is added a weighted sum of responses measured in training."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...core._codes import grouped, recode
from ._baseline import Baseline
from ._deltas import Deltas, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population
    from ..base._requests import PredictionRequest
    from ..base._vocabulary import Vocabulary


class ShiftBaseline(Baseline):
    """A control cell plus a response; a subclass says which sum of measured responses that is.

    The response of a measured perturbation is the mean of its training cells minus the mean of the controls of the same
    contexts and batches: that of the wanted context where it was measured there, else over all contexts. Between
    measured doses it is interpolated in log10 dose. Where no training value is negative, predictions are cut at 0.
    """

    sums_cells: ClassVar[bool] = True

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        return asdict(measure(cells, self.vocabulary.contexts))

    def _ready(self) -> None:
        self.deltas = Deltas(**{field.name: self.arrays[field.name] for field in fields(Deltas)})
        self._row = {str(name): i for i, name in enumerate(self.deltas.names)}

    def _weights(self, names: Sequence[str]) -> Floats:
        """Return (n, P) weights on the responses of the training perturbations."""
        raise NotImplementedError

    def _shifts(self, names: Sequence[str], context: int, dose: float) -> Floats:
        """Return (n, n_features) what is added to the control cells."""
        return self._weights(names) @ self.deltas.at(context, dose)

    def _generate(
        self, wanted: PredictionRequest, cells: Population, rng: np.random.Generator, **options: Any
    ) -> NDArray[Any]:
        values = cells.values(wanted.source)
        context = recode(wanted.context, cells.contexts, self.vocabulary.contexts)
        place, places = grouped(context=context, dose=wanted.dose)
        for i, (where, dose) in enumerate(zip(places["context"], places["dose"], strict=True)):
            there = np.flatnonzero(place == i)
            asked, own = np.unique(wanted.perturbation[there], return_inverse=True)
            shifts = self._shifts([wanted.names[p] for p in asked], int(where), float(dose))
            for k, shift in enumerate(shifts):
                values[there[own == k]] += shift
        return np.maximum(values, 0, out=values) if self.vocabulary.nonnegative else values

    def _singles(self, name: str) -> tuple[str, ...]:
        return self.vocabulary.screen.parts(name)

    def _mean_weights(self) -> Floats:
        n = len(self.deltas.names)
        return np.full(n, 1 / n)

    def _own_weights(self, name: str) -> Floats:
        """Return the weights of the perturbation's own response; of the mean response if it was not measured."""
        return (
            np.eye(len(self._row))[self._row[name]] if name in self._row else self._mean_weights()
        )


def part_vectors(vocabulary: Vocabulary, names: Sequence[str]) -> Floats:
    """Return (n, P, E) vectors of the parts of perturbations, 0 where there are fewer."""
    parts = vocabulary.parts(names)
    table = np.vstack([vocabulary.vectors, np.zeros((1, vocabulary.vectors.shape[1]))])
    return table[parts]  # -1 is the row of zeros


class MeanShift(ShiftBaseline):
    """Control cells plus the mean response of the training perturbations, each counting once.

    The same for every perturbation; what the field calls the mean baseline, with cells. A perturbation's response counts
    as measured in the wanted context, or over all contexts where it was not measured there.

    Parameters
    ----------
    adata
        Screen.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import MeanShift
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = MeanShift(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    def _weights(self, names: Sequence[str]) -> Floats:
        return np.tile(self._mean_weights(), (len(names), 1))


class OwnShift(ShiftBaseline):
    """Control cells plus the perturbation's own response, measured in training.

    That of the wanted context where it was measured there, else over all contexts: the additive model of perturbation and
    context, in State called the perturbation mean. For a perturbation (single or combination) that was not measured as
    such, the mean response.

    Parameters
    ----------
    adata
        Screen.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import OwnShift
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = OwnShift(adata)
    >>> model.train()
    >>> model.predict("P1", n_cells=20).shape
    (20, 5)
    """

    def _weights(self, names: Sequence[str]) -> Floats:
        return np.array([self._own_weights(name) for name in names])


class MatchingMean(ShiftBaseline):
    """Control cells plus the average of the responses of a combination's parts (the matching mean of Systema).

    A part that was not measured alone counts with the mean response. A single perturbation is its own only part.

    Parameters
    ----------
    adata
        Screen.

    References
    ----------
    Viñas Torné et al. (2025), Nat. Biotechnol., "Systema".

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import MatchingMean
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = MatchingMean(adata)
    >>> model.train()
    >>> model.predict("P1+P2", n_cells=20).shape
    (20, 5)
    """

    def _weights(self, names: Sequence[str]) -> Floats:
        parts = [[self._own_weights(part) for part in self._singles(name)] for name in names]
        return np.array([np.mean(several, axis=0) for several in parts])


class Additive(ShiftBaseline):
    """Control cells plus the sum of the responses of a combination's parts, whether it was measured itself or not.

    A single perturbation is its own only part.

    Parameters
    ----------
    adata
        Screen.

    References
    ----------
    Ahlmann-Eltze et al. (2025), Nat. Methods.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import Additive
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=4, n_dims=5, rng=0)
    >>> model = Additive(adata)
    >>> model.train()
    >>> model.predict("P1+P2", n_cells=20).shape
    (20, 5)
    """

    refusal: ClassVar[str] = (
        "the parts of each must have training cells of their own; 'own_shift' and 'matching_mean' put the mean response "
        "in the place of what was not measured"
    )

    def _unknown(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not set(self._singles(name)) <= set(self._row)]

    def _weights(self, names: Sequence[str]) -> Floats:
        parts = [[self._own_weights(part) for part in self._singles(name)] for name in names]
        return np.array([np.sum(several, axis=0) for several in parts])
