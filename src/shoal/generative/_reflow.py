r"""Rectified flow: how straight and how long the paths of a field are.

A flow with straight paths can be followed in one step. To straighten a flow, train a second field
on the pairs (z0, z1) that the first field makes. This keeps the marginals and never raises E|z1 −
z0|². Make the pairs within one condition and one stratum at a time, train on them with the coupling
``"none"``, and start from the trained weights. ``shoal.models.Flow.reflow`` does all of this.
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
    """How straight and how long the paths of a flow are.

    Both are 0-d, in squared units of the columns, summed over columns.

    Attributes
    ----------
    straightness
        ∫E|z1 − z0 − b(z_t, t)|² dt; 0 for straight paths.
    transport
        E|z1 − z0|².
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
    r"""Measure how straight and how long the paths of a field are.

    The paths are followed in small steps, with the mean speed of each step: ∫E\|z1 − z0 − b\|² dt =
    E[∫\|b\|² dt − \|z1 − z0\|²]. The result is never negative, and does not see curvature within a
    step.

    Parameters
    ----------
    field
        The field.
    source
        (..., D) sources.
    weight
        (...,) weight of each source. By default all count the same.
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
