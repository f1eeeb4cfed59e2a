"""Reflow: a second flow trained on the pairs of start and end that a first flow makes."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ..._random import RNGLike, spawn
from ..._validate import whole
from ...core._controls import shuffled
from ...training._batch import assemble
from ...training._store import check_finite, take
from ..base._requests import request_like
from ..base._sets import conditions_of, held_out, run_in_sets
from ..base._training import cell_store, train_from
from ._module import REFLOWED

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..._typing import Ints
    from ...training import Conditions, SetBatch, SetSampler, Store
    from ...training._sampler import Draw
    from ..base._preset_model import PresetModel
    from ..base._requests import PredictionRequest
    from ..base._sets import RequestedSets

Model = TypeVar("Model", bound="PresetModel")


def reflow(
    model: Model,
    max_steps: int | None = None,
    *,
    n_pairs: int = 256,
    n_steps: int = 100,
    rng: RNGLike = 0,
    **settings: Any,
) -> Model:
    """Train a copy on the pairs that this flow makes: straighter paths, followed in few steps.

    This is rectified flow. Control cells of the contexts and batches of each training condition are
    carried to where this flow takes them, and so are the cells of other contexts that predictions
    start from. The copy starts with the trained weights and learns to go there straight. It
    predicts, is saved and is loaded as any flow, in 4 steps unless told otherwise, and may be
    reflowed again. This flow stays as it is.

    Parameters
    ----------
    max_steps
        Steps of the optimizer; half of those of a flow if ``None``.
    n_pairs
        Pairs of each condition.
    n_steps
        Steps in which the pairs are made, with Heun's method. They should be accurate.
    rng
        Seed or generator of the pairs, the batches and the noise.
    **settings
        Passed to shoal.models.Flow.train. ``lr`` is half of a flow's unless given. With
        `checkpoint_dir`, the same call with ``resume=True`` goes on after an interruption.

    Returns
    -------
    The new model. Guidance is built into its pairs: it takes no ``guidance`` of its own.

    Raises
    ------
    ValueError
        If the model is not trained, or is a flow with noise on the way (``gamma``), whose pairs are
        not those of straight paths.
    TypeError
        If a setting is not known.

    References
    ----------
    liu2023flow
    """
    model._check_trained()
    n_pairs = whole(n_pairs, name="n_pairs")
    of_pairs, of_training = spawn(rng, 2)
    flow = copy(model)
    flow.module, flow.config = model.module.reflowed(), model._changed_config(**REFLOWED)
    flow.is_trained_, flow.seed, flow.history_ = False, None, None
    pairs = make_pairs(model, n_pairs, n_steps=n_steps, rng=of_pairs)
    train_from(
        flow,
        model.defaults["max_steps"] // 2 if max_steps is None else max_steps,
        make_store=partial(_pair_store, flow, pairs),
        validation=lambda: None if flow.refitted else held_out(flow.cells, flow.vocabulary),
        rng=of_training,
        **{"lr": model.defaults["lr"] / 2, **settings},
    )
    return flow


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
        (C, D) mean of the control cells that the flow was given for each condition.
    """

    conditions: Conditions
    start: Tensor
    end: Tensor
    centre: Tensor


def make_pairs(
    model: PresetModel, n_pairs: int, *, n_steps: int, rng: np.random.Generator
) -> Pairs:
    """Carry `n_pairs` starting cells of each training condition along a flow, in `n_steps` steps.

    Conditions whose predictions start at cells of other contexts come twice: once from control
    cells, and once from those cells, without a perturbation.
    """
    cells = model.cells
    conditions, request = _from_controls(model, n_pairs, rng)
    unique, back = np.unique(request.source, return_inverse=True)
    generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**62)))
    ends = partial(_ends, model, n_steps=n_steps, generator=generator)
    start = model.space.encode(cells.rows.take(unique))[back]
    pairs = [ends(start, request, perturbed=False)]
    moved = model.start.elsewhere(request, cells, rng)
    if moved is not None:
        start, part = model.space.encode(moved.values), request.take(moved.rows)
        pairs.append(ends(start, part, perturbed=True))
        conditions = _with_repeats(conditions, np.unique(moved.rows // n_pairs))
    start, end, centre = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Pairs(conditions, start, end, centre[::n_pairs])


def _from_controls(
    model: PresetModel, n_pairs: int, rng: np.random.Generator
) -> tuple[Conditions, PredictionRequest]:
    """Draw `n_pairs` control cells for each training condition, of the batches of its cells.

    Returns
    -------
    The conditions over the pairs, which come condition after condition, and the request for their
    ends.
    """
    cells = model.cells
    trained = conditions_of(cells, model.trained_cells, model.vocabulary)
    like = np.concatenate([shuffled(some, n_pairs, rng)[0] for some in trained.cells])
    where = (trained.cell_context[like], trained.cell_batch[like])
    source, _ = trained.controls.draw(*where, rng)
    pairs = np.arange(len(like))
    over_pairs = replace(
        trained,
        cells=tuple(pairs.reshape(len(trained), n_pairs)),
        control=pairs,  # a sampler requires controls; those that it draws are not used
        cell_context=np.zeros_like(pairs),
        cell_batch=trained.cell_batch[like],
    )
    return over_pairs, request_like(cells, like, source)


def _with_repeats(conditions: Conditions, index: Ints) -> Conditions:
    """Return conditions over pairs, and those numbered `index` once more without a perturbation.

    The repeated conditions have pairs of their own, which come after all others.
    """
    again = conditions.subset(index)
    n = conditions.n_obs
    batch = np.concatenate([conditions.cell_batch[pairs] for pairs in again.cells])
    first = n + np.cumsum([0, *again.sizes[:-1]])
    every = np.arange(n + len(batch))
    more = tuple(np.arange(i, i + size) for i, size in zip(first, again.sizes, strict=True))
    return replace(
        conditions,
        names=conditions.names + again.names,
        parts=np.concatenate([conditions.parts, np.full_like(again.parts, -1)]),
        context=np.concatenate([conditions.context, again.context]),
        dose=np.concatenate([conditions.dose, again.dose]),
        cells=conditions.cells + more,
        control=every,
        cell_context=np.zeros_like(every),
        cell_batch=np.concatenate([conditions.cell_batch, batch]),
    )


def _ends(
    model: PresetModel,
    start: NDArray[np.float32],
    request: PredictionRequest,
    *,
    perturbed: bool,
    n_steps: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the flow begins, where it ends, and its control means, (n, n_dims) each."""

    def network(x: Tensor, sets: RequestedSets) -> tuple[Tensor, Tensor]:
        where = (sets.condition, sets.batch_index)
        return model.module.pairs(x, *where, generator=generator, n_steps=n_steps)

    sets = model._sets(request, model.cells, perturbed=perturbed)
    begin, end = run_in_sets(network, start, sets)
    return begin, end, torch.from_numpy(model._centres(request.context, model.cells))


def _pair_store(model: PresetModel, pairs: Pairs, sampler: SetSampler, store: str) -> PairStore:
    """Return the store of pairs; held-out conditions come from the store of the screen."""
    cells = cell_store(model.cells, model.space, sampler, store)
    return PairStore(pairs, model.start.training_store(cells), sampler)


class PairStore:
    """Trains on pairs as they are, slot by slot a start and its end.

    Held-out conditions are of real cells.

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
        """Return the pairs that process `rank` of `world` trains on at a step."""
        draw = self.sampler.draw(step, rank, world)
        start, end, centre = self._here
        values = torch.stack([take(start, draw.target), take(end, draw.target)])
        batch = assemble(self.sampler.conditions, draw, values)
        index = torch.from_numpy(draw.index).to(centre.device)
        condition = {**batch.condition, "centre": centre[index]}
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
