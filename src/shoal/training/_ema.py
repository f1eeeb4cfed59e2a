"""The running average of the weights: Lightning's callback with a decay that starts small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import WeightAveraging

if TYPE_CHECKING:
    import lightning.pytorch as L
    from torch import Tensor


class Ema(WeightAveraging):
    """Keeps an exponential average of the weights.

    The average is validated and saved, and the model has it at the end. At step n the decay is
    ``min(decay, (1 + n) / (10 + n))``. With a fixed decay of 0.999, a third of the average would
    still be the initial weights after a thousand steps.

    Parameters
    ----------
    decay
        Largest decay.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=self._average)
        self.decay = decay
        self._swapped = False

    @torch.no_grad()
    def _average(self, averages: list[Tensor], current: list[Tensor], n_averaged: Any) -> None:
        n = self._latest_update_step
        torch._foreach_lerp_(averages, current, 1 - min(self.decay, (1 + n) / (10 + n)))

    def _swap_models(self, pl_module: L.LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Put the average into the model when training breaks off."""
        self.keep(pl_module)

    def keep(self, pl_module: L.LightningModule) -> None:
        """Put the average into the model, unless it is there already."""
        if self._average_model is not None and not self._swapped:
            self._copy_average_to_current(pl_module)

    def weights(self, pl_module: L.LightningModule) -> dict[str, Tensor]:
        """Return the average as a state of the model."""
        return (
            pl_module if self._average_model is None else self._average_model.module
        ).state_dict()
