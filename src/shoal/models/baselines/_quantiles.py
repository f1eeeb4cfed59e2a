"""Quantiles of every gene in weighted cells, and the map to the same quantiles of other cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..._typing import Floats
    from ._pool import Pool

KEPT_BYTES = 2**28  # of sorted control cells


class SortedCells:
    """Sorted control cells, kept for as long as the weights stay the same.

    Parameters
    ----------
    control
        Control cells.
    """

    def __init__(self, control: Pool) -> None:
        self._control = control
        self._kept: dict[bytes, Quantiles] = {}

    def of(self, weight: Floats) -> Quantiles:
        """Return the distribution of the control cells with these weights (n_controls,)."""
        key = weight.tobytes()
        if key not in self._kept:
            if sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.clear()
            source = np.flatnonzero(weight)
            self._kept[key] = Quantiles.of(self._control.dense(source), weight[source])
        return self._kept[key]


@dataclass(frozen=True)
class Quantiles:
    """A weighted sample of d values, to look quantiles up in.

    Attributes
    ----------
    ranked
        (d, n) values in ascending order.
    reached
        (d, n + 1) weight of the values below each.
    """

    ranked: Floats
    reached: Floats

    @classmethod
    def of(cls, source: Floats, weight: Floats) -> Quantiles:
        """Sort an (n, d) sample with (n,) weights that sum to 1."""
        columns = np.ascontiguousarray(source.T)
        order = np.argsort(columns, axis=1, kind="stable")
        reached = np.zeros((len(order), len(source) + 1))
        np.cumsum(weight[order], axis=1, out=reached[:, 1:])
        return cls(np.take_along_axis(columns, order, axis=1), reached)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.ranked.nbytes + self.reached.nbytes

    def moved(self, x: Floats, target: Floats, rng: np.random.Generator) -> Floats:
        """Move values to the same quantile of another distribution, column by column.

        Parameters
        ----------
        x
            (n, d) values of the distribution.
        target
            (n_target, d) sample of the wanted distribution.
        rng
            Draws the quantile of a value among its ties.

        Returns
        -------
        (n, d) values of `target`. Values outside the distribution become the smallest or largest.
        """
        at_random, n, out = rng.random(x.shape), len(target), np.empty_like(x)
        goals = np.sort(target, axis=0).T
        for j, (values, goal) in enumerate(zip(np.ascontiguousarray(x.T), goals, strict=True)):
            low = self.reached[j, np.searchsorted(self.ranked[j], values, side="left")]
            high = self.reached[j, np.searchsorted(self.ranked[j], values, side="right")]
            u = low + at_random[:, j] * (high - low)
            out[:, j] = goal[np.minimum((u * n).astype(np.int64), n - 1)]
        return out
