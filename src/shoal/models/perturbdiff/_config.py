"""What PerturbDiff can be made of, in groups of settings, and the named recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..._validate import positive
from ...generative import strided, truncated
from ...nn import FUSIONS
from ..base._config import (
    ConditioningConfig,
    PostConfig,
    Recipes,
    SamplingConfig,
    StartConfig,
    changed,
    check_choices,
    check_positive,
    check_shares,
    check_whole,
)

SAMPLERS = {"strided": strided, "truncated": truncated}


@dataclass(frozen=True)
class OutputConfig:
    """How cells go into the network and come out of it.

    Parameters
    ----------
    divide_by
        Number that values are divided by. ``None`` centres every gene and divides all genes by one
        standard deviation.
    residual
        Whether the network predicts a change of the control cell of the slot, instead of the cell.
    hurdle
        Whether the network also predicts, for every gene of every cell, how likely it is not 0.
        Zeros are then drawn.
    """

    divide_by: float | None = None
    residual: bool = True
    hurdle: bool = False

    def __post_init__(self) -> None:
        if self.divide_by is not None:
            positive(self.divide_by, name="divide_by")


@dataclass(frozen=True)
class DiffusionConfig:
    """The chain from cells to noise.

    Parameters
    ----------
    chain_length
        Number of steps of the chain.
    beta
        Schedule of its variance, as of shoal.generative.GaussianDiffusion.
    one_pass
        Whether the network only ever sees pure noise, as at the last step of the chain, and makes a
        set of cells of it in one go. Else it sees cells at all steps, and the sampler walks down
        some of them.
    n_noise
        Random numbers that every cell gets with ``one_pass`` and ``fusion="input"``. Otherwise
        there is one for each gene.
    self_conditioning
        Probability with which a step of training shows the network its own first prediction. Above
        0, the sampler passes each prediction on to the next step.
    """

    chain_length: int = 1000
    beta: tuple[Any, ...] = ("linear", 1e-4, 0.02)
    one_pass: bool = True
    n_noise: int = 16
    self_conditioning: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "chain_length", "n_noise")
        check_whole(self, "chain_length", "n_noise")
        check_shares(self, "self_conditioning")
        beta = (self.beta,) if isinstance(self.beta, str) else tuple(self.beta)  # files keep lists
        object.__setattr__(self, "beta", beta)


@dataclass(frozen=True)
class PerturbDiffLossConfig:
    """What PerturbDiff is trained on.

    Parameters
    ----------
    mse, energy, energy_components
        Weights of the mean squared error, and of the energy distances over genes and over principal
        components.
    biased
        Whether an energy distance is, as published, half of that over all pairs, a cell with itself
        among them. Else pairs are of different cells, and repeated cells do not count.
    n_components
        Principal components of the training cells, of `energy_components`.
    """

    mse: float = 0.0
    energy: float = 1.0
    energy_components: float = 1.0
    biased: bool = False
    n_components: int = 30

    def __post_init__(self) -> None:
        check_positive(self, "n_components")
        check_whole(self, "n_components")
        weights = (self.mse, self.energy, self.energy_components)
        if min(weights) < 0 or max(weights) == 0:
            msg = (
                "mse, energy and energy_components are weights, none below 0 and not all 0, not "
                f"{weights}"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class PerturbDiffConditioningConfig(ConditioningConfig):
    """How the network of PerturbDiff is given the condition.

    Parameters
    ----------
    condition_dropout, unseen_weight
        As of the group that all models share. `unseen_weight` below 1 requires `per_covariate`.
    pooling
        As of the group that all models share, where `per_covariate`.
    per_covariate
        Whether every covariate is left out by itself in training, or all of them together, as
        published.
    use_batch
        Whether the network is given the batch, or the context only.
    """

    unseen_weight: float = 0.25
    pooling: str = "sum"
    per_covariate: bool = True
    use_batch: bool = True


@dataclass(frozen=True)
class PerturbDiffNetworkConfig:
    """The transformer of PerturbDiff.

    Parameters
    ----------
    fusion
        ``"input"``: a cell, its noise and its control cell are one token. ``"features"`` and
        ``"tokens"``: two streams, as of shoal.nn.CrossTransformer.
    width, depth, n_heads
        Width of a token, number of blocks, and heads of the attention.
    heads
        2 keeps the head for control cells that the published network has and does not use.
    """

    fusion: str = "input"
    width: int = 96
    depth: int = 3
    n_heads: int = 4
    heads: int = 1

    def __post_init__(self) -> None:
        check_choices(self, {"fusion": ("input", *FUSIONS), "heads": (1, 2)})
        check_positive(self, "width", "depth", "n_heads")
        check_whole(self, "width", "depth", "n_heads")
        if self.heads == 2 and self.fusion == "input":
            msg = f"heads=2 belongs to two streams: choose fusion from {', '.join(FUSIONS)}"
            raise ValueError(msg)


@dataclass(frozen=True)
class PerturbDiffSamplingConfig(SamplingConfig):
    """How PerturbDiff generates cells.

    Parameters
    ----------
    sampler
        ``"strided"`` through the whole chain, or ``"truncated"``: its last steps only.
    n_steps
        Number of steps of the sampler.
    guidance
        How far to follow covariates: one number for all together, or weights by name where
        `per_covariate`; 1 is plain.
    floor
        Predictions (in the scale of the network) below it become 0 within the sampler, where values
        cannot be below 0; ``None`` leaves them.
    """

    sampler: str = "strided"
    n_steps: int = 1
    floor: float | None = None

    def __post_init__(self) -> None:
        check_choices(self, {"sampler": SAMPLERS})
        super().__post_init__()
        check_whole(self, "n_steps")
        if not (self.floor is None or self.floor >= 0):
            msg = f"floor={self.floor!r} must be at least 0 or None"
            raise ValueError(msg)


@dataclass(frozen=True)
class PerturbDiffConfig:
    """All settings of PerturbDiff, in groups.

    The name of a setting is unique, so that ``config={"width": 32}`` finds its group;
    ``config={"network": {"width": 32}}`` says the same.

    Parameters
    ----------
    output
        `divide_by`, `residual`, `hurdle`.
    diffusion
        `chain_length`, `beta`, `one_pass`, `n_noise`, `self_conditioning`.
    loss
        `mse`, `energy`, `energy_components`, `biased`, `n_components`.
    conditioning
        `condition_dropout`, `unseen_weight`, `pooling`, `per_covariate`, `use_batch`.
    network
        `fusion`, `width`, `depth`, `n_heads`, `heads`.
    start
        `cross_context`, `mean_shrinkage`.
    post
        `match_zeros`, `renew_library`.
    sampling
        `sampler`, `n_steps`, `guidance`, `floor`.

    Raises
    ------
    ValueError
        For a name that is not known, a number that makes no sense, and parts that do not fit
        together.
    TypeError
        For guidance that is neither a number nor a mapping of covariates to numbers, and sizes that
        are no whole numbers.
    """

    output: OutputConfig = field(default_factory=OutputConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    loss: PerturbDiffLossConfig = field(default_factory=PerturbDiffLossConfig)
    conditioning: PerturbDiffConditioningConfig = field(
        default_factory=PerturbDiffConditioningConfig
    )
    network: PerturbDiffNetworkConfig = field(default_factory=PerturbDiffNetworkConfig)
    start: StartConfig = field(default_factory=lambda: StartConfig(0.5, 0.25))
    post: PostConfig = field(default_factory=PostConfig)
    sampling: PerturbDiffSamplingConfig = field(default_factory=PerturbDiffSamplingConfig)

    def __post_init__(self) -> None:
        one_pass, share = self.diffusion.one_pass, self.conditioning.unseen_weight
        together = not self.conditioning.per_covariate
        by_name = isinstance(self.sampling.guidance, Mapping) and together
        wrong = {
            "one_pass=True sees pure noise, of which no cell is the counterpart: mse must be 0": (
                one_pass and self.loss.mse
            ),
            "one_pass=True has no last steps to walk: sampler must be 'strided'": (
                one_pass and self.sampling.sampler == "truncated"
            ),
            "one_pass=True has no earlier prediction to show: self_conditioning must be 0": (
                one_pass and self.diffusion.self_conditioning > 0
            ),
            (
                f"unseen_weight={share} leaves out the perturbation alone, which takes "
                "per_covariate=True"
            ): share < 1 and together,
            (
                "per_covariate=False leaves out all covariates together: guidance must be one "
                f"number, not {self.sampling.guidance!r}"
            ): by_name,
        }
        for msg, so in wrong.items():
            if so:
                raise ValueError(msg)
        self.steps(self.sampling.n_steps)

    def steps(self, n: int) -> tuple[int, ...]:
        """Return the n steps of the chain that the sampler stands at.

        Raises
        ------
        ValueError
            If the chain does not have that many steps.
        """
        if self.diffusion.one_pass and n != 1:
            msg = (
                f"one_pass=True generates in 1 step, not {n}; a model of several steps is trained "
                "with one_pass=False"
            )
            raise ValueError(msg)
        return SAMPLERS[self.sampling.sampler](n, self.diffusion.chain_length)


PRESETS: Mapping[str, PerturbDiffConfig] = MappingProxyType(
    {
        # Cells of the perturbation in other contexts, or controls, changed in one pass of a set
        # transformer that is trained on energy distances. This measured best on real cells.
        "shoal": PerturbDiffConfig(),
        # As released (Yuan et al. 2026), at a size for a CPU; the authors' is width=512, depth=8,
        # n_heads=8.
        "published": changed(
            PerturbDiffConfig(),
            {
                "divide_by": 10.0,
                "one_pass": False,
                "self_conditioning": 0.5,
                "residual": False,
                "mse": 1.0,
                "energy_components": 0.0,
                "biased": True,
                "cross_context": 0.0,
                "mean_shrinkage": 0.0,
                "per_covariate": False,
                "condition_dropout": 0.5,
                "guidance": 2.0,
                "unseen_weight": 1.0,
                "fusion": "features",
                "width": 64,
                "depth": 3,
                "heads": 2,
                "sampler": "truncated",
                "n_steps": 100,
                "floor": 1e-4,
                "match_zeros": False,
                "renew_library": False,
            },
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
