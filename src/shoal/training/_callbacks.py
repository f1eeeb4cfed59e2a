"""The history of a training run, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from .._logging import bar

if TYPE_CHECKING:
    import lightning.pytorch as L
    import pandas as pd


class History(Callback):
    """Records the losses of some steps and every validation, also across a resumed run.

    Parameters
    ----------
    every
        Steps between two records.
    prefix
        Text before the names of all records.
    """

    def __init__(self, every: int, prefix: str = "") -> None:
        self.every, self.prefix = every, prefix
        self.rows: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Record the losses of the step."""
        step = trainer.global_step
        if step % self.every == 0 or step == 1:
            self._add(step, {name: float(value) for name, value in pl_module.record.items()})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record the validation."""
        self._add(
            trainer.global_step, {"val_energy": float(trainer.callback_metrics["val_energy"])}
        )

    def _add(self, step: int, values: dict[str, float]) -> None:
        named = {f"{self.prefix}{name}": value for name, value in values.items()}
        self.rows[step] = {**self.rows.get(step, {}), **named}

    def state_dict(self) -> dict[str, Any]:
        """Return the records."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the records of the run that is resumed."""
        self.rows = dict(state_dict["rows"])

    def table(self) -> pd.DataFrame:
        """Return the records, a row for each step that has one."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.rows, orient="index").rename_axis("step").sort_index()


class Progress(Callback):
    """Shows how far training is, with the loss and the last validation beside it.

    Parameters
    ----------
    max_steps
        Steps of the whole training.
    desc
        What is trained.
    show
        ``True`` for a bar, ``False`` for nothing; ``None`` is as of `shoal._logging.bar`.
    """

    def __init__(self, max_steps: int, *, desc: str = "training", show: bool | None = None) -> None:
        self.max_steps, self.desc, self.show = max_steps, desc, show
        self._bar: Any = None
        self._beside: dict[str, str] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count."""
        if trainer.is_global_zero:
            self._bar = bar(
                self.max_steps,
                desc=self.desc,
                unit="steps",
                initial=trainer.global_step,
                hint="max_steps= takes fewer",
                show=self.show,
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Count a step; the loss is read at every tenth step."""
        if self._bar is not None:
            if trainer.global_step % 10 == 0:
                self._beside["loss"] = f"{float(pl_module.record['train_loss']):.4g}"
                self._bar.set_postfix(self._beside, refresh=False)
            self._bar.update()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the validation beside the steps."""
        self._beside["val_energy"] = f"{float(trainer.callback_metrics['val_energy']):.4g}"
        if self._bar is not None:
            self._bar.set_postfix(self._beside)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Say that training is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
