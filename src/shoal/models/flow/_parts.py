"""The networks that a flow is made of, and those of a flow between rows of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...nn import ConditionEncoder, TimeEmbedding, VelocityNet

if TYPE_CHECKING:
    from torch import nn

    from ._config import FlowConfig


class FlowParts(NamedTuple):
    """The networks that a flow is made of.

    Attributes
    ----------
    time
        Times of any shape as vectors, on a new last axis.
    condition
        A `shoal.nn.ConditionEncoder`, or another module that is called as it is and has
        `covariates`.
    net
        Velocities (K, S, heads * d) of cells (K, S, d) under vectors (K or 1, S or 1, width), the
        sum of those of the time and the condition.
    """

    time: nn.Module
    condition: nn.Module
    net: nn.Module


def vector_parts(
    d: int,
    n_vector: int,
    n_contexts: int,
    n_batches: int,
    *,
    config: FlowConfig,
    n_context_vector: int = 0,
) -> FlowParts:
    """Return the networks of a flow between rows of d features."""
    network, given = config.network, config.conditioning
    heads = 1 if config.interpolant.gamma == "zero" else 2
    return FlowParts(
        TimeEmbedding(network.width),
        ConditionEncoder(
            n_vector,
            n_contexts,
            width=network.width,
            n_batches=n_batches,
            n_control=d if given.control_mean else 0,
            pooling=given.pooling,
            dropout=given.condition_dropout,
            n_context_vector=n_context_vector,
        ),
        VelocityNet(
            d,
            heads=heads,
            n_visible=None if network.n_visible == "auto" else network.n_visible,
            width=network.width,
            depth=network.depth,
            d_condition=network.width,
            dropout=network.dropout,
        ),
    )
