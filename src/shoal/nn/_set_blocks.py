"""A transformer over sets of cells, in which each cell is a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._validate import whole
from ._attention import EPS, Attention, Enter, linear, readable
from ._blocks import steering_of, zeroed


class SetBlock(nn.Module):
    """Attention over the cells of a set, then an MLP of each cell.

    A condition steers both (adaLN-Zero). An untrained block is the identity.
    """

    def __init__(self, width: int, n_heads: int, d_condition: int, *, mlp_ratio: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=EPS)
        self.steer = zeroed(nn.Linear(d_condition, 6 * width))
        self.attention = Attention(width, n_heads, width) if n_heads else None
        inner = mlp_ratio * width
        self.mlp = nn.Sequential(linear(width, inner), nn.GELU("tanh"), linear(inner, width))

    def forward(
        self, h: Tensor, condition: Tensor, keys: Tensor | None, slots: Tensor | None = None
    ) -> Tensor:
        """Return the new cells (K, S, width); arguments as of :class:`CrossBlock`."""
        steering = steering_of(self.steer, condition, slots)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = steering.chunk(6, dim=-1)
        if self.attention is not None:
            h = h + gate * self.attention(torch.addcmul(shift, self.norm(h), 1 + scale), keys)
        return h + gate_mlp * self.mlp(torch.addcmul(shift_mlp, self.norm(h), 1 + scale_mlp))


class SetTransformer(nn.Module):
    """A transformer that takes sets of cells and returns sets of cells.

    Permuting the slots of a set permutes its result. The steering layers and the last layer start
    at zero, so that an untrained network returns exactly 0.

    Parameters
    ----------
    d_in
        Numbers of a cell in the input.
    d_out
        Numbers of a cell in the output.
    width
        Width of a token.
    depth
        Number of blocks.
    n_heads
        Heads of the attention; with 0 heads the cells of a set do not see each other.
    d_condition
        Length of the condition vector; `width` if ``None``.
    mlp_ratio
        Width of the hidden layer of the MLPs, in units of `width`.

    Raises
    ------
    ValueError
        If `n_heads` does not divide `width`.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        width: int,
        depth: int,
        n_heads: int,
        d_condition: int | None = None,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        depth = whole(depth, name="depth")
        d_condition = width if d_condition is None else d_condition
        self.enter = linear(d_in, width, kind=Enter)
        self.blocks = nn.ModuleList(
            SetBlock(width, n_heads, d_condition, mlp_ratio=mlp_ratio) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=EPS)
        self.steer = zeroed(nn.Linear(d_condition, 2 * width))
        self.leave = zeroed(nn.Linear(width, d_out))

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        *,
        slots: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the output (K, S, d_out).

        Parameters
        ----------
        x
            (K, S, d_in) cells. The last features may be left out where they are 0.
        condition, slots
            As of :class:`CrossTransformer`.
        weight
            (K, S) weights of the slots. Other slots do not read those of weight 0.
        """
        condition = nn.functional.silu(condition)
        keys = None if weight is None else readable(weight > 0)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, condition, keys, slots)
        shift, scale = steering_of(self.steer, condition, slots).chunk(2, dim=-1)
        return self.leave(torch.addcmul(shift, self.norm(h), 1 + scale))
