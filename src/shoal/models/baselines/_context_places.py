"""Where contexts lie: the means of their control cells, and how far these are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...metrics._cells import densify
from ._means import MAX_CELLS
from ._pool import kept_rows

if TYPE_CHECKING:
    from typing import Self

    from ..._typing import Bools, Floats
    from ...core._population import Population
    from ._pool import Pool

LEAST = 2  # control cells of a context, so that the noise of their mean is known


@dataclass(frozen=True)
class Places:
    r"""Mean control cell of K contexts, and the noise of that mean.

    Of two contexts with n and m controls, mean controls :math:`\bar x` and :math:`\bar y`, and
    traces T of their covariances, the squared distance is

    .. math:: \lVert \bar x - \bar y \rVert^2 - T_x / n - T_y / m.

    It is unbiased: 0 on average between samples of the same cells, whatever their numbers.

    Attributes
    ----------
    mean
        (K, d) mean control cell.
    noise
        (K,) trace of the covariance of a context's controls, divided by their number. NaN for a
        context with fewer than two, which has no place.
    """

    mean: Floats
    noise: Floats

    @classmethod
    def of(cls, pool: Pool, n_contexts: int, n_features: int) -> Self:
        """Return the places of contexts 0, 1, ... by their control cells in a pool."""
        mean, noise = np.zeros((n_contexts, n_features)), np.full(n_contexts, np.nan)
        for context in range(n_contexts):
            own = np.flatnonzero(pool.context == context)
            if len(own) >= LEAST:
                mean[context], noise[context] = moments(pool.dense(own).astype(np.float64))
        return cls(mean, noise)

    def squared_distances(self, mean: Floats, noise: float) -> Floats:
        """Return the (K,) squared distances from a place; at least 0, infinite if unknown."""
        apart = ((self.mean - mean) ** 2).sum(axis=1) - self.noise - noise
        return np.where(np.isfinite(apart), np.maximum(apart, 0.0), np.inf)

    def between(self) -> Floats:
        """Return the (K, K) squared distances between the contexts; infinite if unknown."""
        rows = zip(self.mean, self.noise, strict=True)
        return np.stack([self.squared_distances(mean, float(noise)) for mean, noise in rows])

    def from_context(self, context: int, cells: Population, known: int) -> Floats:
        """Return the (K,) squared distances from a context of some cells; infinite if unknown.

        Parameters
        ----------
        context
            Position in ``cells.contexts``; -1 where the context is missing.
        cells
            Cells that predictions start from.
        known
            Position of the context among the K; -1 if it is none of them. The place of such a
            context is that of its control cells in `cells`, and that of all its cells where none of
            `cells` is a control.
        """
        if known >= 0:
            return self.squared_distances(self.mean[known], float(self.noise[known]))
        own = np.flatnonzero(_starts(cells) & (cells.context == context) & (context >= 0))
        if len(own) < LEAST:
            return np.full(len(self.noise), np.inf)
        chosen = np.zeros(len(cells.context), dtype=bool)
        chosen[own] = True
        rows = np.sort(kept_rows(cells, chosen, max_cells=MAX_CELLS))
        mean, noise = moments(densify(cells.rows.take(rows)).astype(np.float64))
        return self.squared_distances(mean, noise)


def moments(cells: Floats) -> tuple[Floats, float]:
    """Return the (d,) mean of (n, d) cells, and the trace of their covariance divided by n."""
    return cells.mean(axis=0), float(cells.var(axis=0, ddof=1).sum() / len(cells))


def _starts(cells: Population) -> Bools:
    """Return (n,) which cells show what a context looks like before the perturbation."""
    is_control = cells.labels.is_control
    return is_control if is_control.any() else np.ones(len(is_control), dtype=bool)
