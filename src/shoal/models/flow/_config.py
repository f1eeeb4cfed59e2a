"""What a flow can be made of, in groups of settings, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..._validate import one_of
from ...generative import COUPLINGS, GAMMAS, GRIDS, LAWS, METHODS, PATHS
from ..base._config import (
    ConditioningConfig,
    PostConfig,
    Recipes,
    SamplingConfig,
    StartConfig,
    changed,
    check_choices,
    check_dropout,
    check_n_visible,
    check_positive,
    check_shares,
    check_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_STARTS = ("control", "control+noise", "noise")
HEADS = ("velocity", "x1", "velocity+eta")
COINS = ("sample", "batch")
SAMPLERS = (*METHODS, "sde")


@dataclass(frozen=True)
class InterpolantConfig:
    """The path of a flow and where it begins.

    Parameters
    ----------
    path
        Path from the source to the target.
    gamma, gamma_scale
        Schedule of the noise on the path, and its amplitude.
    path_start
        Where paths begin: at control cells, at control cells with noise added, or at noise.
    noise
        Standard deviation of the noise of ``"control+noise"``.
    noise_probability
        Probability with which a control cell of ``"control+noise"`` gets the noise in training.
    noise_coin
        Whether this is decided for each cell (``"sample"``), or for all cells of a batch together
        (``"batch"``).
    noise_at_sampling
        Whether all control cells of ``"control+noise"`` get it when cells are generated.
    """

    path: str = "linear"
    gamma: str = "zero"
    gamma_scale: float = 1.0
    path_start: str = "control"
    noise: float = 1.0
    noise_probability: float = 0.5
    noise_coin: str = "sample"
    noise_at_sampling: bool = True

    def __post_init__(self) -> None:
        choices = {
            "path": PATHS,
            "gamma": GAMMAS,
            "path_start": PATH_STARTS,
            "noise_coin": COINS,
        }
        check_choices(self, choices)
        check_positive(self, "gamma_scale", "noise")
        check_shares(self, "noise_probability")

    @property
    def noisy_at_sampling(self) -> bool:
        """Whether generation begins at noise, or at cells with noise added."""
        noisy = self.path_start == "control+noise" and self.noise_at_sampling
        return self.path_start == "noise" or noisy


@dataclass(frozen=True)
class FlowLossConfig:
    """What a flow is trained on.

    Parameters
    ----------
    coupling
        Which source belongs to which target, within a condition and batch. ``"none"`` means that
        the batches hold pairs that were made earlier.
    epsilon
        Regularisation of the coupling ``"sinkhorn"``.
    head
        What the loss compares: the ``"velocity"``; the end ``"x1"`` of the path, where errors count
        less the nearer the end is; or the velocity and the noise, ``"velocity+eta"``, which a path
        with noise needs.
    law
        Law of the times in training.
    """

    coupling: str = "exact"
    epsilon: float | None = None
    head: str = "velocity"
    law: str = "uniform"

    def __post_init__(self) -> None:
        check_choices(self, {"coupling": COUPLINGS, "head": HEADS, "law": LAWS})


@dataclass(frozen=True)
class FlowConditioningConfig(ConditioningConfig):
    """How the network of a flow is given the condition.

    Parameters
    ----------
    condition_dropout, unseen_weight, pooling
        As of the group that all models share.
    control_mean
        Whether the network is given the mean of the set of control cells.
    relative_to_control
        Whether the network sees cells relative to the mean of their control cells. It then cannot
        tell contexts apart by their cells, and treats one that was never perturbed as the average
        context.
    """

    control_mean: bool = False
    relative_to_control: bool = False


@dataclass(frozen=True)
class FlowNetworkConfig:
    """The network of a flow.

    Parameters
    ----------
    width, depth
        Width, and number of blocks.
    dropout
        Dropout in the blocks.
    n_visible
        Leading principal components that the network sees of a cell; it moves all of them. All if
        ``None``. ``"auto"`` is half the root of the number of cells of the median condition: six
        for 150 cells, eleven for 500. A network that sees fifty recognises single cells.
    """

    width: int = 128
    depth: int = 3
    dropout: float = 0.0
    n_visible: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_positive(self, "width", "depth")
        check_whole(self, "width", "depth")
        check_dropout(self, "dropout")
        check_n_visible(self.n_visible)


@dataclass(frozen=True)
class FlowSamplingConfig(SamplingConfig):
    """How a flow generates cells.

    Parameters
    ----------
    sampler
        A method that follows the flow, or ``"sde"``.
    n_steps
        Number of its steps.
    guidance
        How far to follow covariates: weights by name, or one number for all together; 1 is plain.
    grid
        Grid of the steps.
    eps0
        Amount of noise of ``"sde"``.
    """

    sampler: str = "heun"
    n_steps: int = 20
    grid: str = "uniform"
    eps0: float = 0.5

    def __post_init__(self) -> None:
        check_choices(self, {"sampler": SAMPLERS, "grid": GRIDS})
        super().__post_init__()


@dataclass(frozen=True)
class FlowConfig:
    """All settings of a flow, in groups.

    The name of a setting is unique, so that ``config={"width": 32}`` finds its group;
    ``config={"network": {"width": 32}}`` says the same. Lengths (`noise`, `gamma_scale`, `epsilon`,
    `eps0`) are in units of the module's `scale`, about one standard deviation of the data.

    Parameters
    ----------
    interpolant
        `path`, `gamma`, `gamma_scale`, `path_start`, `noise`, `noise_probability`, `noise_coin`,
        `noise_at_sampling`.
    loss
        `coupling`, `epsilon`, `head`, `law`.
    conditioning
        `condition_dropout`, `unseen_weight`, `pooling`, `control_mean`, `relative_to_control`.
    network
        `width`, `depth`, `dropout`, `n_visible`.
    start
        `cross_context`, `mean_shrinkage`.
    post
        `match_zeros`, `renew_library`.
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
    conditioning: FlowConditioningConfig = field(default_factory=FlowConditioningConfig)
    network: FlowNetworkConfig = field(default_factory=FlowNetworkConfig)
    start: StartConfig = field(default_factory=StartConfig)
    post: PostConfig = field(default_factory=PostConfig)
    sampling: FlowSamplingConfig = field(default_factory=FlowSamplingConfig)

    def __post_init__(self) -> None:
        check_flow(self)
        noise, share = self.interpolant.path_start == "noise", self.start.cross_context
        if share and (noise or self.conditioning.control_mean):
            what = "path_start='noise'" if noise else "control_mean=True"
            msg = (
                f"cross_context={share!r} lets paths begin at perturbed cells of other contexts, "
                f"which does not go with {what}; set cross_context=0"
            )
            raise ValueError(msg)


class FlowSettings(Protocol):
    """The groups of settings that every flow has, whatever its network."""

    interpolant: InterpolantConfig
    loss: FlowLossConfig
    conditioning: Any
    sampling: FlowSamplingConfig


def check_flow(config: FlowSettings) -> None:
    """Raise ``ValueError`` unless path, loss and sampler of a flow fit together."""
    gamma, head = config.interpolant.gamma, config.loss.head
    if (gamma != "zero") != (head == "velocity+eta"):
        msg = (
            f"head={head!r} does not fit gamma={gamma!r}: a path with noise needs "
            "head='velocity+eta', and a path without needs 'velocity' or 'x1'"
        )
        raise ValueError(msg)
    check_sampler(config, config.sampling.sampler)


def check_sampler(config: FlowSettings, sampler: str) -> None:
    """Raise ``ValueError`` unless a flow can be sampled in this way."""
    one_of(sampler, SAMPLERS, name="sampler")
    path_start, coupling = config.interpolant.path_start, config.loss.coupling
    has_score = path_start == "noise" and coupling == "independent"
    if sampler == "sde" and config.interpolant.gamma == "zero" and not has_score:
        msg = (
            "sampler='sde' needs a score: choose a gamma other than 'zero', or "
            "path_start='noise' with coupling='independent', not gamma='zero' with "
            f"path_start={path_start!r} and coupling={coupling!r}"
        )
        raise ValueError(msg)


def _preset(**settings: object) -> FlowConfig:
    return changed(FlowConfig(), settings)


def _published(**settings: object) -> FlowConfig:
    """Return a preset of a paper, whose predicted cells are left as the network makes them."""
    return _preset(match_zeros=False, renew_library=False, **settings)


PRESETS: Mapping[str, FlowConfig] = MappingProxyType(
    {
        # Control to perturbed cells along straight lines, paired by optimal transport, by a network
        # that sees as many components as the cells of a condition can fill. It follows the context
        # half, and the vector of a new perturbation a quarter. It starts at the perturbation's
        # cells of other contexts where there are some. This measured best, on real and on
        # simulated cells.
        "flow": _preset(
            n_visible="auto",
            dropout=0.1,
            pooling="sum",
            guidance={"context": 0.5},
            unseen_weight=0.25,
            cross_context=0.5,
        ),
        # Rectified flow before its reflow: random pairs within a batch, few Euler steps
        # (Liu et al. 2023).
        "rectified": _published(coupling="independent", sampler="euler", n_steps=10),
        # Conditional flow matching with minibatch optimal transport (Tong et al. 2024).
        "otcfm": _published(),
        # Stochastic interpolant: noise on the way, learned together with the velocity
        # (Albergo et al. 2025).
        "stochastic": _published(
            gamma="quadratic",
            head="velocity+eta",
            coupling="independent",
            sampler="sde",
            n_steps=50,
            eps0=0.5,
        ),
        # Schrödinger bridge of a Brownian motion with sd 1: entropic pairs with epsilon = 2 sd²
        # (Tong et al. 2024).
        "sbcfm": _published(
            gamma="brownian",
            gamma_scale=1.0,
            head="velocity+eta",
            coupling="sinkhorn",
            epsilon=2.0,
            sampler="sde",
            n_steps=50,
            eps0=0.5,
        ),
        # From noise, given the condition only (flow matching, Lipman et al. 2023; for screens,
        # Valence Labs 2026).
        "noise2data": _published(
            path_start="noise", coupling="independent", condition_dropout=0.15, n_steps=50
        ),
        # CellFlux for profiles: noisy controls of the same batch, skewed times, guidance
        # (Zhang et al. 2025).
        "cellflux": _published(
            path_start="control+noise",
            coupling="independent",
            law="edm",
            condition_dropout=0.2,
            guidance={"perturbation": 1.2},
            n_steps=50,
            grid="edm",
        ),
    }
)

TRAINING = {"max_steps": 800, "lr": 2e-3, "weight_decay": 0.1}  # of all presets
RECIPES = Recipes("a flow", PRESETS, dict.fromkeys(PRESETS, TRAINING))
