"""The Lightning module: a step of training, the optimizer, and validation."""

from __future__ import annotations

from contextlib import contextmanager
from math import cos, isfinite, pi
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import numpy as np
import torch

from .._logging import logger
from ..metrics import energy_distance
from ._conditions import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from ._batch import SetBatch
    from ._graph import GraphTerm
    from ._settings import FitSettings


class Plan(L.LightningModule):
    """Trains a network.

    Parameters
    ----------
    module
        Network with the methods ``loss(batch, generator)`` and ``sample(source, condition,
        batch_index, generator=)``.
    settings
        Settings of training.
    names
        Names of the training conditions, for messages.
    held_out
        Names of the held-out conditions, for messages.
    prefix
        Text before the names of what is logged.
    graph
        What a graph of perturbations adds to the loss; recorded as ``"graph"``.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: FitSettings,
        names: tuple[str, ...],
        held_out: tuple[str, ...] = (),
        *,
        prefix: str = "",
        graph: GraphTerm | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.module, self.settings, self.names, self.held_out = module, settings, names, held_out
        self.prefix = prefix
        self.record: dict[str, Tensor] = {}
        self._batch: SetBatch | None = None
        self._energies: list[float] = []

    def training_step(self, batch: SetBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; everything random depends on the seed and the step."""
        generator = generator_of(
            self.device, self.settings.seed, 0, self.global_step, self.global_rank
        )
        with layers_seeded_by(generator):
            entries = self.module.loss(batch, generator)
        if self.graph is not None:
            own = generator_of(self.device, self.settings.seed, 2, self.global_step)
            value = self.graph(self.module, own)
            loss = entries["loss"] + self.graph.strength * value
            entries = {**entries, "loss": loss, "graph": value}
        self.record = {f"train_{name}": value.detach() for name, value in entries.items()}
        self._batch = batch
        if (
            self.global_step + 1
        ) % self.settings.log_every == 0:  # Lightning's logging costs as much as a small step
            named = {f"{self.prefix}{name}": value for name, value in self.record.items()}
            self.log_dict(named, batch_size=len(batch))
        return entries["loss"]

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient, and stop before a loss or gradient that is not finite is used.

        The gradients of all devices have been added by then, so that all devices stop.
        """
        clip = self.settings.gradient_clip or float("inf")
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if norm > clip:  # else each of them would be multiplied by 1
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), clip, norm)
        self.record["grad_norm"] = norm.detach()
        loss = self.record["train_loss"]
        scaled = (
            getattr(self.trainer.precision_plugin, "scaler", None) is not None
        )  # float16 skips such steps itself
        if not isfinite(loss) or not (scaled or isfinite(norm)):
            raise FloatingPointError(self._what_went_wrong(float(loss)))

    def _what_went_wrong(self, loss: float) -> str:
        index = self._batch.index.tolist()
        names = [self.names[i] for i in index]
        what = (
            f"the loss is {loss}"
            if not isfinite(loss)
            else "the loss is finite, its gradient is not,"
        )
        return (
            f"{what} at step {self.global_step}, on the conditions {listed(names, len(names))}. No "
            "weight was changed by this step. Try a smaller lr, a smaller gradient_clip, or values "
            "of a smaller scale"
        )

    def configure_optimizers(self) -> dict[str, Any]:
        """Return AdamW, with a learning rate that rises linearly and falls to 0 as a cosine."""
        s = self.settings
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": s.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = not s.precision.startswith(
            "16"
        )  # its own scaling of gradients would not let them be clipped
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=s.lr, fused=fused)
        rise = int(s.warmup * s.max_steps)

        def rate(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.5 * (1 + cos(pi * min(1.0, (step - rise) / (s.max_steps - rise))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def validation_step(self, batch: SetBatch, batch_idx: int) -> None:
        """Generate the cells of held-out conditions, and measure their distance to real cells."""
        generator = generator_of(self.device, self.settings.seed, 1, batch_idx)
        made = self.module.sample(
            batch.source, batch.condition, batch.batch_index, generator=generator
        ).float()
        for k in range(len(batch)):
            x = made[k][batch.source_weight[k] > 0]
            y = batch.target[k][batch.weight[k] > 0]
            if len(x) < 2:
                x = made[k]
            x, y = (cells.flatten(1).cpu().numpy() for cells in (x, y))
            finite = bool(np.isfinite(x).all())
            if not finite:
                name = self.held_out[int(batch.index[k])]
                logger.warning(
                    "cells generated for %r at step %d are not finite", name, self.global_step
                )
            self._energies.append(energy_distance(x, y) if finite else float("inf"))

    def on_validation_epoch_end(self) -> None:
        """Log the mean energy distance; all processes have measured the same conditions."""
        mean = float(np.mean(self._energies))
        self._energies.clear()
        self.log("val_energy", mean, sync_dist=True)


@contextmanager
def layers_seeded_by(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global state, which layers such as ``nn.Dropout`` draw from, for a while."""
    device = generator.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator.initial_seed())
        yield


def generator_of(device: torch.device, *key: int) -> torch.Generator:
    """Return a generator seeded by whole numbers."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(seed)
