"""The sampler: the cells of a step, as a pure function of the seed and the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._validate import one_of, whole
from ._draw import distinct

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints
    from ._conditions import Conditions

WEIGHTINGS = ("uniform", "size")


@dataclass(frozen=True)
class Draw:
    """The cells of one step, as positions; K conditions of S slots.

    Attributes
    ----------
    index
        (K,) conditions. A step at the end of a pass may hold a condition twice, with other cells.
    target, source
        (K, S) positions of the perturbed cells and of a control cell for each.
    weight, source_weight
        (K, S) 0 where a slot repeats a cell of its set, else 1.
    batch_index
        (K, S) batch code of the target cell.
    """

    index: Ints
    target: Ints
    source: Ints
    weight: Floats
    source_weight: Floats
    batch_index: Ints


class Passes:
    """Endless passes through some entries, each in a random order of its own.

    There is no state: any step can be asked for at any time.

    Parameters
    ----------
    entries
        Entries of a pass; an entry may occur several times.
    seed
        Seed.
    """

    def __init__(self, entries: Ints, seed: int) -> None:
        self.entries, self.seed = entries, seed
        self._kept: dict[int, Ints] = {}

    def share(self, step: int, n: int, rank: int = 0, world: int = 1) -> Ints:
        """Return the `n` entries of a step for process `rank` of `world`.

        The processes divide a pass among them.
        """
        number, place = np.divmod((step * world + rank) * n + np.arange(n), len(self.entries))
        return np.array(
            [self._pass(int(i))[p] for i, p in zip(number, place, strict=True)], dtype=np.int64
        )

    def _pass(self, number: int) -> Ints:
        if number not in self._kept:
            if len(self._kept) > 2:
                self._kept.clear()
            self._kept[number] = np.random.default_rng((self.seed, 0, number)).permutation(
                self.entries
            )
        return self._kept[number]


class SetSampler:
    """Draws sets of cells, condition by condition, with matched controls.

    - Conditions come in passes, each a random order of all of them.
    - The cells of a set are distinct. A condition with fewer cells than slots gives all of them,
      and repeats some with weight 0.
    - The source of a slot is a random control of the context and batch of its target cell. Where
      there are too few, :class:`~shoal.core._controls.Controls` says which controls stand in.
    - The sources of a set are distinct if there are enough controls.

    Parameters
    ----------
    conditions
        Conditions to draw from.
    set_size
        Slots of a set.
    batch_conditions
        Conditions of a step (on each device), at most all.
    weighting
        ``"uniform"``: every condition comes once in a pass. ``"size"``: it comes as often as its
        cells fill sets.
    seed
        Seed. A draw depends on the seed, the step and the rank alone.

    Raises
    ------
    ValueError
        If a number is not positive or the weighting is not known.
    """

    def __init__(
        self,
        conditions: Conditions,
        *,
        set_size: int = 64,
        batch_conditions: int = 16,
        weighting: str = "uniform",
        seed: int = 0,
    ) -> None:
        set_size = whole(set_size, name="set_size")
        batch_conditions = whole(batch_conditions, name="batch_conditions")
        one_of(weighting, WEIGHTINGS, name="weighting")
        self.conditions, self.set_size, self.weighting, self.seed = (
            conditions,
            set_size,
            weighting,
            seed,
        )
        self.batch_conditions = min(batch_conditions, len(conditions))
        self._size = conditions.sizes
        self._cells = np.concatenate(conditions.cells)
        self._start = np.cumsum(self._size) - self._size
        repeats = -(-self._size // set_size) if weighting == "size" else np.ones_like(self._size)
        self.passes = Passes(np.repeat(np.arange(len(conditions)), repeats), seed)
        self._match_controls()

    def over(self, conditions: Conditions) -> SetSampler:
        """Return a sampler of the same sizes, weighting and seed over other conditions."""
        names = ("set_size", "batch_conditions", "weighting", "seed")
        return SetSampler(conditions, **{name: getattr(self, name) for name in names})

    def draw(self, step: int, rank: int = 0, world: int = 1) -> Draw:
        """Return the cells of a step for process `rank` of `world`.

        No other process has these conditions in that step.
        """
        index = self.passes.share(step, self.batch_conditions, rank, world)
        return self.cells(index, np.random.default_rng((self.seed, 1, step, rank)))

    def cells(self, index: Ints, rng: np.random.Generator) -> Draw:
        """Draw a set of each of the conditions `index`."""
        s = self.set_size
        member, again = distinct(self._size[index], np.full(len(index), s), rng)
        target = self._cells[np.repeat(self._start[index], s) + member].reshape(-1, s)
        source, source_again = self._sources(target, rng)
        return Draw(
            index=index,
            target=target,
            source=source,
            weight=1.0 - again.reshape(-1, s),
            source_weight=1.0 - source_again,
            batch_index=self.conditions.told_batch[target],
        )

    def _match_controls(self) -> None:
        """Find the pool of controls of every cell; cells with the same controls share a pool."""
        controls = self.conditions.controls
        strata, own = self.conditions.strata(self._cells)
        pools: dict[tuple[int, int, int], int] = {}
        members, number = [], np.empty(len(strata), dtype=np.int32)
        for i, (context, batch) in enumerate(strata):
            cells, level = controls.pool(context, batch)
            key = (level, context if level < 2 else 0, batch if level in (0, 2) else 0)
            if key not in pools:
                pools[key] = len(members)
                members.append(cells)
            number[i] = pools[key]
        self._pool = np.zeros(self.conditions.n_obs, dtype=np.int32)
        self._pool[self._cells] = number[own]
        self._pool_size = np.array([len(cells) for cells in members])
        self._pool_start = np.cumsum(self._pool_size) - self._pool_size
        self._pool_cells = np.concatenate(members)

    def _sources(self, target: Ints, rng: np.random.Generator) -> tuple[Ints, Bools]:
        """Draw a control for every target slot, and return which repeat another of their set."""
        k, s = target.shape
        group = (np.arange(k)[:, None] * len(self._pool_size) + self._pool[target]).ravel()
        slots = np.argsort(group, kind="stable")
        sets_pool, count = np.unique(group, return_counts=True)
        pool = sets_pool % len(self._pool_size)
        member, _ = distinct(self._pool_size[pool], count, rng)
        source = np.empty(k * s, dtype=np.int64)
        source[slots] = self._pool_cells[np.repeat(self._pool_start[pool], count) + member]
        value = np.repeat(np.arange(k), s) * self.conditions.n_obs + source
        again = np.ones(k * s, dtype=bool)
        again[np.unique(value, return_index=True)[1]] = False
        return source.reshape(k, s), again.reshape(k, s)
