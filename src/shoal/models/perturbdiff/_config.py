"""What PerturbDiff can be made of, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..._validate import one_of, positive
from ...generative import strided, truncated
from ...nn import FUSIONS, POOLS
from ..base._config import Recipes

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLERS = {"strided": strided, "truncated": truncated}


@dataclass(frozen=True)
class PerturbDiffConfig:
    """PerturbDiff: its scale, noise, prediction, losses, conditioning, network and sampler.

    Parameters
    ----------
    divide_by
        Number that values are divided by; ``None`` centres every gene and divides all by one standard deviation.
    n_steps, beta
        Steps of the chain from cells to noise and the schedule of its variance, as of
        shoal.generative.GaussianDiffusion.
    one_pass
        Whether the network only ever sees pure noise and makes a set of cells of it in one go, as at the last step of the
        chain. Else it sees cells at all steps, and the sampler walks down some of them.
    n_noise
        Random numbers that every cell gets for ``one_pass`` with ``fusion="input"``; else there is one for each gene.
    self_conditioning
        Probability with which a step of training shows the network its own first guess; above 0, the sampler passes it on.
    residual
        Whether the network predicts a change of the control cell of the slot, instead of the cell.
    hurdle
        Whether the network also says of every gene of every cell how likely it is not 0, and zeros are drawn.
    mse, energy, energy_components
        Weights of the mean squared error and of the energy distances over genes and over principal components.
    biased
        Whether an energy distance is, as published, half of that over all pairs, a cell with itself among them; else pairs
        are of different cells, and cells that repeat to fill a set do not count.
    n_components
        Principal components of the training cells, of `energy_components`.
    cross_context, mean_shrinkage
        As of :class:`FlowConfig`: the share of training sets that begin at the perturbation's own cells of other contexts, and
        that of the change of their mean that predictions take back.
    per_covariate
        Whether every covariate is left out by itself in training, or all of them together, as published.
    condition_dropout
        Probability of that.
    guidance
        How much further than plainly to follow what is asked for: w in (1 + w) told - w untold.
    unseen_weight
        How far to follow the vector of a perturbation that was not in training; the rest is what the perturbations of
        training do on average. Below 1 it takes `per_covariate`.
    pooling
        How the parts of a combination become one vector, where `per_covariate`.
    told_batch
        Whether the network is told the batch, or the context only.
    fusion
        ``"input"``: a cell, its noise and its control are one token; ``"features"`` and ``"tokens"``: two streams, as of
        shoal.nn.CrossTransformer.
    width, depth, n_heads, heads
        Network: width of a token, blocks, heads of the attention; `heads` 2 keeps the head for controls that the published
        network has and does not use.
    sampler, n_sampling_steps
        ``"strided"`` through the whole chain, or its last steps only, ``"truncated"``; and how many.
    floor
        Predictions (in the scale of the network) below it become 0 within the sampler, where values cannot be below 0;
        ``None`` leaves them.
    match_zero_fraction
        As of :class:`FlowConfig`.

    Raises
    ------
    ValueError
        For a name that is not known, a number that makes no sense, and parts that do not fit together.
    TypeError
        For a guidance that is not a number, and sizes that are no whole numbers.
    TypeError
        If `guidance` is not one number.
    """

    divide_by: float | None = None
    n_steps: int = 1000
    beta: tuple[Any, ...] = ("linear", 1e-4, 0.02)
    one_pass: bool = True
    n_noise: int = 16
    self_conditioning: float = 0.0
    residual: bool = True
    hurdle: bool = False
    mse: float = 0.0
    energy: float = 1.0
    energy_components: float = 1.0
    biased: bool = False
    n_components: int = 30
    cross_context: float = 0.5
    mean_shrinkage: float = 0.25
    per_covariate: bool = True
    condition_dropout: float = 0.1
    guidance: float = 0.0
    unseen_weight: float = 0.25
    pooling: str = "sum"
    told_batch: bool = True
    fusion: str = "input"
    width: int = 96
    depth: int = 3
    n_heads: int = 4
    heads: int = 1
    sampler: str = "strided"
    n_sampling_steps: int = 1
    floor: float | None = None
    match_zero_fraction: bool = False

    def __post_init__(self) -> None:
        choices = {
            "fusion": ("input", *FUSIONS),
            "pooling": POOLS,
            "sampler": SAMPLERS,
            "heads": (1, 2),
        }
        for name, known in choices.items():
            one_of(getattr(self, name), known, name=name)
        if self.divide_by is not None:
            positive(self.divide_by, name="divide_by")
        for name in (
            "n_steps",
            "n_noise",
            "n_components",
            "width",
            "depth",
            "n_heads",
            "n_sampling_steps",
        ):
            positive(getattr(self, name), name=name)
            if not isinstance(getattr(self, name), Integral):
                msg = f"{name} is a whole number, not {getattr(self, name)!r}"
                raise TypeError(msg)
        for name in (
            "self_conditioning",
            "condition_dropout",
            "cross_context",
            "mean_shrinkage",
            "unseen_weight",
        ):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is a share, from 0 to 1, not {getattr(self, name)!r}"
                raise ValueError(msg)
        if not isinstance(self.guidance, Real):
            msg = (
                f"guidance is one number here, w in (1 + w) told - w untold, not {self.guidance!r}"
            )
            raise TypeError(msg)
        if not isfinite(self.guidance) or not (self.floor is None or self.floor >= 0):
            msg = f"guidance={self.guidance!r} must be finite, and floor={self.floor!r} at least 0 or None"
            raise ValueError(msg)
        beta = (self.beta,) if isinstance(self.beta, str) else tuple(self.beta)  # files keep lists
        object.__setattr__(self, "beta", beta)
        self._check_parts()
        self.steps(self.n_sampling_steps)

    def _check_parts(self) -> None:
        weights = (self.mse, self.energy, self.energy_components)
        wrong = {
            f"mse, energy and energy_components are weights, none below 0 and not all 0, not {weights}": (
                min(weights) < 0 or max(weights) == 0
            ),
            "one_pass=True sees pure noise, of which no cell is the counterpart: mse must be 0": self.one_pass
            and self.mse,
            "one_pass=True has no last steps to walk: sampler must be 'strided'": (
                self.one_pass and self.sampler == "truncated"
            ),
            "one_pass=True has no earlier guess to show: self_conditioning must be 0": (
                self.one_pass and self.self_conditioning > 0
            ),
            f"unseen_weight={self.unseen_weight} leaves out the perturbation alone, which takes per_covariate=True": (
                self.unseen_weight < 1 and not self.per_covariate
            ),
            f"heads=2 belongs to two streams: choose fusion from {', '.join(FUSIONS)}": (
                self.heads == 2 and self.fusion == "input"
            ),
        }
        for msg, so in wrong.items():
            if so:
                raise ValueError(msg)

    def steps(self, n: int) -> tuple[int, ...]:
        """Return the n steps of the chain that the sampler stands at."""
        if self.one_pass and n != 1:
            msg = f"one_pass=True generates in 1 step, not {n}; a model of several steps is trained with one_pass=False"
            raise ValueError(msg)
        return SAMPLERS[self.sampler](n, self.n_steps)


PRESETS: Mapping[str, PerturbDiffConfig] = MappingProxyType(
    {
        # Cells of the perturbation in other contexts, or controls, changed in one pass of a set transformer that is trained
        # on energy distances: what measured best on real cells.
        "shoal": PerturbDiffConfig(),
        # As released (Yuan et al. 2026), at a size for a CPU; the authors' is width=512, depth=8, n_heads=8.
        "published": PerturbDiffConfig(
            divide_by=10.0,
            one_pass=False,
            self_conditioning=0.5,
            residual=False,
            mse=1.0,
            energy_components=0.0,
            biased=True,
            cross_context=0.0,
            mean_shrinkage=0.0,
            per_covariate=False,
            condition_dropout=0.5,
            guidance=1.0,
            unseen_weight=1.0,
            fusion="features",
            width=64,
            depth=3,
            heads=2,
            sampler="truncated",
            n_sampling_steps=100,
            floor=1e-4,
        ),
    }
)

# Settings of training that go with a preset.
TRAINING: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "shoal": {
            "max_steps": 600,
            "lr": 2e-3,
            "weight_decay": 1.0,
            "ema": 0.995,
            "set_size": 48,
            "batch_conditions": 12,
        },
        "published": {
            "max_steps": 1500,
            "lr": 2e-3,
            "weight_decay": 0.01,
            "ema": 0.999,  # 0.99 every 10 steps
            "set_size": 32,
            "batch_conditions": 8,
        },
    }
)

RECIPES = Recipes("PerturbDiff", PRESETS, TRAINING, beside="preset and embedding")
