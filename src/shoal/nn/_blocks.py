"""A residual network whose every block is steered by a condition (adaLN-Zero)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def zeroed(layer: Layer) -> Layer:
    """Return the layer with weight and bias 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def steering_of(layer: nn.Module, condition: Tensor, slots: Tensor | None) -> Tensor:
    """Return the output of a layer for conditions, for each condition or for each slot.

    Parameters
    ----------
    layer
        Maps the last axis, of c numbers.
    condition
        (K, B, c) conditions of K sets, B for each set.
    slots
        (K, S, B), 1 at the condition of each slot and else 0. ``None`` gives one result a
        condition.

    Returns
    -------
    (K, B, ...), or (K, S, ...) where `slots` are given.
    """
    steering = layer(condition)
    return steering if slots is None else slots.to(steering) @ steering


class Block(nn.Module):
    """``h + gate * MLP(scale * norm(h) + shift)``.

    The condition gives gate, scale and shift. An untrained block is the identity.
    """

    def __init__(self, width: int, d_condition: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.steer = zeroed(nn.Linear(d_condition, 3 * width))
        self.net = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Return the new h; `condition` broadcasts over the leading axes of h."""
        shift, scale, gate = self.steer(condition).chunk(3, dim=-1)
        return h + gate * self.net(torch.addcmul(shift, self.norm(h), 1 + scale))


class ResidualMLP(nn.Module):
    """Residual network with adaLN-Zero in every block.

    The steering layers and the last layer start at zero. An untrained network therefore returns
    exactly 0 for any input.

    The last layer reads the residual stream without a norm. A norm would remove how far a cell lies
    from the centre, and a map that shrinks or spreads a population of few features needs to know
    that.

    Parameters
    ----------
    d_in
        Features of the input.
    d_out
        Features of the output.
    width
        Width of the residual stream.
    depth
        Number of blocks.
    d_condition
        Length of the condition vector.
    dropout
        Share of the units of a block that are dropped in training.

    Notes
    -----
    adaLN-Zero: Peebles & Xie 2023, *Scalable diffusion models with transformers*.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        width: int,
        depth: int,
        d_condition: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(d_in, width)
        self.blocks = nn.ModuleList(
            Block(width, d_condition, dropout=dropout) for _ in range(depth)
        )
        self.steer = zeroed(nn.Linear(d_condition, 2 * width))
        self.leave = zeroed(nn.Linear(width, d_out))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (..., d_out) for cells x (..., d_in).

        The condition (..., d_condition) broadcasts over the leading axes of x.
        """
        h = self.enter(x)
        condition = nn.functional.silu(condition)
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.steer(condition).chunk(2, dim=-1)
        return self.leave(torch.addcmul(shift, h, 1 + scale))
