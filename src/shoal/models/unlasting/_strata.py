"""Control cells of every context in numbers: means, spreads, and which genes are on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints
    from ...core._population import Population
    from ...training import Conditions, SetBatch, Store
    from ...training._sampler import Draw


def moments(cells: Population, scale: float) -> NDArray[np.float32]:
    """Return mean, standard deviation and share of cells that are on, of control cells.

    Parameters
    ----------
    cells
        Population; it has control cells.
    scale
        Number that values are divided by.

    Returns
    -------
    (n_contexts + 1, 3, d): of each context, and last of all controls. A context without controls
    has those of all. Shares are those of one cell more, half of which is on.
    """
    at = np.flatnonzero(cells.labels.is_control)
    table = np.stack([_of(cells, at, scale)] * (len(cells.contexts) + 1))
    for code in np.unique(cells.context[at]):
        if code >= 0 and len(cells.contexts) > 1:
            table[code] = _of(cells, at[cells.context[at] == code], scale)
    return table


def _of(cells: Population, at: Ints, scale: float) -> NDArray[np.float32]:
    block = cells.rows.take(at)
    square = block.multiply(block) if sparse.issparse(block) else np.square(block, dtype=np.float64)
    mean, second = (
        np.asarray(each.mean(axis=0, dtype=np.float64)).ravel() for each in (block, square)
    )
    on = np.asarray((block != 0).sum(axis=0)).ravel()
    sd = np.sqrt(np.maximum(second - mean**2, 0))
    return np.stack([mean / scale, sd / scale, (on + 0.5) / (len(at) + 1)]).astype(np.float32)


class MomentStore:
    """A store whose conditions also hold the moments of their control cells.

    Parameters
    ----------
    store
        Store of the screen's cells.
    table
        (number of contexts + 1, 3, d) moments in the order of the vocabulary; the last row is that
        of an unknown context.
    """

    def __init__(self, store: Store, table: NDArray[np.float32]) -> None:
        self.store, self.sampler, self.table = store, store.sampler, torch.from_numpy(table)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return what process `rank` of `world` trains on at a step."""
        batch = self.store.batch(step, rank, world)
        return self._with_moments(self.sampler.conditions, batch.index.cpu().numpy(), batch)

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Return the cells of a draw from held-out conditions."""
        return self._with_moments(conditions, draw.index, self.store.gather(conditions, draw))

    def to(self, device: torch.device | str) -> None:
        """Get ready to train on a device."""
        self.store.to(device)

    def close(self) -> None:
        """Let go of what training needed."""
        self.store.close()

    def _with_moments(self, conditions: Conditions, index: Ints, batch: SetBatch) -> SetBatch:
        own = self.table[conditions.context[index]].to(batch.source.device)
        return replace(batch, condition={**batch.condition, "moments": own})
