"""Transfer: paths that begin at a perturbation's own cells of other contexts, moved to the context that is wanted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...core._codes import grouped, members, recode
from ...core._controls import LEAST, shuffled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Bools, Ints
    from ...core._population import Population
    from ...training import Conditions, SetBatch, Store
    from ...training._sampler import Draw
    from ..base._predictor import Wanted
    from ..base._vocabulary import Vocabulary


class Relatives:
    """Where a perturbation was measured in training: its cells of other contexts, at the same dose.

    A perturbation has relatives for a context only where training has others in that context, from which the way into it
    can be learned. Fewer than ten are none: a population drawn from them would be the same few cells again and again.

    Parameters
    ----------
    conditions
        Conditions of training.
    rank
        (n_obs,) the order in which cells are listed, so that random draws from them do not depend on that of the rows.
    """

    def __init__(self, conditions: Conditions, rank: Ints) -> None:
        self._measured: dict[tuple[object, ...], list[tuple[int, Ints]]] = defaultdict(list)
        self._in_context: dict[int, set[tuple[int, ...]]] = defaultdict(set)
        for parts, context, dose, cells in zip(
            conditions.parts, conditions.context, conditions.dose, conditions.cells, strict=True
        ):
            if context >= 0:
                self._measured[_key(parts, dose)].append((int(context), cells))
                self._in_context[int(context)].add(_parts(parts))
        self._rank = rank

    def of(self, parts: Ints, context: int, dose: float) -> Ints:
        """Return the positions of the cells of some parts at a dose, in any context but one."""
        others = self._in_context.get(context, set()) - {_parts(parts)}
        places = self._measured.get(_key(parts, dose), ()) if others else ()
        there = [cells for other, cells in places if other != context]
        found = np.concatenate(there) if there else np.zeros(0, dtype=np.int64)
        return found[np.argsort(self._rank[found])] if len(found) >= LEAST else found[:0]

    def draw(
        self, conditions: Conditions, draw: Draw, chance: float, rng: np.random.Generator
    ) -> tuple[Draw, Bools]:
        """Let the sources of some sets be relatives: the draw, and (K,) which sets these are."""
        source, weight = draw.source.copy(), draw.source_weight.copy()
        moved = rng.random(len(draw.index)) < chance
        for k in np.flatnonzero(moved):
            c = draw.index[k]
            pool = self.of(
                conditions.parts[c], int(conditions.context[c]), float(conditions.dose[c])
            )
            moved[k] = len(pool) > 0
            if moved[k]:
                source[k], again = shuffled(pool, source.shape[1], rng)
                weight[k] = ~again
        return replace(draw, source=source, source_weight=weight), moved

    def starts(
        self, wanted: Wanted, cells: Population, vocabulary: Vocabulary, rng: np.random.Generator
    ) -> Ints:
        """Return (n,) the training cell that each wanted cell begins at, -1 for those that begin at a control."""
        population, keys = grouped(
            perturbation=wanted.perturbation, context=wanted.context, dose=wanted.dose
        )
        parts = vocabulary.parts([wanted.names[code] for code in keys["perturbation"]])
        context = recode(keys["context"].to_numpy(), cells.contexts, vocabulary.contexts)
        dose = vocabulary.standard_dose(keys["dose"].to_numpy(dtype=np.float64))
        start = np.full(len(wanted), -1, dtype=np.int64)
        for i, rows in enumerate(members(population)):
            pool = self.of(parts[i], int(context[i]), float(dose[i]))
            if len(pool):
                start[rows] = shuffled(pool, len(rows), rng)[0]
        return start


class TransferStore:
    """Gives some sets of another store relatives for sources, moved by the difference of the two contexts' control means.

    Such a set is told that no perturbation is to be added: its cells are perturbed. Held-out conditions begin at relatives
    wherever there are some, as they do when they are predicted.

    Parameters
    ----------
    store
        The store of the screen.
    relatives
        Where its perturbations were measured.
    centre
        (number of contexts + 1, D) mean of the controls of each context, and last of an unknown one.
    chance
        Share of the sets that begin at relatives, of those that have some.
    """

    def __init__(
        self, store: Store, relatives: Relatives, centre: NDArray[np.float32], chance: float
    ) -> None:
        self.store, self.sampler = store, store.sampler
        self.relatives, self.centre, self.chance = relatives, torch.from_numpy(centre), chance

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
        draw, moved = self.relatives.draw(conditions, draw, chance, rng)
        batch = self.store.gather(conditions, draw)
        centre = self.centre[conditions.context[draw.index]]
        away = torch.zeros_like(batch.source, device="cpu")
        away[moved] = centre[moved, None] - self.centre[conditions.cell_context[draw.source[moved]]]
        device = batch.source.device
        told = batch.condition | {
            "present": batch.condition["present"] & ~torch.from_numpy(moved)[:, None].to(device),
            "centre": centre.to(device),
        }
        return replace(batch, source=batch.source + away.to(device), condition=told)


def _parts(parts: Ints) -> tuple[int, ...]:
    return tuple(int(part) for part in parts if part >= 0)


def _key(parts: Ints, dose: float) -> tuple[object, ...]:
    return (*_parts(parts), None if np.isnan(dose) else round(float(dose), 6))
