"""Baselines that put a response together from the responses of several training contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from ...core._codes import grouped, members, recode
from ..post._postprocessing import Moved
from ._context_agreement import Agreement
from ._context_places import Places
from ._deltas import deltas_of, dose_weights
from ._means import MAX_CELLS
from ._pool import keep
from ._shift import ShiftBaseline
from ._shrinkage import responses_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ..base._requests import PredictionRequest
    from ._deltas import Deltas


class ContextShift(ShiftBaseline):
    """A control cell plus a weighted sum of the perturbation's responses in training contexts.

    A subclass says what the weights of the contexts are. They count only where they are needed:

    - Where the perturbation was measured in the wanted context, its response there is taken.
    - Where it was measured in no context that has a label, its response over all cells is taken.
    - A perturbation that was not measured as such (single or combination) gets the mean response:
      the mean over the training perturbations, each with the response that it would get itself.

    Within a context the response is interpolated in log10 dose.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether responses are shrunk by their noise, towards the mean response.
    """

    keeps_cells: ClassVar[bool] = True

    def _fit(self, cells: Population) -> dict[str, NDArray[Any]]:
        refuse_no_contexts(self.name, cells)
        arrays, n_contexts = super()._fit(cells), len(self.vocabulary.contexts)
        places = self._places_of(cells)
        learned = self._learn(Agreement.of(deltas_of(arrays), n_contexts), places)
        return arrays | {"place_mean": places.mean, "place_noise": places.noise} | learned

    def _places_of(self, cells: Population) -> Places:
        """Return where the contexts of training lie: at the means of their control cells."""
        pool = keep(cells, cells.train_control, self.vocabulary, max_cells=MAX_CELLS)
        return Places.of(pool, len(self.vocabulary.contexts), len(self.vocabulary.features))

    def _distances(self, context: int, cells: Population, known: int) -> Floats:
        """Return the (K,) squared distances of the training contexts from one of some cells."""
        return self.places.from_context(context, cells, known)

    def _learn(self, agreement: Agreement, places: Places) -> dict[str, NDArray[Any]]:
        """Return what is learned from how training contexts predict one another."""
        return {}

    def _ready(self) -> None:
        super()._ready()
        self.places = Places(self.arrays["place_mean"], self.arrays["place_noise"])

    def _counts(self, n: Ints, distance: Floats) -> Floats:
        """Return how much the response in each training context counts.

        Parameters
        ----------
        n
            (P, K) training cells of the perturbations in the contexts; 0 where not measured.
        distance
            (K,) squared distances of the training contexts from the wanted one; infinite where
            unknown.

        Returns
        -------
        (P, K) weights, 0 where not measured.
        """
        raise NotImplementedError

    def _shares(self, known: int, distance: Floats, dose: float) -> sparse.csr_matrix:
        """Return (P, C) how each perturbation's response is put together from its conditions."""
        n_names, n_contexts = len(self.deltas.names), len(distance)
        within, n = by_context(self.deltas, n_contexts, dose)
        counts = self._counts(n, distance)
        if known >= 0:
            counts[n[:, known] > 0] = np.arange(n_contexts) == known
        wide = sparse.csr_matrix(
            (counts.ravel(), np.arange(counts.size), np.arange(n_names + 1) * n_contexts),
            shape=(n_names, counts.size),
        )
        nowhere = sparse.diags(~(n > 0).any(axis=1) * 1.0)
        return (wide @ within + nowhere @ self.deltas.shares(-1, dose)).tocsr()

    def _generate(
        self,
        request: PredictionRequest,
        cells: Population,
        rng: np.random.Generator,
        **options: Any,
    ) -> Moved:
        start = cells.values(request.source)
        values = start.copy()
        known = recode(request.context, cells.contexts, self.vocabulary.contexts)
        code, places = grouped(context=request.context, known=known, dose=request.dose)
        for there, place in zip(members(code), places.itertuples(index=False), strict=True):
            distance = self._distances(int(place.context), cells, int(place.known))
            shares = self._shares(int(place.known), distance, float(place.dose))
            which, position = np.unique(request.perturbation[there], return_inverse=True)
            responses = responses_of(self.deltas, shares, self.noise)
            names = [(request.names[p],) for p in which]
            weights, on_mean = self._own_weights(names, each=[1.0] * len(names))
            shifts = responses.sums(weights) + on_mean[:, None] * responses.mean
            for own, shift in zip(members(position), shifts, strict=True):
                values[there[own]] += shift
        return Moved(values, start)


def by_context(deltas: Deltas, n_contexts: int, dose: float) -> tuple[sparse.csr_matrix, Ints]:
    """Return how the response of each perturbation within each context is put together.

    Parameters
    ----------
    deltas
        Measured responses of P perturbations in C conditions.
    n_contexts
        Number K of contexts. Conditions whose context is missing do not count.
    dose
        Wanted dose; NaN for all doses.

    Returns
    -------
    within
        (P * K, C) weights of the conditions. Row p * K + k is perturbation p in context k. It sums
        to 1, or is empty where that was not measured.
    n
        (P, K) training cells.
    """
    known = np.flatnonzero(deltas.context >= 0)
    owner = deltas.perturbation[known] * n_contexts + deltas.context[known]
    order = np.argsort(owner, kind="stable")
    known, owner = known[order], owner[order]
    size = len(deltas.names) * n_contexts
    weights = dose_weights(owner, deltas.dose[known], deltas.n[known], dose)
    ends = np.searchsorted(owner, np.arange(size + 1))
    within = sparse.csr_matrix((weights, known, ends), shape=(size, len(deltas.n)))
    n = np.bincount(owner, weights=deltas.n[known], minlength=size)
    return within, n.astype(np.int64).reshape(-1, n_contexts)


def refuse_no_contexts(name: str, cells: Population) -> None:
    """Raise ``ValueError`` if a screen has no column of contexts."""
    if cells.screen.context_key is None:
        msg = (
            f"{name} puts a response together from those of several contexts, and the screen has "
            "no contexts: name their column, sh.pp.annotate(adata, ..., context_key=...), or take "
            "'own_shift'"
        )
        raise ValueError(msg)
