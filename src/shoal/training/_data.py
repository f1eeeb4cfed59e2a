"""The Lightning data module: steps from a store, and held-out conditions to validate on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import lightning.pytorch as L
import numpy as np

from .._logging import logger
from ._sampler import SetSampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._batch import SetBatch
    from ._conditions import Conditions
    from ._settings import FitSettings
    from ._store import Store

VAL_TOGETHER = 4  # held-out conditions that are generated together


@dataclass(frozen=True)
class Steps:
    """The batches of the steps from `start` to before `stop`, for one of `world` processes."""

    store: Store
    start: int
    stop: int
    rank: int
    world: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[SetBatch]:
        for step in range(self.start, self.stop):
            yield self.store.batch(step, self.rank, self.world)


@dataclass(frozen=True)
class Held:
    """The held-out batches, the same at every validation."""

    batches: tuple[SetBatch, ...]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[SetBatch]:
        return iter(self.batches)


class SetData(L.LightningDataModule):
    """Feeds training from a store.

    An epoch, in Lightning's terms, goes from one validation to the next; the last may be shorter. A
    batch depends on its step alone, so that a resumed run goes on exactly where it stopped.

    Parameters
    ----------
    store
        Gives the batches.
    settings
        Numbers of steps, and of cells and conditions of a validation.
    validation
        Held-out conditions over the cells of the store. Conditions with one cell are left out.

    Raises
    ------
    ValueError
        If no held-out condition has two cells.
    """

    def __init__(
        self, store: Store, settings: FitSettings, validation: Conditions | None = None
    ) -> None:
        super().__init__()
        self.store, self.settings = store, settings
        self.validation = None if validation is None else _at_most(validation, settings)
        self._held: Held | None = None

    def setup(self, stage: str) -> None:
        """Bring the store to the training device."""
        self.store.to(self.trainer.strategy.root_device)

    def teardown(self, stage: str) -> None:
        """Free what training needed."""
        self._held = None
        self.store.close()

    def train_dataloader(self) -> Steps:
        """Return the steps up to the next validation."""
        start = self.trainer.global_step
        stop = min(start + self.settings.val_every, self.settings.last_step)
        return Steps(self.store, start, stop, self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> Held:
        """Return the held-out conditions, drawn once and the same for every process."""
        if self._held is None:
            self._held = Held(() if self.validation is None else tuple(self._draw_held()))
        return self._held

    def _draw_held(self) -> Iterator[SetBatch]:
        conditions, seed = self.validation, self.settings.seed
        together = min(VAL_TOGETHER, len(conditions))
        size = min(self.settings.val_cells, int(conditions.sizes.max()))
        sampler = SetSampler(conditions, set_size=size, batch_conditions=together, seed=seed)
        for index in np.array_split(np.arange(len(conditions)), -(-len(conditions) // together)):
            rng = np.random.default_rng((seed, 3, int(index[0])))
            yield self.store.gather(conditions, sampler.cells(index, rng))


def _at_most(conditions: Conditions, settings: FitSettings) -> Conditions:
    """Return the held-out conditions with two cells, or a random choice if they are many."""
    able = np.flatnonzero(conditions.sizes >= 2)
    if not len(able):
        msg = (
            "no held-out condition has two cells, which the energy distance needs; hold out others"
        )
        raise ValueError(msg)
    if len(able) < len(conditions):
        logger.info(
            "%d held-out conditions with one cell are not validated on", len(conditions) - len(able)
        )
    if len(able) > settings.val_conditions:
        rng = np.random.default_rng((settings.seed, 4))
        able = np.sort(rng.choice(able, settings.val_conditions, replace=False))
    return conditions.subset(able)
