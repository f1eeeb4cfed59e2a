"""Paths, fields, couplings, losses, samplers and divergences, on tensors."""

from ._bridges import (
    INVERSIONS,
    coarser,
    generate,
    invert,
    masked_error,
    perturbed_input,
    respaced,
)
from ._convert import (
    Heads,
    drift_field,
    drift_from_heads,
    drift_from_score,
    drift_from_target,
    ends,
    score_from_denoiser,
    score_from_drift,
)
from ._couplings import COUPLINGS, couple, take
from ._diffusion import Denoiser, GaussianDiffusion, ddim, strided, truncated
from ._divergences import energy_distance, mmd
from ._guidance import combine, guided
from ._losses import HEADS, Draw, draw, regression, weighted_mean
from ._paths import PATHS, Path, path
from ._reflow import FlowCost, flow_cost
from ._samplers import METHODS, integrate, walk
from ._schedules import GAMMAS, Gamma
from ._sinkhorn import Transport, sinkhorn
from ._stochastic import STOCHASTIC, Diffusion, diffuse, one_sided, two_sided
from ._tensors import Field, normal_like
from ._times import GRIDS, LAWS, draw_times, time_grid
from ._transport_losses import monge_gap, sinkhorn_divergence

__all__ = [
    "COUPLINGS",
    "GAMMAS",
    "GRIDS",
    "HEADS",
    "INVERSIONS",
    "LAWS",
    "METHODS",
    "PATHS",
    "STOCHASTIC",
    "Denoiser",
    "Diffusion",
    "Draw",
    "Field",
    "FlowCost",
    "Gamma",
    "GaussianDiffusion",
    "Heads",
    "Path",
    "Transport",
    "coarser",
    "combine",
    "couple",
    "ddim",
    "diffuse",
    "draw",
    "draw_times",
    "drift_field",
    "drift_from_heads",
    "drift_from_score",
    "drift_from_target",
    "ends",
    "energy_distance",
    "flow_cost",
    "generate",
    "guided",
    "integrate",
    "invert",
    "masked_error",
    "mmd",
    "monge_gap",
    "normal_like",
    "one_sided",
    "path",
    "perturbed_input",
    "regression",
    "respaced",
    "score_from_denoiser",
    "score_from_drift",
    "sinkhorn",
    "sinkhorn_divergence",
    "strided",
    "take",
    "time_grid",
    "truncated",
    "two_sided",
    "walk",
    "weighted_mean",
]
