"""What a flow can be made of, and the named recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ..._validate import one_of, positive
from ...generative import COUPLINGS, GAMMAS, GRIDS, LAWS, METHODS, PATHS
from ...nn import POOLS
from ..base._config import Recipes

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = ("control", "control+noise", "noise")
HEADS = ("velocity", "x1", "velocity+eta")
SAMPLERS = (*METHODS, "sde")


@dataclass(frozen=True)
class FlowConfig:
    """A flow: its path, source, coupling, loss, conditioning, network and sampler.

    Lengths (`noise`, `gamma_scale`, `epsilon`, `eps0`) are in units of the module's `scale`, about one standard deviation
    of the data.

    Parameters
    ----------
    path, gamma, gamma_scale
        The path from source to target, the schedule of its noise, and the schedule's amplitude (`a`).
    source
        Where paths begin: at control cells, at control cells with noise added, or at noise.
    noise, noise_probability, noise_at_sampling
        Of ``"control+noise"``: the standard deviation that is added, with which probability a cell gets it in training,
        and whether all get it when cells are generated.
    coupling, epsilon
        Which source belongs to which target, within a condition and batch_index; `epsilon` of ``"sinkhorn"``.
        ``"none"`` means that the batches hold pairs made earlier: their sources are used as they are.
    head
        What the loss compares: the ``"velocity"``, the end ``"x1"`` of the path that it points to (errors count less the
        nearer the end), or the velocity and the noise, ``"velocity+eta"``, which a path with noise needs.
    law
        Law of the times in training.
    condition_dropout
        Probability with which each covariate is left out in training.
    guidance
        How far to follow covariates, by name, when cells are generated: 1 plainly, more than 1 overstated, 0 not at all.
        Those that the screen does not have are passed over.
    unseen_weight
        How far to follow the vector of a perturbation that was not in training, unless `guidance` says it: the rest is what
        the perturbations of training do on average. Vectors made from knowledge of genes often say little about responses.
    control_mean
        Whether the network is told the mean of the set of controls.
    pooling, width, depth, dropout
        The network: how the parts of a combination become one vector, width, number of blocks, dropout in the blocks.
    cross_context
        Where a perturbation was measured in other contexts too, its paths may begin at those cells, moved by the difference
        of the contexts' control means; the network is then told no perturbation, and learns what else differs between the
        contexts. This is the share of such sets in training; above 0, predictions begin there wherever they can.
    mean_shrinkage
        Share of the change of the mean that is taken back in predictions that begin there: the flow is learned from other
        perturbations, and what it adds to the mean is less certain than the mean itself.
    relative_to_control
        Whether the network sees cells relative to the mean of their controls, so that what it learns of a perturbation in
        one context holds in another.
    n_visible
        Leading principal components that the network sees of a cell; it moves all of them. All if ``None``; ``"auto"`` is
        half the root of the cells of the median condition: six for 150 cells, eleven for 500. Of fifty components it would
        recognise single cells, and carry others to their mean.
    match_zero_fraction
        Whether a gene is off in as many of the predicted cells as its mean and the cells that they began with let expect: a
        network moves all cells a little, zeros among them. Where values cannot be below 0.
    sampler, n_steps, grid, eps0
        How cells are generated: a method of the flow or ``"sde"``, number and grid of its steps, amount of noise of
        ``"sde"``.

    Raises
    ------
    ValueError
        For a name that is not known, a number that makes no sense, and parts that do not fit together.
    """

    path: str = "linear"
    gamma: str = "zero"
    gamma_scale: float = 1.0
    source: str = "control"
    noise: float = 1.0
    noise_probability: float = 0.5
    noise_at_sampling: bool = True
    coupling: str = "exact"
    epsilon: float | None = None
    head: str = "velocity"
    law: str = "uniform"
    condition_dropout: float = 0.1
    guidance: Mapping[str, float] = field(default_factory=dict)
    unseen_weight: float = 1.0
    control_mean: bool = False
    pooling: str = "mean"
    cross_context: float = 0.0
    mean_shrinkage: float = 0.0
    relative_to_control: bool = False
    n_visible: int | Literal["auto"] | None = None
    width: int = 128
    depth: int = 3
    dropout: float = 0.0
    match_zero_fraction: bool = False
    sampler: str = "heun"
    n_steps: int = 20
    grid: str = "uniform"
    eps0: float = 0.5

    def __post_init__(self) -> None:
        known = {
            "path": PATHS,
            "gamma": GAMMAS,
            "source": SOURCES,
            "coupling": COUPLINGS,
            "head": HEADS,
            "law": LAWS,
            "pooling": POOLS,
            "sampler": SAMPLERS,
            "grid": GRIDS,
        }
        for name, choices in known.items():
            one_of(getattr(self, name), choices, name=name)
        for name in ("gamma_scale", "noise", "width", "depth", "n_steps"):
            positive(getattr(self, name), name=name)
        for name in (
            "noise_probability",
            "condition_dropout",
            "dropout",
            "cross_context",
            "mean_shrinkage",
        ):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is a share, from 0 to 1, not {getattr(self, name)!r}"
                raise ValueError(msg)
        object.__setattr__(self, "guidance", dict(self.guidance))  # one's own
        if (self.gamma != "zero") != (self.head == "velocity+eta"):
            msg = (
                f"head={self.head!r} does not fit gamma={self.gamma!r}: a path with noise needs head='velocity+eta', "
                "and a path without needs 'velocity' or 'x1'"
            )
            raise ValueError(msg)
        if self.cross_context and (self.source == "noise" or self.control_mean):
            what = "source='noise'" if self.source == "noise" else "control_mean=True"
            msg = (
                f"cross_context={self.cross_context!r} lets paths begin at perturbed cells of other contexts, which does not go with "
                f"{what}; set cross_context=0"
            )
            raise ValueError(msg)
        self.check_sampler(self.sampler)

    def check_sampler(self, sampler: str) -> None:
        """Raise ``ValueError`` unless the flow can be sampled in this way."""
        one_of(sampler, SAMPLERS, name="sampler")
        if (
            sampler == "sde"
            and self.gamma == "zero"
            and (self.source != "noise" or self.coupling != "independent")
        ):
            msg = (
                "sampler='sde' needs a score: choose a gamma other than 'zero', or source='noise' with "
                f"coupling='independent', not gamma='zero' with source={self.source!r} and coupling={self.coupling!r}"
            )
            raise ValueError(msg)


PRESETS: Mapping[str, FlowConfig] = MappingProxyType(
    {
        # Control to perturbed cells along straight lines, paired by optimal transport, by a network that sees as many
        # components as the cells of a condition can fill, relative to their controls, and that follows the context half and
        # the vector of a new perturbation a quarter; from the perturbation's cells of other contexts where there are some:
        # what measured best, on real and on simulated cells.
        "flow": FlowConfig(
            n_visible="auto",
            relative_to_control=True,
            dropout=0.1,
            pooling="sum",
            guidance={"context": 0.5},
            unseen_weight=0.25,
            cross_context=0.5,
            match_zero_fraction=True,
        ),
        # Rectified flow before its reflow: random pairs of a batch_index, few Euler steps (Liu et al. 2023).
        "rectified": FlowConfig(coupling="independent", sampler="euler", n_steps=10),
        # Conditional flow matching with minibatch optimal transport (Tong et al. 2024).
        "otcfm": FlowConfig(),
        # Stochastic interpolant: noise on the way, learned together with the velocity (Albergo et al. 2025).
        "stochastic": FlowConfig(
            gamma="quadratic",
            head="velocity+eta",
            coupling="independent",
            sampler="sde",
            n_steps=50,
            eps0=0.5,
        ),
        # Schrödinger bridge of a Brownian motion with sd 1: entropic pairs with epsilon = 2 sd² (Tong et al. 2024).
        "sbcfm": FlowConfig(
            gamma="brownian",
            gamma_scale=1.0,
            head="velocity+eta",
            coupling="sinkhorn",
            epsilon=2.0,
            sampler="sde",
            n_steps=50,
            eps0=0.5,
        ),
        # From noise, told the condition only (flow matching, Lipman et al. 2023; for screens, Valence Labs 2026).
        "noise2data": FlowConfig(
            source="noise", coupling="independent", condition_dropout=0.15, n_steps=50
        ),
        # CellFlux for profiles: noisy controls of the same batch, skewed times, guidance (Zhang et al. 2025).
        "cellflux": FlowConfig(
            source="control+noise",
            coupling="independent",
            law="edm",
            condition_dropout=0.2,
            guidance={"perturbation": 1.2},
            n_steps=50,
            grid="edm",
        ),
    }
)

TRAINING = {"max_steps": 800, "lr": 2e-3, "weight_decay": 0.1}
RECIPES = Recipes("a flow", PRESETS, dict.fromkeys(PRESETS, TRAINING))
