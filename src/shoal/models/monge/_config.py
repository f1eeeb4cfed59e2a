"""What a conditional Monge map can be made of, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ..._validate import one_of, positive
from ...nn import POOLS
from ..base._config import Recipes

if TYPE_CHECKING:
    from collections.abc import Mapping

LATENT = ("pca", "autoencoder", "pca+autoencoder")
POWERS = {"euclidean": 1, "sqeuclidean": 2}


@dataclass(frozen=True)
class ConditionalMongeConfig:
    """A map: its losses, what it is told, its network and the space it works in.

    Lengths are in units of the space, in which the root mean square of a coordinate is 1.

    Parameters
    ----------
    cost
        Cost of moving a cell: ``"euclidean"`` distance, or its square.
    epsilon, epsilon_relative
        Regularisation of the Sinkhorn divergence that the map is fitted with, in units of the cost or, if `epsilon_relative`, as a share of
        the mean cost between the cells that are compared.
    biased
        Whether the divergence compares all cells with themselves, as published, which makes populations too narrow; else halves of
        them. If ``None`` halves of distances and all cells of squares: in many dimensions the squared distances of halves have no
        hold on how far a population spreads, and training comes apart.
    gap, gap_epsilon
        Weight of the Monge gap and its regularisation, which is `epsilon_relative` as well or not.
    energy
        Weight of an energy distance beside the Sinkhorn divergence: unbiased, without regularisation.
    warm_steps
        Steps of training that first draw every cell to the cell it is paired with by optimal assignment: the flow matching of a
        flow of one step.
    n_noise
        Random numbers that a cell comes with, 0 for a map: with some the cells that one cell can become differ, and populations
        keep the spread that a map of few control cells cannot reach.
    told_context, told_batch
        Whether the network is told the context and the batch by name.
    relative_to_control
        Whether the network sees cells relative to the mean of the control cells of their context.
    condition_dropout
        Probability with which each covariate is left out in training.
    unseen_weight
        How far to follow the vector of a perturbation that was not in training; the rest is what the perturbations of training
        do on average.
    pooling
        How the parts of a combination become one vector: ``"mean"``, ``"sum"`` or ``"attention"``.
    cross_context, mean_shrinkage, match_zero_fraction
        As of :class:`FlowConfig`.
    network
        ``"film"``: residual blocks that the condition steers, as of :class:`Flow`; ``"concatenated"``: cell and condition side by side
        in plain layers, as published: told the perturbation and the dose and nothing else, without dropout, `unseen_weight` and `n_visible`.
    width, depth
        Of the layers, and how many.
    n_visible
        Leading coordinates that the network sees of a cell (``"film"``); it moves all. All if ``None``; ``"auto"`` as of
        :class:`FlowConfig`.
    latent
        The space: principal components (``"pca"``), an ``"autoencoder"`` in plain layers, as published, or one that adds to the
        principal components, ``"pca+autoencoder"``. Each is fitted to the cells of training.

    Raises
    ------
    ValueError
        For a name that is not known or a number that makes no sense.
    TypeError
        For sizes that are no whole numbers.
    """

    cost: Literal["euclidean", "sqeuclidean"] = "euclidean"
    epsilon: float = 1.0
    epsilon_relative: bool = True
    biased: bool | None = None
    gap: float = 1.0
    gap_epsilon: float = 0.01
    energy: float = 0.0
    warm_steps: int = 200
    n_noise: int = 0
    told_context: bool = False
    told_batch: bool = True
    relative_to_control: bool = False
    condition_dropout: float = 0.1
    unseen_weight: float = 0.25
    pooling: str = "sum"
    cross_context: float = 0.5
    mean_shrinkage: float = 0.25
    match_zero_fraction: bool = True
    network: Literal["film", "concatenated"] = "film"
    width: int = 128
    depth: int = 3
    n_visible: int | Literal["auto"] | None = None
    latent: str = "pca"

    def __post_init__(self) -> None:
        choices = {
            "cost": POWERS,
            "pooling": POOLS,
            "network": ("film", "concatenated"),
            "latent": LATENT,
        }
        for name, known in choices.items():
            one_of(getattr(self, name), known, name=name)
        for name in ("epsilon", "gap_epsilon", "width", "depth"):
            positive(getattr(self, name), name=name)
        for name in ("width", "depth", "n_noise", "warm_steps"):
            if not isinstance(getattr(self, name), Integral):
                msg = f"{name} is a whole number, not {getattr(self, name)!r}"
                raise TypeError(msg)
        for name in ("gap", "energy", "n_noise", "warm_steps"):
            if not getattr(self, name) >= 0:
                msg = f"{name} is at least 0, not {getattr(self, name)!r}"
                raise ValueError(msg)
        for name in ("condition_dropout", "unseen_weight", "cross_context", "mean_shrinkage"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is a share, from 0 to 1, not {getattr(self, name)!r}"
                raise ValueError(msg)
        if not (
            self.n_visible in (None, "auto")
            or (isinstance(self.n_visible, Integral) and self.n_visible > 0)
        ):
            msg = (
                f"n_visible must be 'auto', None or a whole number above 0, not {self.n_visible!r}"
            )
            raise ValueError(msg)

    @property
    def with_itself(self) -> bool:
        """Whether the divergence compares all cells with themselves."""
        return self.power == 2 if self.biased is None else self.biased

    @property
    def power(self) -> int:
        """The power of the distance that is the cost."""
        return POWERS[self.cost]


PRESETS: Mapping[str, ConditionalMongeConfig] = MappingProxyType(
    {
        "shoal": ConditionalMongeConfig(),
        # Driessen et al. 2025, at its published width; a condition is a drug's vector and a dose.
        "published": ConditionalMongeConfig(
            epsilon_relative=False,
            biased=True,
            warm_steps=0,
            told_batch=False,
            condition_dropout=0.0,
            unseen_weight=1.0,
            pooling="mean",
            cross_context=0.0,
            mean_shrinkage=0.0,
            match_zero_fraction=False,
            network="concatenated",
            width=64,
            depth=4,
            latent="autoencoder",
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
