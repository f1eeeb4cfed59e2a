"""A transformer over sets of cells, each a token with all that is known of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._validate import positive
from ._blocks import told, zeroed
from ._set_transformer import EPS, Attention, Enter, linear, readable


class SetBlock(nn.Module):
    """Attention over the cells of a set, then an MLP for each, both steered by a condition (adaLN-Zero)."""

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
        """Return h (K, S, width), changed; conditions and slots as of :class:`CrossBlock`."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = told(
            self.steer, condition, slots
        ).chunk(6, dim=-1)
        if self.attention is not None:
            h = h + gate * self.attention(torch.addcmul(shift, self.norm(h), 1 + scale), keys)
        return h + gate_mlp * self.mlp(torch.addcmul(shift_mlp, self.norm(h), 1 + scale_mlp))


class SetTransformer(nn.Module):
    """Sets of cells in, sets of cells out; permuting the slots of a set permutes its result.

    At first it returns exactly 0: all that steers, and the last layer, start at zero.

    Parameters
    ----------
    d_in, d_out
        Numbers for each cell that come in and go out.
    width, depth, n_heads
        Width of a token, number of blocks, heads of their attention; 0 heads for cells that do not see each other.
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
        positive(depth, name="depth")
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
        """Return (K, S, d_out) from x (K, S, d_in), whose last features may be left out where they are 0.

        Conditions and `slots` are as of :class:`CrossTransformer`. Slots of `weight` 0 (K, S) are read by no other.
        """
        condition = nn.functional.silu(condition)
        keys = None if weight is None else readable(weight > 0)
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, condition, keys, slots)
        shift, scale = told(self.steer, condition, slots).chunk(2, dim=-1)
        return self.leave(torch.addcmul(shift, self.norm(h), 1 + scale))
