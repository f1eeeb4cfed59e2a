"""Checkpoints: the last state, for resuming, and the best weights on held-out conditions."""

from __future__ import annotations

import io
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from .._logging import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lightning.pytorch as L
    from torch import Tensor

    from ._ema import Ema

LAST, BEST = "last.ckpt", "best.ckpt"
CELLS = "conditions"  # what a checkpoint remembers of the cells that it was made on


class SafeIO(TorchCheckpointIO):
    """Writes checkpoints so that there is always a complete one.

    A new checkpoint is written beside the old one and then replaces it. One that cannot be written,
    because the disk is full, gives a warning, and training goes on.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write the checkpoint, or warn."""
        path = Path(path)
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = io.BytesIO()
            torch.save(checkpoint, whole)
            part.write_bytes(whole.getbuffer())
            part.replace(path)
        except OSError as err:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            kept = "the one before is kept" if path.exists() else "there is none before it"
            logger.warning(
                "the checkpoint %s could not be written (%s); %s and training goes on",
                path,
                err,
                kept,
            )


class Checkpoints(Callback):
    """Saves the state after every validation, and keeps the best weights in memory too.

    It is a plain callback and not Lightning's ``ModelCheckpoint``, because runners with checkpoints
    of their own refuse that one. It has to come after the callbacks whose state it saves.

    Parameters
    ----------
    folder
        Folder of ``last.ckpt``, which holds all that resuming needs, and ``best.ckpt``, the best
        weights.
    io
        Writes the checkpoints.
    ema
        Running average of the weights, or ``None``.
    fixed
        Settings that a resumed run has to share. They are saved to be compared.
    keep_initial
        Whether to keep the weights that training began with, also for a resumed run.
    """

    def __init__(
        self,
        folder: Path,
        io: SafeIO,
        ema: Ema | None,
        fixed: dict[str, int],
        *,
        keep_initial: bool = False,
    ) -> None:
        self.folder, self.io, self.ema, self.fixed = folder, io, ema, fixed
        self.keep_initial = keep_initial
        self.value = float("inf")
        self.best: dict[str, Tensor] | None = None
        self.initial: dict[str, Tensor] | None = None
        self.step = self.best_step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Have every process use the folder of the first."""
        self.folder = Path(trainer.strategy.broadcast(str(self.folder)))
        if self.keep_initial and self.initial is None:
            self.initial = _copied(pl_module.state_dict())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Count the steps."""
        self.step = trainer.global_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the weights if they are the best, and save the state."""
        value = float(trainer.callback_metrics.get("val_energy", float("inf")))
        if value < self.value:
            weights = pl_module.state_dict() if self.ema is None else self.ema.weights(pl_module)
            self.value, self.best, self.best_step = value, _copied(weights), trainer.global_step
            if trainer.is_global_zero:
                content = {
                    "state_dict": self.best,
                    "val_energy": value,
                    "global_step": trainer.global_step,
                }
                self.io.save_checkpoint(content, self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the best weights into the model; without validation it keeps the last ones."""
        self.keep(pl_module)
        trainer.strategy.barrier("best weights")

    def keep(self, pl_module: L.LightningModule) -> None:
        """Put the best weights into the model, if there was a validation."""
        if self.best is not None:
            pl_module.load_state_dict(self.best)

    def written(self, name: str) -> Path | None:
        """Return the path of a checkpoint if there is one."""
        path = self.folder / name
        return path if path.exists() else None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resumed run: best and initial weights, steps and settings."""
        names = ("value", "best", "best_step", "initial", "step", "fixed")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the state of the run that is resumed."""
        for name in ("value", "best", "best_step", "initial", "step"):
            setattr(self, name, state_dict[name])


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: w.detach().cpu().clone() for name, w in weights.items()}


@contextmanager
def folder_for(checkpoint_dir: str | Path | None, resume: str | Path | None) -> Iterator[Path]:
    """Give the folder of the checkpoints.

    It is `checkpoint_dir`, or the folder of the checkpoint `resume`. Without both it is a temporary
    folder, which is deleted after training. It is kept if training breaks off and there is a
    checkpoint in it.
    """
    if checkpoint_dir is not None or resume is not None:
        yield Path(
            checkpoint_dir if checkpoint_dir is not None else Path(str(resume)).parent
        ).absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="shoal-"))
    try:
        yield folder
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        raise
    shutil.rmtree(folder, ignore_errors=True)


def recall(path: Path, callbacks: Sequence[Callback]) -> None:
    """Give callbacks the state from a checkpoint that another process of this run has written."""
    states = torch.load(path, map_location="cpu", weights_only=True)["callbacks"]
    for each in callbacks:
        if each.state_key in states:
            each.load_state_dict(states[each.state_key])


def goes_on(path: Path, fixed: dict[str, int]) -> Path | None:
    """Return a checkpoint if there is one that can be resumed with these settings, or ``None``."""
    try:
        read_resumed(path, fixed)
    except (FileNotFoundError, ValueError):
        return None
    return path


def read_resumed(path: Path, fixed: dict[str, int]) -> tuple[int, int]:
    """Return the numbers of steps and epochs before a checkpoint.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no checkpoint of a training run, or of a run with other settings.
    """
    if not path.is_file():
        msg = (
            f"resume={str(path)!r}: there is no such file; give the {LAST} that a training run "
            "wrote"
        )
        raise FileNotFoundError(msg)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        made_with = content["callbacks"][Checkpoints.__qualname__]["fixed"]
    except (RuntimeError, KeyError, TypeError, EOFError, OSError, ValueError) as err:
        msg = (
            f"resume={str(path)!r} is not the state of a training run; give the {LAST} that one "
            "wrote"
        )
        raise ValueError(msg) from err
    both = [made[CELLS] for made in (made_with, fixed) if CELLS in made]
    if len(set(both)) > 1:
        msg = (
            f"resume={str(path)!r} was made on other training cells: the conditions, or the "
            "numbers of their cells, are not those of this screen. Resume with the screen of the "
            "first run, or begin anew without resume="
        )
        raise ValueError(msg)
    other = [
        f"{name}={made_with.get(name)}, not {value}"
        for name, value in fixed.items()
        if name != CELLS and made_with.get(name) != value
    ]
    if other:
        msg = (
            f"resume={str(path)!r} was made with {'; '.join(other)}; resume with the settings of "
            "the first run"
        )
        raise ValueError(msg)
    return int(content["global_step"]), int(content["epoch"]) + 1
