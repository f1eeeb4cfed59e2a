"""Settings of a training run: numbers only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._validate import between, positive, whole


@dataclass(frozen=True)
class FitSettings:
    """Settings of a training run.

    Attributes
    ----------
    max_steps
        Number of steps of the optimizer.
    stop_at
        Step to stop at, before the learning rate has fallen to 0 at `max_steps`; ``None`` for all
        steps.
    lr
        Highest learning rate of AdamW.
    weight_decay
        Weight decay of AdamW, of matrices only. Biases and gains do not decay.
    warmup
        Share of the steps in which the learning rate rises from 0. It then falls to 0 as a cosine.
    gradient_clip
        Largest norm of the gradient, or ``None``.
    ema
        Decay of a running average of the weights, or ``None``. The average is validated and kept.
        At step n the decay is (1 + n) / (10 + n) at most, so that the initial weights are forgotten
        quickly.
    precision
        A name of Lightning's, or ``"auto"``: bfloat16 where a GPU has it, else float32.
    val_every
        Steps between two validations, and between two checkpoints.
    val_cells
        Most cells that are generated of a held-out condition.
    val_conditions
        Most held-out conditions that are generated.
    patience
        Validations without improvement after which training stops, or ``None``.
    seed
        Seed of everything random.
    accelerator, devices, strategy
        Arguments of Lightning's Trainer. ``strategy="ddp"`` divides the conditions of a step among
        the devices.
    log_every
        Steps between two records of the loss.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    max_steps: int = 2000
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    gradient_clip: float | None = 1.0
    ema: float | None = 0.999
    precision: str = "auto"
    val_every: int = 100
    val_cells: int = 256
    val_conditions: int = 32
    patience: int | None = None
    seed: int = 0
    accelerator: str = "auto"
    devices: int | list[int] | str = 1
    strategy: str = "auto"
    log_every: int = 10
    stop_at: int | None = None

    @property
    def last_step(self) -> int:
        """The step at which training ends."""
        return self.max_steps if self.stop_at is None else min(self.stop_at, self.max_steps)

    @property
    def fixed(self) -> dict[str, int]:
        """Settings that a resumed run has to share."""
        cut = {} if self.stop_at is None else {"max_steps": self.max_steps, "stop_at": self.stop_at}
        return {"seed": self.seed, "val_every": self.val_every, **cut}

    def __post_init__(self) -> None:
        for check, names in (
            (positive, ("lr", "gradient_clip")),
            (
                whole,
                ("max_steps", "stop_at", "val_every", "val_conditions", "log_every", "patience"),
            ),
        ):
            for name in names:
                if getattr(self, name) is not None:
                    check(getattr(self, name), name=name)
        if self.val_cells < 2:
            msg = f"val_cells={self.val_cells}: the energy distance takes at least 2 cells"
            raise ValueError(msg)
        between(self.weight_decay, 0, np.inf, name="weight_decay", ends=True)
        whole(self.seed, name="seed", least=0)
        for name in ("warmup", "ema"):
            share = 0 if getattr(self, name) is None else getattr(self, name)
            between(share, 0, 1, name=name, ends=True)
            if share == 1:
                msg = f"{name}=1 must be below 1"
                raise ValueError(msg)
