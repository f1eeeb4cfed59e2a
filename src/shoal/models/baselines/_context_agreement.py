r"""How well the responses of some contexts predict those of another one, in training.

A *unit* is a perturbation at one dose that was measured in at least two contexts. Of a unit u the
response in context t is :math:`\delta_{ut}`. It is predicted from the other contexts s as

.. math:: \hat\delta_{ut} = \sum_{s \ne t} v_{uts}\,\delta_{us}.

All sums of squares follow from the inner products :math:`G_{ust}` of the responses of a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ...core._codes import grouped, members

if TYPE_CHECKING:
    from ..._typing import Bools, Floats, Ints
    from ._deltas import Deltas


@dataclass(frozen=True)
class Agreement:
    """Inner products of the responses of U units in K contexts.

    Attributes
    ----------
    gram
        (U, K, K) inner products; 0 where a unit was not measured.
    n
        (U, K) cells of each response; 0 where a unit was not measured.
    """

    gram: Floats
    n: Ints

    @classmethod
    def of(cls, deltas: Deltas, n_contexts: int) -> Self:
        """Return the agreement of the measured responses of contexts 0, 1, ..."""
        known = np.flatnonzero(deltas.context >= 0)
        code, _ = grouped(perturbation=deltas.perturbation[known], dose=deltas.dose[known])
        units = [known[own] for own in members(code) if len(own) > 1]
        gram = np.zeros((len(units), n_contexts, n_contexts))
        n = np.zeros((len(units), n_contexts), dtype=np.int64)
        for u, rows in enumerate(units):
            at = deltas.context[rows]
            gram[u][np.ix_(at, at)] = deltas.delta[rows] @ deltas.delta[rows].T
            n[u, at] = deltas.n[rows]
        return cls(gram, n)

    @property
    def others(self) -> Bools:
        """(U, K, K) whether unit u was measured in both of two different contexts (t, s)."""
        there = self.n > 0
        return there[:, :, None] & there[:, None, :] & ~np.eye(there.shape[1], dtype=bool)

    def products(self, weights: Floats) -> tuple[float, float]:
        """Return two sums over all units and contexts that are predicted from other contexts.

        Parameters
        ----------
        weights
            (U, K, K) weights v of the other contexts s (last) for a context t; all 0 where a
            response is not predicted.

        Returns
        -------
        along
            Sum of the inner products of predicted and measured response.
        size
            Sum of the squares of the predicted response.
        """
        along = (weights * self.gram).sum()
        size = ((weights @ self.gram) * weights).sum()
        return float(along), float(size)

    def error(self, weights: Floats) -> float:
        """Return the sum of squared errors of predictions, less a constant.

        The constant is the sum of squares of the measured responses.
        """
        along, size = self.products(weights)
        return size - 2.0 * along

    def slopes(self) -> Floats:
        """Return the (K,) least-squares factor by which each context alone predicts the others.

        At least 0. It is small for a context whose responses are noisy, large or unlike the others.
        """
        both = self.others
        along = (self.gram * both).sum(axis=(0, 1))
        squares = np.diagonal(self.gram, axis1=1, axis2=2)
        size = (squares * both.sum(axis=1)).sum(axis=0)
        return np.maximum(np.divide(along, size, out=np.zeros_like(along), where=size > 0), 0.0)


def normalised(weights: Floats) -> Floats:
    """Return weights that sum to 1 along the last axis; all 0 where they are all 0."""
    total = weights.sum(axis=-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
