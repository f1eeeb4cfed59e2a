"""The streamed store: it reads a bounded pool of cells at a time, while training goes on."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core._controls import LEAST
from ._batch import assemble
from ._draw import distinct
from ._sampler import SetSampler
from ._store import check_finite, kept_dtype, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .._typing import Ints
    from ._batch import SetBatch
    from ._conditions import Conditions
    from ._sampler import Draw

PIECE = 1024  # rows read in one go; between two pieces a reader can be stopped
CONTROLS = 4  # one in so many cells of a pool is a control


@dataclass(frozen=True)
class Pool:
    """The cells in memory during a window of steps.

    Attributes
    ----------
    index
        Conditions in the pool, by their number in the screen.
    sampler
        Draws batches from the pool.
    values
        (n, *F) the cells, uint8 or float32.
    """

    index: Ints
    sampler: SetSampler
    values: Tensor


class StreamedStore:
    """Trains from a file with a memory that does not depend on the number of cells.

    The steps are cut into windows of `refresh` steps. Each window has a pool of `pool_cells` cells,
    and its batches are drawn from that pool:

    - Perturbed cells come from as many conditions as a set of each has room for. If all conditions
      have room, there are more cells of each. Which cells of a condition, is a random choice.
    - Control cells are a random choice among those that match them in context and batch.

    While a window is trained on, a thread reads the pool of the next one, in the order of the file.
    Windows take the conditions in passes, as steps do, so that all conditions are seen equally
    often. There are never more than two pools in memory.

    Parameters
    ----------
    read
        Returns the (n, *F) cells at sorted positions; called from another thread. Cells of uint8
        are kept as uint8, all others as float32.
    sampler
        Draws the conditions, and the sizes of a batch.
    pool_cells
        Cells of a pool.
    refresh
        Steps of a window. A step costs reading ``pool_cells / refresh`` cells.

    Raises
    ------
    ValueError
        If the pool has no room for a step, or the window is empty.
    """

    def __init__(
        self,
        read: Callable[[Ints], Any],
        sampler: SetSampler,
        *,
        pool_cells: int = 16_384,
        refresh: int = 128,
    ) -> None:
        least = 2 * sampler.batch_conditions * sampler.set_size
        if pool_cells < least or refresh < 1:
            msg = (
                f"pool_cells={pool_cells} and refresh={refresh}: a pool needs room for a step, "
                f"{least} cells (2 x conditions x set_size), and a window at least one step"
            )
            raise ValueError(msg)
        self.sampler, self.pool_cells, self.refresh = sampler, pool_cells, refresh
        self._read = read
        self._stop = Event()
        self._thread: ThreadPoolExecutor | None = None
        self._pool: tuple[tuple[int, int, int], Pool] | None = None
        self._next: tuple[tuple[int, int, int], Future[Pool]] | None = None

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return what process `rank` of `world` trains on at a step, in memory."""
        pool = self._window(step // self.refresh, rank, world)
        draw = pool.sampler.draw(step)
        values = take(pool.values, np.stack([draw.source, draw.target]))
        return assemble(
            self.sampler.conditions, replace(draw, index=pool.index[draw.index]), values
        )

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Read the cells of a draw from the file."""
        wanted = np.stack([draw.source, draw.target])
        positions, own = np.unique(wanted, return_inverse=True)
        return assemble(conditions, draw, take(self._load(positions), own.reshape(wanted.shape)))

    def to(self, device: torch.device | str) -> None:
        """Do nothing: batches are moved one by one."""

    def close(self) -> None:
        """Stop reading and free the pools."""
        self._stop.set()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread = self._pool = self._next = None
        self._stop = Event()

    def _window(self, window: int, rank: int, world: int) -> Pool:
        """Return the pool of a window, and have the next one read."""
        key = (window, rank, world)
        if self._pool is None or self._pool[0] != key:
            if self._next is not None and self._next[0] != key:
                self.close()  # a jump: training starts anew or is resumed
            coming = self._next
            self._pool = self._next = None  # freed before a third one is begun
            pool = self._fill(*key) if coming is None else coming[1].result()
            self._pool = (key, pool)
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="shoal-reader")
            after = (window + 1, rank, world)
            self._next = (after, self._thread.submit(self._fill, *after))
        return self._pool[1]

    def _fill(self, window: int, rank: int, world: int) -> Pool:
        """Choose the cells of a window and read them."""
        sampler, conditions = self.sampler, self.sampler.conditions
        sequence = np.random.SeedSequence((sampler.seed, 2, window, rank))
        rng = np.random.default_rng(sequence)
        index, target = self._choose_targets(window, rank, world, rng)
        control = self._choose_controls(np.concatenate(target), rng)
        cells = np.unique(np.concatenate([control, *target]))
        pooled = replace(
            conditions.subset(index),
            cells=tuple(np.searchsorted(cells, np.sort(own)) for own in target),
            control=np.searchsorted(cells, control),
            cell_context=conditions.cell_context[cells],
            cell_batch=conditions.cell_batch[cells],
        )
        inner = SetSampler(
            pooled,
            set_size=sampler.set_size,
            batch_conditions=sampler.batch_conditions,
            seed=int(sequence.generate_state(1, np.uint64)[0]),
        )
        return Pool(index, inner, self._load(cells))

    def _choose_targets(
        self, window: int, rank: int, world: int, rng: np.random.Generator
    ) -> tuple[Ints, list[Ints]]:
        """Return the conditions of a window and the cells of each."""
        sampler, room = self.sampler, self.pool_cells - self.pool_cells // CONTROLS
        all_of_pass = len(sampler.passes.entries)
        own_share = max(-(-all_of_pass // world), sampler.batch_conditions)
        n = min(own_share, all_of_pass, room // sampler.set_size)
        index = sampler.passes.share(window, n, rank, world)
        cells = [sampler.conditions.cells[i] for i in index]
        size = np.array([len(own) for own in cells])
        count = np.minimum(size, room // n)
        member, _ = distinct(size, count, rng)
        chosen = np.split(member, np.cumsum(count)[:-1])
        return index, [own[at] for own, at in zip(cells, chosen, strict=True)]

    def _choose_controls(self, target: Ints, rng: np.random.Generator) -> Ints:
        """Return controls for the cells of a window, from each of their contexts and batches."""
        conditions, most = self.sampler.conditions, self.pool_cells // CONTROLS
        controls = conditions.controls
        pools = [controls.pool(*pair)[0] for pair in conditions.strata(target)[0]]
        size = np.array([len(pool) for pool in pools])
        count = np.minimum(size, max(LEAST, most // len(pools)))
        member, _ = distinct(size, count, rng)
        chosen = np.split(member, np.cumsum(count)[:-1])
        found = np.unique(
            np.concatenate([pool[at] for pool, at in zip(pools, chosen, strict=True)])
        )
        return found if len(found) <= most else np.sort(rng.choice(found, most, replace=False))

    def _load(self, positions: Ints) -> Tensor:
        """Read cells into one array of uint8 or float32, piece by piece."""
        values = np.empty((0, 0), dtype=np.float32)
        for start in range(0, len(positions), PIECE):
            if self._stop.is_set():
                raise CancelledError
            at = positions[start : start + PIECE]
            piece = np.asarray(self._read(at))
            if not start:
                shape = (len(positions), *piece.shape[1:])
                values = np.empty(shape, dtype=kept_dtype(piece))
            if piece.ndim < 2 or piece.shape != (len(at), *values.shape[1:]):
                msg = (
                    f"read(positions) gave {piece.shape} for {len(at)} positions; expected a cell "
                    "for each position, all of one shape"
                )
                raise ValueError(msg)
            values[start : start + PIECE] = piece
        cells = torch.from_numpy(values)
        check_finite(cells, positions)
        return cells
