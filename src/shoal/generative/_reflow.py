r"""Rectified flow: how straight and how far the paths of a field run.

A flow whose paths are straight can be followed in one step. Training a second field on the pairs (z0, z1) that the
first one makes leaves the marginals as they are, straightens the paths and never raises E|z1 − z0|². Make pairs within
one condition and one stratum at a time, train on them with the coupling ``"none"``, and start from the trained weights:
``shoal.models.Flow.reflow`` does so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ._losses import weighted_mean
from ._samplers import walk
from ._tensors import full

if TYPE_CHECKING:
    from ._tensors import Field


class FlowCost(NamedTuple):
    """How straight and how far the paths of a flow run; each 0-d.

    `straightness` is ∫E|z1 − z0 − b(z_t, t)|² dt, 0 for straight paths; `transport` is E|z1 − z0|². Both are in squared
    units of the columns, summed over them.
    """

    straightness: Tensor
    transport: Tensor


@torch.no_grad()
def flow_cost(
    field: Field,
    source: Tensor,
    *,
    weight: Tensor | None = None,
    n_steps: int = 100,
    method: str = "heun",
) -> FlowCost:
    r"""Measure how straight and how far the paths of a field run.

    The paths are followed in small steps, and their speed is the mean over a step:
    ∫E\|z1 − z0 − b\|² dt = E[∫\|b\|² dt − \|z1 − z0\|²], never negative. Of the curvature within a step nothing is seen.

    Parameters
    ----------
    field
        The field.
    source
        (..., D) sources.
    weight
        (...,) weight of each. By default all count the same.
    n_steps
        Number of steps.
    method
        A fixed-step method of :func:`integrate`.

    Returns
    -------
    Straightness and transport cost.

    References
    ----------
    liu2023flow
    """
    stops = walk(field, source, method=method, n_steps=n_steps)
    earlier, start = next(stops)
    x, effort = start, torch.zeros_like(full(source[..., 0]))
    for t, following in stops:
        effort = effort + (following - x).square().sum(-1) / (t - earlier)
        earlier, x = t, following
    length = (x - start).square().sum(-1)
    return FlowCost(weighted_mean(effort - length, weight), weighted_mean(length, weight))
