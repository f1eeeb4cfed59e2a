"""Means of the control cells that stand in for a context and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import grouped
from ...core._controls import Controls

if TYPE_CHECKING:
    from ..._typing import Floats, Ints
    from ...core._condition_sums import GroupSums
    from ...core._population import Population


@dataclass(frozen=True)
class ControlMeans:
    """Means of control cells, looked up by context and batch.

    Attributes
    ----------
    controls
        The control cells 0, 1, 2, ...: which of them stand in for a context and batch.
    stratum
        (n,) stratum of each control cell. A stratum is context x batch.
    sums
        (n_strata, n_features) sums of the control cells of each stratum.
    """

    controls: Controls
    stratum: Ints
    sums: Floats

    @classmethod
    def of_training(cls, cells: Population) -> ControlMeans:
        """Return the means of the control cells of training."""
        return cls._of(cells, np.flatnonzero(cells.train_control), cells.sums.control.of_split(0))

    @classmethod
    def of_all(cls, cells: Population) -> ControlMeans:
        """Return the means of all control cells."""
        at = np.flatnonzero(cells.labels.is_control)
        return cls._of(cells, at, cells.sums.control.of_all_splits())

    @classmethod
    def _of(cls, cells: Population, at: Ints, groups: GroupSums) -> ControlMeans:
        context, batch = cells.context[at], cells.batch[at]
        return cls(
            controls=Controls(cells=np.arange(len(at)), context=context, batch=batch),
            stratum=grouped(context=context, batch=batch)[0],
            sums=groups.sums,
        )

    @property
    def overall(self) -> Floats:
        """(n_features,) mean over all control cells."""
        return np.asarray(self.sums.sum(axis=0) / len(self.stratum))

    def at(self, context: Ints, batch: Ints) -> Floats:
        """Return the (n, n_features) means of the controls that stand in for contexts and batches.

        Parameters
        ----------
        context, batch
            (n,) codes, -1 where unknown.
        """
        own, weights = self.weights(context, batch)
        return np.asarray((weights @ self.sums)[own])

    def weights(self, context: Ints, batch: Ints) -> tuple[Ints, Floats]:
        """Return how the control cells count in the means of contexts and batches.

        Parameters
        ----------
        context, batch
            (n,) codes, -1 where unknown.

        Returns
        -------
        own
            (n,) position of each context and batch among the different ones.
        weights
            (n_different, n_strata) weight of a control cell of each stratum.
        """
        own, pairs = grouped(context=context, batch=batch)
        pools = [self.controls.pool(c, b)[0] for c, b in pairs.itertuples(index=False)]
        weights = np.zeros((len(pools), len(self.sums)))
        for row, pool in zip(weights, pools, strict=True):
            row[self.stratum[pool]] = 1.0 / len(pool)  # a pool is a union of strata
        return own, weights
