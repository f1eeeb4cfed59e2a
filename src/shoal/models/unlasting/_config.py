"""What Unlasting can be made of, in groups of settings, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..._validate import between, flag, whole
from ...generative import INVERSIONS, coarser, respaced
from ...nn import NORMS
from ..base._config import (
    ConditioningConfig,
    PostConfig,
    Recipes,
    StartConfig,
    changed,
    check_choices,
    check_dropout,
    check_guidance,
    check_positive,
    check_shares,
    check_whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..base._config import Guidance

CONTROLS = ("moments", "cell", "filled", None)
READ_OUTS = ("node", "genes")
MASKS = ("bernoulli", "reference", "coupled", "hurdle", "counts", None)
LEARNED = ("bernoulli", "reference", "coupled")  # by a network of their own
MASK_NETWORKS = ("graph", "genes", "shift")
CLAMPS = (True, False, "doses")

AS_MADE = PostConfig(match_zeros=False, renew_library=False)


@dataclass(frozen=True)
class BridgeConfig:
    """The chain from cells to noise, and what the network is shown of it.

    Parameters
    ----------
    chain_length
        Number of steps of the chain.
    beta
        Schedule of its variance, as of shoal.generative.GaussianDiffusion.
    grid
        Number of its steps that the network is trained on and walks, evenly spaced.
    input_perturbation
        Size of a disturbance of the noise in training, see shoal.generative.perturbed_input.
    control_input
        The control cell that is given beside a noisy perturbed cell. Predictions are given the one
        that they start from. Training gives

        - ``"moments"``, as published: a draw with mean and standard deviation of the context's
          control cells;
        - ``"cell"``: a real control cell;
        - ``"filled"``: a real control cell whose genes are all on. Those that are off have a draw
          with the moments of cells in which they are on. Predictions are given the same.
        - ``None``: none.
    residual
        Whether the network predicts a change of that control cell, instead of the cell.
    sees_control
        Whether the network reads that control cell, and learns how much of it is left in each gene.
        If it does not, as published, it can predict nothing but one change for all of them.
    clamp
        Whether predictions of the network are cut to [-1, 1]; ``"doses"`` for screens with doses.
    """

    chain_length: int = 500
    beta: tuple[Any, ...] = ("linear", 2e-4, 0.04)
    grid: int = 50
    input_perturbation: float = 0.0
    control_input: str | None = "moments"
    residual: bool = True
    sees_control: bool = False
    clamp: bool | str = "doses"

    def __post_init__(self) -> None:
        check_positive(self, "chain_length", "grid")
        check_whole(self, "chain_length", "grid")
        between(self.input_perturbation, 0, 1, name="input_perturbation", ends=True)
        check_choices(self, {"control_input": CONTROLS, "clamp": CLAMPS})
        flag(self.residual, name="residual")
        flag(self.sees_control, name="sees_control")
        object.__setattr__(self, "beta", tuple(self.beta))  # files keep lists
        if (self.residual or self.sees_control) and self.control_input is None:
            msg = (
                "residual=True and sees_control=True need a control cell: control_input must not "
                "be None"
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class MaskConfig:
    """Which genes of a predicted cell are off.

    Parameters
    ----------
    mask
        How zeros are made:

        - ``"bernoulli"``: each gene of each cell is on with a probability of the condition, drawn
          independently;
        - ``"coupled"``: with the same probability, but on or off as in the starting cell as often
          as that allows, so that zeros of genes stay together as in control cells;
        - ``"reference"``: zeros of real cells of the training condition whose genes are on as
          often, as published later;
        - ``"hurdle"``: with a probability that the network predicts for each cell;
        - ``"counts"``: no mask; the network predicts all values, and genes are off as often as
          counts with that mean are (`match_zeros`);
        - ``None``: no mask.
    mask_network
        What predicts the probability: ``"graph"``, as published; ``"genes"``, the graph and two
        layers between all genes, as published first; or ``"shift"``, a change of the log odds in
        control cells of the context.
    high, low
        Probabilities from which a gene is on in all cells of ``"reference"``, and up to which it is
        off.
    mask_width
        Width of the network that predicts the probability.
    """

    mask: str | None = "bernoulli"
    mask_network: str = "graph"
    high: float = 0.99
    low: float = 0.01
    mask_width: int = 64

    def __post_init__(self) -> None:
        check_choices(self, {"mask": MASKS, "mask_network": MASK_NETWORKS})
        check_shares(self, "high", "low")
        check_positive(self, "mask_width")
        check_whole(self, "mask_width")
        if self.low > self.high:
            msg = f"low={self.low} must not be above high={self.high}"
            raise ValueError(msg)


@dataclass(frozen=True)
class UnlastingLossConfig:
    """What Unlasting is trained on.

    Parameters
    ----------
    on_values
        Whether squared errors count only where a gene is on. It goes with the masks that draw which
        genes are.
    energy
        Weight of the energy distance between the cells that come from pure noise and real ones.
    """

    on_values: bool = True
    energy: float = 0.0

    def __post_init__(self) -> None:
        flag(self.on_values, name="on_values")
        between(self.energy, 0, float("inf"), name="energy", ends=True) if self.energy else None


@dataclass(frozen=True)
class UnlastingConditioningConfig(ConditioningConfig):
    """How the network is given the condition.

    Parameters
    ----------
    condition_dropout, unseen_weight, pooling
        As of the group that all models share; `pooling` is of ``read_out="node"``.
    read_out
        Where the gene graph is read: at the ``"node"`` of the perturbed gene, or at all
        ``"genes"``, with the perturbed one knocked out.
    context_effects
        Whether the effect of a perturbation is steered by the context too. If not, the context
        steers control and perturbed cells alike, and effects carry over to contexts in which they
        were not measured.
    own_vectors
        Whether a perturbation that is known by its gene also has a learned vector of its own. In
        training it is left out with the probability `condition_dropout`, so that the node alone
        can stand for unseen genes.
    """

    condition_dropout: float = 0.0
    pooling: str = "sum"
    read_out: str = "node"
    context_effects: bool = True
    own_vectors: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"read_out": READ_OUTS})


@dataclass(frozen=True)
class GraphConfig:
    """The gene graph, where it is made of control cells or of vectors.

    Parameters
    ----------
    threshold
        Absolute correlation in control cells, or cosine of vectors, from which two genes are
        joined.
    neighbours
        At most so many edges for each gene, the strongest; all of them if ``None``.
    correlated_cells
        Control cells that correlations are computed in.
    node_features
        Principal components of the training profiles of a gene that describe its node.
    """

    threshold: float = 0.5
    neighbours: int | None = None
    correlated_cells: int = 500
    node_features: int = 32

    def __post_init__(self) -> None:
        between(self.threshold, 0, 1, name="threshold", ends=True)
        check_positive(self, "correlated_cells", "node_features")
        check_whole(self, "correlated_cells", "node_features")
        if self.neighbours is not None:
            whole(self.neighbours, name="neighbours")


@dataclass(frozen=True)
class UnlastingNetworkConfig:
    """The network.

    Parameters
    ----------
    width
        Width of the trunk; the number of genes if ``None``.
    decoder
        Width of the decoders.
    depth
        Layers of each part of the trunk, and of a decoder.
    graph_width
        Features of a gene in the graph.
    graph_heads
        Heads of its attention.
    norm
        Norm of the layers that cells go through, as of shoal.nn.mlp.
    dropout
        Share of the features that are dropped in training.
    """

    width: int | None = 1024
    decoder: int = 2048
    depth: int = 3
    graph_width: int = 256
    graph_heads: int = 2
    norm: str = "batch"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_choices(self, {"norm": NORMS})
        names = ("decoder", "depth", "graph_width", "graph_heads")
        check_positive(self, *names)
        check_whole(self, *names)
        check_dropout(self, "dropout")
        if self.width is not None:
            whole(self.width, name="width")


@dataclass(frozen=True)
class UnlastingSamplingConfig:
    """How cells are generated.

    Parameters
    ----------
    n_steps
        Steps of the grid that are walked.
    guidance
        How far to follow covariates, as of the other models; 1 is plain.
    inversion
        How the noise of a control cell is found, as of shoal.generative.invert: ``"ddim"`` or
        ``"exact"``. ``None`` begins at new noise, and trains no network of control cells.
    gamma
        Weight of the earlier state in ``"exact"``.
    inversion_from
        Standard deviation of the noise at the first step of the way there and back. Below it,
        errors of the network are divided by very little.
    inversion_masked
        Whether genes that are off in the control cell are kept at 0 on the way to the noise.
    """

    n_steps: int = 50
    guidance: Guidance = 1.0
    inversion: str | None = "ddim"
    gamma: float = 1.0
    inversion_from: float = 0.0
    inversion_masked: bool = False

    def __post_init__(self) -> None:
        whole(self.n_steps, name="n_steps")
        check_guidance(self.guidance)
        check_choices(self, {"inversion": (*INVERSIONS, None)})
        check_shares(self, "gamma", "inversion_from")
        check_positive(self, "gamma")
        flag(self.inversion_masked, name="inversion_masked")
        if isinstance(self.guidance, dict):
            object.__setattr__(self, "guidance", dict(self.guidance))


@dataclass(frozen=True)
class UnlastingConfig:
    """All settings of Unlasting, in groups.

    The name of a setting is unique, so that ``config={"width": 32}`` finds its group;
    ``config={"network": {"width": 32}}`` says the same.

    Parameters
    ----------
    bridge
        `chain_length`, `beta`, `grid`, `input_perturbation`, `control_input`, `residual`,
        `sees_control`, `clamp`.
    masking
        `mask`, `mask_network`, `high`, `low`, `mask_width`.
    loss
        `on_values`, `energy`.
    conditioning
        `condition_dropout`, `unseen_weight`, `pooling`, `read_out`,
        `context_effects`, `own_vectors`.
    graph
        `threshold`, `neighbours`, `correlated_cells`, `node_features`.
    network
        `width`, `decoder`, `depth`, `graph_width`, `graph_heads`, `norm`, `dropout`.
    start
        `cross_context`, `mean_shrinkage`.
    post
        `match_zeros`, `renew_library`. With a mask that is drawn, zeros are matched only in cells
        that were perturbed at their start, which have no mask.
    sampling
        `n_steps`, `guidance`, `inversion`, `gamma`, `inversion_from`, `inversion_masked`.

    Raises
    ------
    ValueError
        For a name that is not known, a number that makes no sense, and parts that do not fit
        together.
    TypeError
        For guidance that is neither a number nor a mapping of covariates to numbers, and sizes that
        are no whole numbers.
    """

    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    masking: MaskConfig = field(default_factory=MaskConfig)
    loss: UnlastingLossConfig = field(default_factory=UnlastingLossConfig)
    conditioning: UnlastingConditioningConfig = field(default_factory=UnlastingConditioningConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    network: UnlastingNetworkConfig = field(default_factory=UnlastingNetworkConfig)
    start: StartConfig = field(default_factory=StartConfig)
    post: PostConfig = field(default_factory=lambda: AS_MADE)
    sampling: UnlastingSamplingConfig = field(default_factory=UnlastingSamplingConfig)

    def __post_init__(self) -> None:
        mask, on = self.masking.mask, self.loss.on_values
        if on and mask in ("counts", None):
            msg = (
                f"mask={mask!r} draws no zeros, so that errors must count for all values: set "
                "on_values=False"
            )
            raise ValueError(msg)
        if mask == "counts" and not self.post.match_zeros:
            msg = "mask='counts' makes zeros by match_zeros, which must be True"
            raise ValueError(msg)
        self.steps(self.sampling.n_steps)

    @property
    def learns_mask(self) -> bool:
        """Whether a network of its own predicts which genes are on."""
        return self.masking.mask in LEARNED

    @property
    def inverts(self) -> bool:
        """Whether there is a network of control cells."""
        return self.sampling.inversion is not None

    @property
    def grid(self) -> tuple[int, ...]:
        """Steps of the chain that the network is trained on, upwards."""
        return respaced(self.bridge.grid, self.bridge.chain_length)

    def steps(self, n: int) -> tuple[int, ...]:
        """Return the n steps of the grid that are walked, upwards.

        Raises
        ------
        ValueError
            If the grid does not have that many steps.
        """
        return coarser(self.grid, n)


PUBLISHED = UnlastingConfig()

PRESETS: Mapping[str, UnlastingConfig] = MappingProxyType(
    {
        # One network that sees a real control cell and pure noise; genes are off as the starting
        # cell has them, as far as the probability of the condition allows.
        "shoal": changed(
            PUBLISHED,
            {
                "control_input": "cell",
                "sees_control": True,
                "clamp": False,
                "mask": "coupled",
                "mask_network": "shift",
                "energy": 4.0,
                "condition_dropout": 0.1,
                "unseen_weight": 0.5,
                "context_effects": False,
                "own_vectors": True,
                "guidance": {"context": 0.5},
                "cross_context": 0.5,
                "match_zeros": True,
                "renew_library": True,
                "neighbours": 10,
                "width": 256,
                "decoder": 256,
                "depth": 1,
                "graph_width": 64,
                "norm": "layer",
                "inversion": None,
                "n_steps": 1,
            },
        ),
        # The later version of the paper, called Doloris (Chi et al. 2026).
        "published": changed(PUBLISHED, {"mask": "reference"}),
        # The first version (Chi et al. 2025).
        "published_v2": changed(
            PUBLISHED,
            {
                "read_out": "genes",
                "width": None,
                "decoder": 1024,
                "threshold": 0.3,
                "mask_network": "genes",
            },
        ),
    }
)

_AS_PUBLISHED = {
    "max_steps": 10_000,
    "lr": 1e-4,
    "weight_decay": 0.0,
    "warmup": 0.0,
    "ema": None,  # it is kept, and evaluation loads the weights without it
    "set_size": 8,
    "batch_conditions": 4,
}
# Settings of training that go with a preset.
TRAINING: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "shoal": {
            "max_steps": 800,
            "lr": 2e-3,
            "weight_decay": 0.01,
            "ema": 0.995,
            "set_size": 32,
            "batch_conditions": 12,
        },
        "published": _AS_PUBLISHED,
        "published_v2": _AS_PUBLISHED,
    }
)

RECIPES = Recipes("Unlasting", PRESETS, TRAINING, beside="preset, embedding and gene_graph")
