"""What Knowledge can be made of, in groups of settings, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..._validate import positive, whole
from ..base._config import (
    ConditioningConfig,
    PostConfig,
    Recipes,
    StartConfig,
    changed,
    check_dropout,
    check_positive,
    check_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


WEIGHTS = ("classify", "contrast", "reconstruct", "predict", "shrink_lines")


@dataclass(frozen=True)
class KnowledgeLossConfig:
    """What Knowledge is trained on, as weights of the terms of its loss.

    Parameters
    ----------
    classify
        To which perturbation of the step a profile belongs, by the cosine between the two
        representations (weakly supervised learning).
    contrast
        Whether replicates are nearer to each other than to profiles of other perturbations
        (SimCLR, whose pairs are replicates here). Each profile comes in two views, in which
        different features are left out.
    reconstruct
        Squared error of a profile that is decoded from its own representation.
    predict
        Squared error of the mean response that is decoded from the perturbation's representation.
    shrink_lines
        Mean square of the gains by which contexts change the hidden units of encoder and decoder:
        how much evidence it takes to tell contexts apart.
    temperature
        What cosines are divided by in `classify` and `contrast`.
    mask
        Share of the features that a view leaves out.
    decoder_shapes
        Whether the two errors of the decoder shape the representations too, or only the decoder.
    """

    classify: float = 0.3
    contrast: float = 0.0
    reconstruct: float = 1.0
    predict: float = 1.0
    shrink_lines: float = 0.01
    temperature: float = 0.1
    mask: float = 0.2
    decoder_shapes: bool = True

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in WEIGHTS}
        for name, weight in weights.items():
            if weight != 0:
                positive(weight, name=name)
        positive(self.temperature, name="temperature")
        check_dropout(self, "mask")
        if self.predict == 0:
            msg = "predict=0 would leave the decoder of responses untrained: give it a weight"
            raise ValueError(msg)
        if self.classify + self.contrast == 0 and not self.decoder_shapes:
            msg = (
                "nothing shapes the representation: give classify or contrast a weight, or set "
                "decoder_shapes=True"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class KnowledgeConditioningConfig(ConditioningConfig):
    """How the network is given the condition.

    Parameters
    ----------
    condition_dropout
        Share of the weight of `predict` that trains the mean response of all perturbations.
    unseen_weight, pooling
        As of the group that all models share.
    use_context
        Whether encoder and decoder are told the context: by its vector where there are vectors,
        else by its name.
    """

    unseen_weight: float = 0.5
    pooling: str = "sum"
    use_context: bool = True


@dataclass(frozen=True)
class KnowledgeNetworkConfig:
    """Encoder and decoder.

    Parameters
    ----------
    n_representation
        Length of a representation.
    width, depth
        Hidden units of encoder and decoder, and residual layers after them; 0 for linear maps.
    """

    n_representation: int = 64
    width: int = 128
    depth: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "n_representation", "width")
        whole(self.depth, name="depth", least=0)
        check_whole(self, "n_representation", "width", "depth")


@dataclass(frozen=True)
class KnowledgeConfig:
    """All settings of Knowledge, in groups.

    The name of a setting is unique, so that ``config={"width": 32}`` finds its group;
    ``config={"network": {"width": 32}}`` says the same.

    Parameters
    ----------
    loss
        `classify`, `contrast`, `reconstruct`, `predict`, `shrink_lines`, `temperature`, `mask`,
        `decoder_shapes`.
    conditioning
        `condition_dropout`, `unseen_weight`, `pooling`, `use_context`.
    network
        `n_representation`, `width`, `depth`.
    start
        `cross_context`, `mean_shrinkage`.
    post
        `match_zeros`, `renew_library`.

    Raises
    ------
    ValueError
        For a name that is not known or a number that makes no sense.
    TypeError
        For sizes that are no whole numbers.
    """

    loss: KnowledgeLossConfig = field(default_factory=KnowledgeLossConfig)
    conditioning: KnowledgeConditioningConfig = field(default_factory=KnowledgeConditioningConfig)
    network: KnowledgeNetworkConfig = field(default_factory=KnowledgeNetworkConfig)
    start: StartConfig = field(default_factory=StartConfig)
    post: PostConfig = field(default_factory=PostConfig)


PRESETS: Mapping[str, KnowledgeConfig] = MappingProxyType(
    {
        "shoal": KnowledgeConfig(),
        # Chen et al. 2025 on profiles instead of images: a classifier of perturbations whose
        # representation nothing else shapes. The published method has no decoder; this one is
        # trained beside it.
        "published": changed(
            KnowledgeConfig(),
            {
                "classify": 1.0,
                "decoder_shapes": False,
                "shrink_lines": 0.0,
                "reconstruct": 0.0,
                "unseen_weight": 1.0,
                "n_representation": 128,
                "width": 256,
                "depth": 2,
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
            "max_steps": 400,
            "lr": 6e-3,
            "weight_decay": 0.1,
            "ema": 0.99,
            "set_size": 8,
            "batch_conditions": 64,
        },
        "published": {
            "max_steps": 800,
            "lr": 1e-3,
            "weight_decay": 0.05,
            "warmup": 0.05,
            "ema": None,
            "set_size": 4,
            "batch_conditions": 100,
        },
    }
)

RECIPES = Recipes("Knowledge", PRESETS, TRAINING)
