"""Attention over the cells of a set, and the linear layers around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-6  # of the norms


def linear(d_in: int, d_out: int, *, kind: type[nn.Linear] = nn.Linear) -> nn.Linear:
    """Return a linear layer with Xavier weights and no offset at first."""
    layer = kind(d_in, d_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Enter(nn.Linear):
    """A linear layer whose last input features may be left out where they are 0."""

    def forward(self, x: Tensor) -> Tensor:
        short = x.shape[-1] < self.in_features
        return nn.functional.linear(
            x, self.weight[:, : x.shape[-1]] if short else self.weight, self.bias
        )


def readable(keys: Tensor) -> Tensor:
    """Return which tokens (K, m) are read, bool: those of `keys`, or all of a set without any."""
    return keys | ~keys.any(-1, keepdim=True)


class Attention(nn.Module):
    """Self-attention with several heads, and an RMS-norm of queries and keys."""

    def __init__(self, width: int, n_heads: int, d_out: int) -> None:
        super().__init__()
        if width % n_heads:
            msg = f"n_heads={n_heads} must divide the width of the attention, {width}"
            raise ValueError(msg)
        self.n_heads = n_heads
        self.qkv = linear(width, 3 * width)
        self.norm_q = nn.RMSNorm(width // n_heads, eps=EPS)
        self.norm_k = nn.RMSNorm(width // n_heads, eps=EPS)
        self.leave = linear(width, d_out)

    def forward(self, u: Tensor, keys: Tensor | None) -> Tensor:
        """Return (K, m, d_out) from tokens (K, m, width), of which `keys` (K, m) are read."""
        q, k, v = self.qkv(u).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        mask = None if keys is None else keys[..., None, None, :]
        q, k = (
            norm(a.to(norm.weight.dtype)).to(v.dtype)
            for norm, a in ((self.norm_q, q), (self.norm_k, k))
        )
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.leave(seen.transpose(-3, -2).flatten(-2))
