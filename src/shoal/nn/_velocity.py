"""A network for velocities that looks at few features of a cell and moves all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ._blocks import ResidualMLP, zeroed

if TYPE_CHECKING:
    from torch import Tensor


class VelocityNet(nn.Module):
    r"""``net(first features, condition) + gain(condition) * x``: any change of shape in few dimensions, simple ones in all.

    Where a condition has a hundred cells in fifty dimensions, a network that sees all of them recognises single cells of
    the training set, and carries others to their mean. Of the leading principal components there are enough cells to
    learn from; in the rest, what can be learned is how far a population moves and how much it spreads: the network's bias
    and the gain, one number for each feature.

    Parameters
    ----------
    d
        Features of a cell, those with the largest variance first.
    heads
        Outputs for each feature.
    n_visible
        Leading features that the network sees; all if ``None``.
    width, depth, d_condition, dropout
        Of the `ResidualMLP`.
    n_beside
        Numbers that come with a cell and are not moved: noise, say.
    """

    def __init__(
        self,
        d: int,
        *,
        heads: int,
        n_visible: int | None,
        width: int,
        depth: int,
        d_condition: int,
        dropout: float = 0.0,
        n_beside: int = 0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.n_visible = d if n_visible is None else min(n_visible, d)
        size = {"width": width, "depth": depth, "d_condition": d_condition, "dropout": dropout}
        self.net = ResidualMLP(self.n_visible + n_beside, heads * d, **size)
        self.gain = zeroed(nn.Linear(d_condition, heads * d)) if self.n_visible < d else None

    def forward(self, x: Tensor, condition: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return (..., heads * d) for x (..., d), a condition (..., d_condition) and what is `beside` x, (..., n_beside)."""
        seen = x[..., : self.n_visible]
        out = self.net(seen if beside is None else torch.cat([seen, beside], dim=-1), condition)
        if self.gain is None:
            return out
        return out + self.gain(nn.functional.silu(condition)) * x.tile(self.heads)
