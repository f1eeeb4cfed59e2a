"""Training of the network of a model, on the sets of a store that the caller makes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from lightning.pytorch import Callback

from ..._random import RNGLike, as_generator
from ..._validate import check_folder, flag, one_of, whole
from ...training import LAST, FitSettings, ResidentStore, SetSampler, StreamedStore
from ...training import fit as fit_module
from ...training._sampler import WEIGHTINGS
from ..space._space import encoded
from ._face import words_of_scvi
from ._sets import conditions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from lightning.pytorch.loggers import Logger
    from numpy.typing import NDArray
    from torch import nn

    from ..._typing import Ints
    from ...core._population import Population
    from ...training import Conditions, FitResult, GraphTerm, Store
    from ..space._space import Space
    from ._vocabulary import Vocabulary

RESIDENT_BYTES = 4 * 2**30  # a larger matrix is streamed unless store= says otherwise
OWN = ("max_steps", "seed", "stop_at")  # of FitSettings, set by train_from itself
SETTINGS = tuple(f.name for f in fields(FitSettings) if f.name not in OWN)
STORES = ("auto", "resident", "streamed")


class Trainable(Protocol):
    """What a model has that can be trained, before and after; see `PerturbationModel`."""

    module: nn.Module
    cells: Population
    vocabulary: Vocabulary
    defaults: dict[str, Any]
    seed: int | None
    is_trained_: bool
    history_: dict[str, pd.DataFrame] | None
    fit_result: Any


@dataclass(frozen=True)
class Phase:
    """What sets one of two trainings of a model apart.

    Attributes
    ----------
    seed
        Seed; drawn from `rng` if ``None``.
    stop_at
        Step to stop at, as of `shoal.training.FitSettings`.
    prefix, keep_initial
        As of `shoal.training.fit`.
    """

    seed: int | None = None
    stop_at: int | None = None
    prefix: str = ""
    keep_initial: bool = False


def train_from(
    model: Trainable,
    max_steps: int | None = None,
    *,
    make_store: Callable[[SetSampler, str], Store],
    validation: Callable[[], Conditions | None],
    set_size: int | None = None,
    batch_conditions: int | None = None,
    weighting: str = "size",
    store: str = "auto",
    checkpoint_dir: str | Path | None = None,
    resume: str | Path | Literal[True] | None = None,
    rng: RNGLike = 0,
    logger: Logger | Sequence[Logger] | None = None,
    callbacks: Sequence[Callback] = (),
    enable_progress_bar: bool | None = None,
    phase: Phase | None = None,
    graph: GraphTerm | None = None,
    **settings: Any,
) -> FitResult:
    """Train the network of a model on the sets of a store, whatever they hold.

    `PerturbationModel.train` gives the store of the screen's conditions; a reflow gives one of
    pairs, and a pretraining one of unlabelled cells.

    Parameters
    ----------
    model
        Model whose network is trained.
    make_store
        Returns the store to train from. It is given the sampler of the training conditions,
        and `store`.
    validation
        Returns the held-out conditions to judge the network on, or ``None``.
    max_steps, set_size, batch_conditions, weighting, store, checkpoint_dir, resume, rng
        As of `PerturbationModel.train`.
    logger, callbacks, enable_progress_bar
        As of `PerturbationModel.train`.
    phase
        What sets one of two trainings of a model apart; ``None`` for a training by itself.
    graph
        What a graph of perturbations adds to the loss.
    **settings
        As of `PerturbationModel.train`.

    Returns
    -------
    What `shoal.training.fit` returns.
    """
    one_of(store, STORES, name="store")
    given = {"max_steps": max_steps, "set_size": set_size, "batch_conditions": batch_conditions}
    chosen = {**model.defaults, **{k: v for k, v in given.items() if v is not None}}
    sizes = {k: chosen.pop(k) for k in ("set_size", "batch_conditions") if k in chosen}
    odd = [name for name in settings if name not in SETTINGS]
    if odd:
        raise TypeError(_odd(model, odd[0], settings[odd[0]], sizes))
    resume = resumed_from(resume, checkpoint_dir)
    if phase is None:
        phase = Phase()
    if phase.seed is not None:
        model.seed = phase.seed
    elif resume is None or model.seed is None:
        model.seed = int(as_generator(rng).integers(2**31))
    conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
    sampler = SetSampler(conditions, seed=model.seed, weighting=weighting, **sizes)
    try:
        result = fit_module(
            model.module,
            make_store(sampler, store),
            validation=validation(),
            settings=FitSettings(**{**chosen, **settings}, seed=model.seed, stop_at=phase.stop_at),
            checkpoint_dir=checkpoint_dir,
            resume=resume,
            logger=logger,
            callbacks=callbacks,
            enable_progress_bar=enable_progress_bar,
            prefix=phase.prefix,
            keep_initial=phase.keep_initial,
            graph=graph,
        )
    except KeyboardInterrupt:
        model.is_trained_ = True  # the weights there are can be used
        raise
    model.is_trained_ = True
    model.history_ = {name: result.history[[name]].dropna() for name in result.history}
    model.fit_result = result
    return result


def _odd(model: Trainable, name: str, value: Any, sizes: dict[str, Any]) -> str:
    """Return what is wrong with a setting that training does not have."""
    defaults = {n: p.default for n, p in signature(SetSampler).parameters.items()}
    n_step = int(np.prod([sizes.get(n, defaults[n]) for n in ("set_size", "batch_conditions")]))
    n_cells = int(model.cells.train.sum())
    here = words_of_scvi(name, value, n_cells=n_cells, n_step=n_step)
    if here:
        return f"training has no setting {name!r} of scvi-tools: {here}"
    if name in _of_model(model):
        return (
            f"training has no setting {name!r}: it is one of the model, and sh.tl.fit takes it as "
            f"config={{{name!r}: ...}}"
        )
    return f"training has no setting {name!r}; beside its own arguments it takes " + ", ".join(
        SETTINGS
    )


def check_settings(given: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless some settings of training make sense."""
    known = {name: value for name, value in given.items() if value is not None}
    FitSettings(**{name: known[name] for name in ("max_steps", *SETTINGS) if name in known})
    for name in known.keys() & {"set_size", "batch_conditions"}:
        whole(known[name], name=name)
    for name, choices in {"weighting": WEIGHTINGS, "store": STORES}.items():
        if name in known:
            one_of(known[name], choices, name=name)


def check_surroundings(checkpoint_dir: Any, enable_progress_bar: Any, callbacks: Any) -> None:
    """Raise ``TypeError`` unless these arguments of a training are of their kinds."""
    check_folder(checkpoint_dir, name="checkpoint_dir")
    if enable_progress_bar is not None:
        flag(enable_progress_bar, name="enable_progress_bar")
    listed = isinstance(callbacks, (list, tuple))
    odd = [each for each in callbacks if not isinstance(each, Callback)] if listed else [callbacks]
    if odd:
        msg = f"callbacks is a list of those of Lightning, and {odd[0]!r:.60} is none"
        raise TypeError(msg)


def _of_model(model: Trainable) -> set[str]:
    """Return what the constructor of a model takes, settings in groups too."""
    settings = getattr(model, "settings", None)
    groups = asdict(settings).values() if is_dataclass(settings) else ()
    inside = {name for group in groups if isinstance(group, dict) for name in group}
    return inside | set(signature(type(model).__init__).parameters)


def resumed_from(
    resume: str | Path | Literal[True] | None, checkpoint_dir: str | Path | None
) -> Path | None:
    """Return the checkpoint that training goes on from, ``None`` for none.

    Raises
    ------
    ValueError
        If `resume` is ``True`` and there is no `checkpoint_dir`.
    """
    if resume is not True:
        return None if resume is None else Path(resume)
    if checkpoint_dir is None:
        msg = "resume=True goes on from the last checkpoint of checkpoint_dir=, which was not given"
        raise ValueError(msg)
    return Path(checkpoint_dir) / LAST


def cell_store(cells: Population, space: Space, sampler: SetSampler, store: str) -> Store:
    """Return a store of the cells of a population, in the space of a network.

    Parameters
    ----------
    cells
        Population.
    space
        Space of the network.
    sampler
        What the store draws.
    store
        ``"resident"``, ``"streamed"`` or ``"auto"``, as of `PerturbationModel.train`.
    """
    n_bytes = 4 * cells.rows.shape[0] * space.n_dims
    if store == "streamed" or (store == "auto" and n_bytes > RESIDENT_BYTES):
        return StreamedStore(partial(_read, cells, space), sampler)
    return ResidentStore(encoded(cells.rows, space), sampler)


def _read(cells: Population, space: Space, rows: Ints) -> NDArray[np.float32]:
    """Return (n, n_dims) cells at sorted rows, in the space of the network."""
    return space.encode(cells.rows.take(rows))
