"""Reflow: the pairs of start and end that a trained flow makes, and the store from which the next one trains on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...core._controls import shuffled
from ...training._batch import assemble
from ...training._store import check_finite, take
from ..base._predictor import Wanted
from ..base._sets import conditions_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..._typing import Ints
    from ...core._population import Population
    from ...training import Conditions, SetBatch, SetSampler, Store
    from ...training._sampler import Draw
    from ..base._vocabulary import Vocabulary


@dataclass(frozen=True)
class Pairs:
    """Where cells of each training condition begin, and where a flow carries them.

    Attributes
    ----------
    conditions
        The conditions of training, over the N pairs instead of cells.
    start, end
        (N, D) each.
    centre
        (C, D) mean of the controls that the flow was told of each condition.
    """

    conditions: Conditions
    start: Tensor
    end: Tensor
    centre: Tensor


def starts(
    cells: Population, vocabulary: Vocabulary, n_pairs: int, rng: np.random.Generator
) -> tuple[Conditions, Wanted]:
    """Draw `n_pairs` controls for each condition of training, of the batches that its cells are of.

    Returns the conditions over the pairs, which come one condition after the other, and the request for their ends.
    """
    told = conditions_of(cells, cells.train, vocabulary)
    like = np.concatenate([shuffled(own, n_pairs, rng)[0] for own in told.cells])
    source, _ = told.controls.draw(told.cell_context[like], told.cell_batch[like], rng)
    wanted = Wanted(
        names=tuple(cells.names),
        perturbation=cells.labels.code[like],
        context=cells.context[like],
        batch=cells.batch[like],
        dose=cells.dose[like],
        source=source,
    )
    pairs = np.arange(len(like))
    over_pairs = replace(
        told,
        cells=tuple(pairs.reshape(len(told), n_pairs)),
        control=pairs,  # a sampler wants controls; those that it draws are not used
        cell_context=np.zeros_like(pairs),
        cell_batch=told.cell_batch[like],
    )
    return over_pairs, wanted


def repeated(conditions: Conditions, again: Ints) -> Conditions:
    """Return conditions over pairs, and once more those numbered `again`, over pairs of their own and told no perturbation."""
    own = conditions.subset(again)
    n, batch = (
        conditions.n_obs,
        np.concatenate([conditions.cell_batch[cells] for cells in own.cells]),
    )
    starts = n + np.cumsum([0, *own.sizes[:-1]])
    every = np.arange(n + len(batch))
    return replace(
        conditions,
        names=conditions.names + own.names,
        parts=np.concatenate([conditions.parts, np.full_like(own.parts, -1)]),
        context=np.concatenate([conditions.context, own.context]),
        dose=np.concatenate([conditions.dose, own.dose]),
        cells=conditions.cells
        + tuple(np.arange(i, i + size) for i, size in zip(starts, own.sizes, strict=True)),
        control=every,
        cell_context=np.zeros_like(every),
        cell_batch=np.concatenate([conditions.cell_batch, batch]),
    )


class PairStore:
    """Trains on pairs as they are, slot by slot a start and its end; held-out conditions are of real cells.

    Parameters
    ----------
    pairs
        Pairs, kept on the training device while training lasts.
    cells
        Store of the screen, for held-out conditions.
    sampler
        The sampler of that store, whose sizes and seed are taken.
    """

    def __init__(self, pairs: Pairs, cells: Store, sampler: SetSampler) -> None:
        check_finite(pairs.end, np.arange(len(pairs.end)))
        self.sampler = sampler.over(pairs.conditions)
        self.cells, self._kept = cells, (pairs.start, pairs.end, pairs.centre)
        self._here = self._kept

    def batch(self, step: int, rank: int = 0, world: int = 1) -> SetBatch:
        """Return the pairs that process `rank` of `world` trains on at a step, and the centres they were made with."""
        draw = self.sampler.draw(step, rank, world)
        start, end, centre = self._here
        values = torch.stack([take(start, draw.target), take(end, draw.target)])
        batch = assemble(self.sampler.conditions, draw, values)
        condition = {
            **batch.condition,
            "centre": centre[torch.from_numpy(draw.index).to(centre.device)],
        }
        return replace(batch, source_weight=batch.weight, condition=condition)

    def gather(self, conditions: Conditions, draw: Draw) -> SetBatch:
        """Return the real cells of a draw."""
        return self.cells.gather(conditions, draw)

    def to(self, device: torch.device | str) -> None:
        """Copy the pairs, and what the store of cells keeps, to a device."""
        self.cells.to(device)
        self._here = tuple(values.to(device) for values in self._kept)

    def close(self) -> None:
        """Free what is on the device."""
        self.cells.close()
        self._here = self._kept
