"""Training sets that start at cells of other contexts in place of control cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...training import Conditions, SetBatch, Store
    from ...training._sampler import Draw
    from ._measured_elsewhere import MeasuredElsewhere


class CrossContextStore:
    """A store some of whose sets start at the perturbation's own cells of other contexts.

    These cells are moved by the difference between the control means of the two contexts. The
    network is given no perturbation for such a set, because its cells are perturbed already.
    Held-out conditions start at cells of other contexts wherever there are some, as in prediction.

    Parameters
    ----------
    store
        Store of the screen's cells.
    elsewhere
        Lookup of the cells of other contexts.
    centre
        (number of contexts + 1, D) mean of the control cells of every context. The last row is that
        of an unknown context.
    chance
        Share of the sets that start at cells of other contexts, among those that have some.
    """

    def __init__(
        self,
        store: Store,
        elsewhere: MeasuredElsewhere,
        centre: NDArray[np.float32],
        chance: float,
    ) -> None:
        self.store, self.sampler = store, store.sampler
        self.elsewhere, self.centre, self.chance = elsewhere, torch.from_numpy(centre), chance

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return what process `rank` of `world` trains on at a step."""
        draw = self.sampler.draw(step, rank, world)
        rng = np.random.default_rng((self.sampler.seed, 5, step, rank))
        return self._gather(self.sampler.conditions, draw, self.chance, rng)

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Return the cells of a draw from held-out conditions."""
        rng = np.random.default_rng((self.sampler.seed, 6, int(draw.index[0])))
        return self._gather(conditions, draw, 1.0, rng)

    def to(self, device: torch.device | str) -> None:
        """Get ready to train on a device."""
        self.store.to(device)

    def close(self) -> None:
        """Let go of what training needed."""
        self.store.close()

    def _gather(
        self, conditions: Conditions, draw: Draw, chance: float, rng: np.random.Generator
    ) -> SetBatch:
        draw, changed = self.elsewhere.replace_sources(conditions, draw, chance, rng)
        batch = self.store.gather(conditions, draw)
        centre = self.centre[conditions.context[draw.index]]
        shift = torch.zeros_like(batch.source, device="cpu")
        origin = self.centre[conditions.cell_context[draw.source[changed]]]
        shift[changed] = centre[changed, None] - origin
        device = batch.source.device
        unchanged = ~torch.from_numpy(changed)[:, None].to(device)
        condition = batch.condition | {
            "present": batch.condition["present"] & unchanged,
            "centre": centre.to(device),
        }
        return replace(batch, source=batch.source + shift.to(device), condition=condition)
