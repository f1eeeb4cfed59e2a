"""What a flow between images can be made of, in groups of settings, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from ..._validate import flag, one_of
from ...nn import COINS
from ..base._config import (
    ConditioningConfig,
    Recipes,
    changed,
    check_choices,
    check_dropout,
    check_positive,
    check_shares,
    check_whole,
)
from ..flow._config import FlowLossConfig, FlowSamplingConfig, InterpolantConfig, check_flow

if TYPE_CHECKING:
    from collections.abc import Mapping

COVARIATES = ("all", "perturbation")


@dataclass(frozen=True)
class ImageConditioningConfig(ConditioningConfig):
    """How the network of images is given the condition.

    Parameters
    ----------
    condition_dropout, unseen_weight, pooling
        As of the group that all models share.
    covariates
        ``"all"`` gives it the perturbations, the dose, the context and the batch, as far as the
        screen has them. ``"perturbation"`` gives it the vector of the perturbation alone, by one
        linear layer, as published.
    condition_coin
        Whether covariates are left out for each cell (``"sample"``), or for all cells of a batch
        together (``"batch"``, of ``covariates="perturbation"`` only).
    """

    covariates: str = "all"
    condition_coin: str = "sample"
    control_mean: ClassVar[bool] = False  # which a flow between rows of features may have
    relative_to_control: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"covariates": COVARIATES, "condition_coin": COINS})
        if self.covariates == "all" and self.condition_coin == "batch":
            msg = (
                "condition_coin='batch' leaves out the whole condition of a batch, which goes with "
                "covariates='perturbation'; with covariates='all' each covariate of each cell is "
                "left out by itself: condition_coin='sample'"
            )
            raise ValueError(msg)
        if self.covariates == "perturbation" and self.pooling != "mean":
            msg = (
                f"pooling={self.pooling!r} needs covariates='all'; with covariates='perturbation' "
                "the vectors of a combination are averaged"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net of a flow between images.

    Parameters
    ----------
    width
        Unit of the numbers of channels. The condition is a vector of four times that length.
    multipliers
        Channels of each level, in multiples of `width`. Sizes are halved from level to level.
    n_blocks
        Residual blocks of a level on the way down; there is one more on the way up.
    attention
        Numbers of the levels with attention between pixels; the level of whole images is 0.
    n_heads
        Heads of the attention.
    dropout
        Dropout in the blocks.
    """

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    n_blocks: int = 1
    attention: tuple[int, ...] = ()
    n_heads: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("multipliers", "attention"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_whole(self, "width", "n_blocks", "n_heads")
        check_positive(self, "width", "n_blocks", "n_heads")
        check_dropout(self, "dropout")
        if not self.multipliers or min(self.multipliers) < 1:
            msg = (
                f"multipliers={self.multipliers!r} must be whole numbers above 0, one for each "
                "level, such as (1, 2, 2)"
            )
            raise ValueError(msg)
        odd = [level for level in self.attention if level not in range(len(self.multipliers))]
        if odd:
            msg = (
                f"attention={self.attention!r} names level {odd[0]!r}, and there are the levels 0 "
                f"to {len(self.multipliers) - 1}"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class AugmentationConfig:
    """What is done to images anew each time that the network sees them in training.

    Parameters
    ----------
    flip
        Probability of a flip upside down, and of one from left to right. It is decided for each
        image by itself, control or perturbed.
    dequantize
        Whether whole-number intensities v become v + u, with u drawn evenly from [0, 1).
    """

    flip: float = 0.5
    dequantize: bool = True

    def __post_init__(self) -> None:
        check_shares(self, "flip")
        flag(self.dequantize, name="dequantize")


@dataclass(frozen=True)
class ImageSpaceConfig:
    """The space that the flow works in.

    Parameters
    ----------
    latent
        ``"pixels"``; or ``"autoencoder"``, the latent channels of a small convolutional autoencoder
        that is trained on the training cells first. Latent images are a quarter as high and wide,
        so that a step takes less time. They are encoded once, and not augmented.
    latent_channels
        Channels of a latent image.
    latent_steps
        Steps in which the autoencoder is trained.
    """

    latent: str = "pixels"
    latent_channels: int = 8
    latent_steps: int = 500

    def __post_init__(self) -> None:
        one_of(self.latent, ("pixels", "autoencoder"), name="latent")
        check_whole(self, "latent_channels", "latent_steps")
        check_positive(self, "latent_channels", "latent_steps")


@dataclass(frozen=True)
class CellFluxConfig:
    """All settings of a flow between images, in groups.

    The name of a setting is unique, so that ``config={"width": 64}`` finds its group;
    ``config={"network": {"width": 64}}`` says the same. Lengths (`noise`, `gamma_scale`, `epsilon`,
    `eps0`) are in units in which the controls of a plate lie between -1 and 1.

    Parameters
    ----------
    interpolant
        `path`, `gamma`, `gamma_scale`, `path_start`, `noise`, `noise_probability`, `noise_coin`,
        `noise_at_sampling`.
    loss
        `coupling`, `epsilon`, `head`, `law`.
    conditioning
        `condition_dropout`, `unseen_weight`, `pooling`, `covariates`, `condition_coin`.
    network
        `width`, `multipliers`, `n_blocks`, `attention`, `n_heads`, `dropout`.
    augmentation
        `flip`, `dequantize`.
    space
        `latent`, `latent_channels`, `latent_steps`.
    sampling
        `sampler`, `n_steps`, `guidance`, `grid`, `eps0`.

    Raises
    ------
    ValueError
        For a name that is not known, a number that makes no sense, and parts that do not fit
        together.
    TypeError
        For guidance that is neither a number nor a mapping of covariates to numbers.
    """

    interpolant: InterpolantConfig = field(default_factory=InterpolantConfig)
    loss: FlowLossConfig = field(default_factory=FlowLossConfig)
    conditioning: ImageConditioningConfig = field(default_factory=ImageConditioningConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    space: ImageSpaceConfig = field(default_factory=ImageSpaceConfig)
    sampling: FlowSamplingConfig = field(default_factory=FlowSamplingConfig)

    def __post_init__(self) -> None:
        check_flow(self)
        if self.space.latent != "pixels" and self.augmentation.flip:
            msg = (
                f"flip={self.augmentation.flip!r} flips pixels, and latent={self.space.latent!r} "
                "encodes each image once: set flip=0"
            )
            raise ValueError(msg)


PRESETS: Mapping[str, CellFluxConfig] = MappingProxyType(
    {
        # Controls with noise, which keeps the images of several cells from running together, paired
        # with perturbed cells by optimal transport within a condition and batch, a network that is
        # given all covariates, uniform times. Chosen on inner validation, see
        # docs/user_guide/cellflux.md.
        "shoal": changed(
            CellFluxConfig(),
            {
                "path_start": "control+noise",
                "noise": 0.6,
                "noise_probability": 1.0,
                "n_steps": 10,
            },
        ),
        # Zhang et al. 2025: random controls of the same batch, noise on half of the batches and
        # always at sampling, skewed times, the vector of the perturbation left out of a fifth of
        # the batches and overstated by a fifth, Heun's method on the grid of the noise levels.
        "published": changed(
            CellFluxConfig(),
            {
                "path_start": "control+noise",
                "noise_coin": "batch",
                "coupling": "independent",
                "law": "edm",
                "covariates": "perturbation",
                "condition_coin": "batch",
                "condition_dropout": 0.2,
                "guidance": {"perturbation": 1.2},
                "n_steps": 50,
                "grid": "edm",
                "flip": 0.3,
                "network": {
                    "width": 128,
                    "multipliers": (2, 2, 2),
                    "n_blocks": 4,
                    "attention": (1,),
                    "dropout": 0.3,
                },
            },
        ),
    }
)

TRAINING: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "shoal": {
            "max_steps": 600,
            "set_size": 32,
            "batch_conditions": 1,
            "lr": 2e-3,
            "ema": 0.995,
        },
        # 128 images a step; about 100 passes over 98,000 images
        "published": {
            "max_steps": 75_000,
            "set_size": 8,
            "batch_conditions": 16,
            "lr": 1e-4,
            "ema": 0.999,
            "warmup": 0.0,
        },
    }
)
RECIPES = Recipes("CellFlux", PRESETS, TRAINING)
