"""Train a network from a store: steps, validation, checkpoints, and errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from .._logging import logger as log
from ._callbacks import History, Progress
from ._checkpoints import BEST, CELLS, LAST, Checkpoints, SafeIO, folder_for, read_resumed, recall
from ._data import SetData
from ._ema import Ema
from ._plan import Plan
from ._settings import FitSettings
from ._trouble import explained, quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from lightning.pytorch.callbacks import Callback
    from torch import Tensor, nn

    from ._conditions import Conditions
    from ._graph import GraphTerm
    from ._store import Store


@dataclass(frozen=True)
class FitResult:
    """The history, the checkpoints and the end of a training run.

    Attributes
    ----------
    history
        Table with the index ``step``. Columns are ``train_loss`` and the other entries of the loss,
        ``grad_norm`` and ``val_energy``.
    best
        Checkpoint of the best weights, or ``None`` if there is none.
    last
        Checkpoint of the last state, or ``None`` if there is none.
    stopped_early
        Whether training stopped for lack of progress.
    steps
        Number of steps, with those before a resumed run.
    val_energy
        Best mean energy distance on the held-out conditions; infinite without validation.
    settings
        Settings of the run.
    best_step
        Step of the best weights; 0 without validation.
    initial
        Weights that training began with, by name, if they were to be kept.
    """

    history: pd.DataFrame
    best: Path | None
    last: Path | None
    stopped_early: bool
    steps: int
    val_energy: float
    settings: FitSettings
    best_step: int = 0
    initial: dict[str, Tensor] | None = None


def fit(
    module: nn.Module,
    store: Store,
    *,
    validation: Conditions | None = None,
    settings: FitSettings | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: str | Path | None = None,
    logger: Any = None,
    callbacks: Sequence[Callback] = (),
    enable_progress_bar: bool | None = None,
    prefix: str = "",
    keep_initial: bool = False,
    graph: GraphTerm | None = None,
    run: Callable[[L.LightningModule, L.LightningDataModule, dict[str, Any], str | None], object]
    | None = None,
) -> FitResult:
    """Train a network in place.

    The network ends in eval mode, with the best weights on the held-out conditions. Without
    validation it has the last weights. With ``settings.ema`` these are running averages.

    Parameters
    ----------
    module
        Network with the methods ``loss(batch, generator)`` and ``sample(source, condition,
        batch_index, generator=)``.
    store
        Gives the batches.
    validation
        Held-out conditions over the cells of the store.
    settings
        Settings of training.
    checkpoint_dir
        Folder of the checkpoints. Without it they are in a temporary folder, which is deleted at
        the end, and kept if training breaks off.
    resume
        The ``last.ckpt`` of a run with these settings; `max_steps` may be larger than it was.
    logger
        One or several loggers of Lightning.
    callbacks
        Further callbacks of Lightning.
    enable_progress_bar
        ``True`` for a bar, ``False`` for nothing. ``None`` shows a bar on a terminal and a line
        every few seconds elsewhere, unless ``settings.progress`` says otherwise.
    prefix
        Text before the names of all records, in the history and in what is logged.
    keep_initial
        Whether the result holds the weights that training began with, also after a resumed run.
    graph
        What a graph of perturbations adds to the loss.
    run
        Function that trains. Its arguments are the Lightning module, the data module, keyword
        arguments for a Trainer, and the path to resume from. ``None`` uses a plain Trainer.

    Returns
    -------
    History, checkpoints, and how training ended.

    Raises
    ------
    KeyboardInterrupt
        If it was interrupted.
    SystemExit
        If the process got SIGTERM, with status 143; the checkpoint is logged.
    FloatingPointError
        If a loss or gradient was not finite. The message names the last checkpoint, as that of
        KeyboardInterrupt and of MemoryError does.
    MemoryError
        If memory ran out.
    ValueError
        If the settings, the checkpoint or the held-out conditions do not fit.
    FileNotFoundError
        If there is no checkpoint to resume from.
    """
    settings = settings or FitSettings()
    conditions, data = store.sampler.conditions, SetData(store, settings, validation)
    fixed = settings.fixed | {CELLS: conditions.fingerprint}
    done, epochs = (0, 0) if resume is None else read_resumed(Path(resume), fixed)
    held_out = () if data.validation is None else data.validation.names
    plan = Plan(module, settings, conditions.names, held_out, prefix=prefix, graph=graph)
    for note in conditions.notes(store.sampler.set_size):
        log.warning(note)

    with folder_for(checkpoint_dir, resume) as folder:
        ema, io, history = (
            Ema(settings.ema) if settings.ema else None,
            SafeIO(),
            History(settings.log_every, prefix),
        )
        early = EarlyStopping(
            "val_energy",
            patience=settings.patience or 1,
            check_finite=False,
            check_on_train_epoch_end=False,  # before the checkpoint, which saves the count
        )
        shown = Progress(
            settings.last_step, desc=prefix.rstrip("_") or "training", show=enable_progress_bar
        )
        checkpoints = Checkpoints(folder, io, ema, fixed, keep_initial=keep_initial)
        stopping = early if settings.patience and held_out else None
        used = (
            ema,
            *callbacks,
            stopping,
            history,
            shown,
            checkpoints,
        )
        arguments = _trainer_arguments(settings) | {
            "callbacks": [each for each in used if each is not None],
            "plugins": [io],
            "max_epochs": epochs - (done - settings.last_step) // settings.val_every,
            "limit_val_batches": 1.0 if held_out else 0,
        }
        if logger is not None:
            arguments["logger"] = logger
        module.train()
        try:
            with explained(lambda: _how_to_resume(checkpoints)), quiet():
                (run or _plain)(plan, data, arguments, None if resume is None else str(resume))
        finally:
            store.close()
            module.eval()
        last = checkpoints.written(LAST)
        if not checkpoints.step and last:  # other processes have trained, as with "ddp_fork"
            recall(last, (history, early, checkpoints))
        if ema is not None:  # a finished run that is resumed takes no step, which would do this
            ema.keep(plan)
        checkpoints.keep(plan)
    temporary = checkpoint_dir is None and resume is None
    return FitResult(
        history=history.table(),
        best=None if temporary else checkpoints.written(BEST),
        last=None if temporary else checkpoints.written(LAST),
        stopped_early=early.stopped_epoch > 0,
        steps=checkpoints.step,
        val_energy=checkpoints.value,
        settings=settings,
        best_step=checkpoints.best_step,
        initial=_of_module(checkpoints.initial),
    )


def _of_module(weights: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
    """Return the weights of a Plan under their names in its network."""
    if weights is None:
        return None
    return {name.removeprefix("module."): value for name, value in weights.items()}


def _trainer_arguments(settings: FitSettings) -> dict[str, Any]:
    """Return the arguments of a Trainer, except for the callbacks and the number of steps."""
    return {
        "accelerator": settings.accelerator,
        "devices": settings.devices,
        "strategy": settings.strategy,
        "precision": _precision(settings),
        "check_val_every_n_epoch": 1,
        "reload_dataloaders_every_n_epochs": 1,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": settings.log_every,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "inference_mode": False,  # some networks need gradients to generate cells
    }


def _plain(
    plan: L.LightningModule,
    data: L.LightningDataModule,
    arguments: dict[str, Any],
    path: str | None,
) -> None:
    """Fit with a plain Trainer of Lightning, which by default does not log."""
    L.Trainer(**{"logger": False, **arguments}).fit(plan, datamodule=data, ckpt_path=path)


def _precision(settings: FitSettings) -> str:
    if settings.precision != "auto":
        return settings.precision
    on_gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def _how_to_resume(checkpoints: Checkpoints) -> str:
    last = checkpoints.written(LAST)
    if last is None:
        return "There is no checkpoint yet; the first is written after val_every steps"
    return f"The last good checkpoint is {last}; pass resume={str(last)!r} to go on from there"
