"""What a conditional Monge map can be made of, in groups of settings, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ..base._config import (
    ConditioningConfig,
    PostConfig,
    Recipes,
    StartConfig,
    changed,
    check_choices,
    check_n_visible,
    check_positive,
    check_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

ARCHITECTURES = ("film", "concatenated")
LATENT = ("pca", "autoencoder", "pca+autoencoder")
POWERS = {"euclidean": 1, "sqeuclidean": 2}


@dataclass(frozen=True)
class MongeLossConfig:
    """What a map is fitted by.

    Parameters
    ----------
    cost
        Cost of moving a cell: ``"euclidean"`` distance, or its square, ``"sqeuclidean"``.
    epsilon
        Regularisation of the Sinkhorn divergence, in units of the cost or as `epsilon_relative`
        says.
    epsilon_relative
        Whether `epsilon` and `gap_epsilon` are shares of the mean cost between the cells that are
        compared.
    biased
        Whether the divergence compares all cells with themselves, as published, which makes
        populations too narrow; else halves of them. If ``None``: halves for distances, and all
        cells for squares, as the squared distances of halves do not hold the spread of a population
        in many dimensions.
    gap, gap_epsilon
        Weight of the Monge gap, and its regularisation.
    energy
        Weight of an unbiased energy distance beside the Sinkhorn divergence.
    warm_steps
        Steps of training that first draw every cell to the cell that an optimal assignment pairs
        it with.
    """

    cost: Literal["euclidean", "sqeuclidean"] = "euclidean"
    epsilon: float = 1.0
    epsilon_relative: bool = True
    biased: bool | None = None
    gap: float = 1.0
    gap_epsilon: float = 0.01
    energy: float = 0.0
    warm_steps: int = 200

    def __post_init__(self) -> None:
        check_choices(self, {"cost": POWERS})
        check_positive(self, "epsilon", "gap_epsilon")
        check_whole(self, "warm_steps")
        _check_not_negative(self, "gap", "energy", "warm_steps")

    @property
    def with_itself(self) -> bool:
        """Whether the divergence compares all cells with themselves."""
        return self.power == 2 if self.biased is None else self.biased

    @property
    def power(self) -> int:
        """The power of the distance that is the cost."""
        return POWERS[self.cost]


@dataclass(frozen=True)
class MongeConditioningConfig(ConditioningConfig):
    """How the network of a map is given the condition.

    Parameters
    ----------
    condition_dropout, unseen_weight, pooling
        As of the group that all models share.
    use_context, use_batch
        Whether the network is given the context and the batch by name.
    relative_to_control
        Whether the network sees cells relative to the mean of their context's control cells.
    """

    unseen_weight: float = 0.25
    pooling: str = "sum"
    use_context: bool = False
    use_batch: bool = True
    relative_to_control: bool = False


@dataclass(frozen=True)
class MongeNetworkConfig:
    """The network of a map.

    Parameters
    ----------
    architecture
        ``"film"``: residual blocks that the condition steers, as of :class:`Flow`.
        ``"concatenated"``: cell and condition side by side in plain layers, as published. That
        network is given the perturbation and the dose alone, and has no dropout, `unseen_weight`
        and `n_visible`.
    width, depth
        Width of the layers, and how many there are.
    n_noise
        Random numbers that come with a cell; 0 for a map. With some, the cells that one cell can
        become differ, and populations keep a spread that a map of few control cells cannot reach.
    n_visible
        Leading coordinates that the network ``"film"`` sees of a cell; it moves all. All if
        ``None``; ``"auto"`` as of a flow.
    """

    architecture: Literal["film", "concatenated"] = "film"
    width: int = 128
    depth: int = 3
    n_noise: int = 0
    n_visible: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_choices(self, {"architecture": ARCHITECTURES})
        check_positive(self, "width", "depth")
        check_whole(self, "width", "depth", "n_noise")
        _check_not_negative(self, "n_noise")
        check_n_visible(self.n_visible)


@dataclass(frozen=True)
class MongeSpaceConfig:
    """The space that a map works in.

    Parameters
    ----------
    latent
        Principal components (``"pca"``), an ``"autoencoder"`` in plain layers, as published, or one
        that adds to the principal components, ``"pca+autoencoder"``. Each is fitted to the cells of
        training.
    """

    latent: str = "pca"

    def __post_init__(self) -> None:
        check_choices(self, {"latent": LATENT})


@dataclass(frozen=True)
class ConditionalMongeConfig:
    """All settings of a conditional Monge map, in groups.

    The name of a setting is unique, so that ``config={"width": 32}`` finds its group;
    ``config={"network": {"width": 32}}`` says the same. Lengths are in units of the space, in which
    the root mean square of a coordinate is 1.

    Parameters
    ----------
    loss
        `cost`, `epsilon`, `epsilon_relative`, `biased`, `gap`, `gap_epsilon`, `energy`,
        `warm_steps`.
    conditioning
        `condition_dropout`, `unseen_weight`, `pooling`, `use_context`, `use_batch`,
        `relative_to_control`.
    network
        `architecture`, `width`, `depth`, `n_noise`, `n_visible`.
    start
        `cross_context`, `mean_shrinkage`.
    post
        `match_zeros`, `renew_library`.
    space
        `latent`.

    Raises
    ------
    ValueError
        For a name that is not known or a number that makes no sense.
    TypeError
        For sizes that are no whole numbers.
    """

    loss: MongeLossConfig = field(default_factory=MongeLossConfig)
    conditioning: MongeConditioningConfig = field(default_factory=MongeConditioningConfig)
    network: MongeNetworkConfig = field(default_factory=MongeNetworkConfig)
    start: StartConfig = field(default_factory=lambda: StartConfig(0.5, 0.25))
    post: PostConfig = field(default_factory=PostConfig)
    space: MongeSpaceConfig = field(default_factory=MongeSpaceConfig)


def _check_not_negative(config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= 0:
            msg = f"{name} is at least 0, not {getattr(config, name)!r}"
            raise ValueError(msg)


PRESETS: Mapping[str, ConditionalMongeConfig] = MappingProxyType(
    {
        "shoal": ConditionalMongeConfig(),
        # Driessen et al. 2025, at its published width; a condition is a drug's vector and a dose.
        "published": changed(
            ConditionalMongeConfig(),
            {
                "epsilon_relative": False,
                "biased": True,
                "warm_steps": 0,
                "use_batch": False,
                "condition_dropout": 0.0,
                "unseen_weight": 1.0,
                "pooling": "mean",
                "cross_context": 0.0,
                "mean_shrinkage": 0.0,
                "match_zeros": False,
                "renew_library": False,
                "architecture": "concatenated",
                "width": 64,
                "depth": 4,
                "latent": "autoencoder",
            },
        ),
    }
)

# Settings of training that go with a preset.
TRAINING: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "shoal": {"max_steps": 800, "lr": 2e-3, "weight_decay": 0.1, "ema": 0.995, "set_size": 64},
        "published": {
            "max_steps": 1000,
            "lr": 1e-3,
            "weight_decay": 1e-5,
            "warmup": 0.0,
            "gradient_clip": None,
            "ema": None,
            "set_size": 128,
            "batch_conditions": 1,
        },
    }
)

RECIPES = Recipes("ConditionalMonge", PRESETS, TRAINING)
