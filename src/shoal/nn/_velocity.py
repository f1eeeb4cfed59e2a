"""A network of velocities that sees few features of a cell and moves all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ._blocks import ResidualMLP, zeroed

if TYPE_CHECKING:
    from torch import Tensor


class VelocityNet(nn.Module):
    r"""The velocity ``net(leading features, condition) + gain(condition) * x``.

    The network can learn any change of the leading features. Of all others it learns how far a
    population moves (the output of the network) and how much it spreads (the gain), one number each
    for a feature.

    Conditions with a hundred cells in fifty dimensions call for this. A network that sees all
    dimensions recognises single training cells and carries other cells to their mean. In the
    leading principal components alone there are enough cells to learn from.

    Parameters
    ----------
    d
        Features of a cell, those with the largest variance first.
    heads
        Outputs for each feature.
    n_visible
        Number of leading features that the network sees; all if ``None``.
    width, depth, d_condition, dropout
        Arguments of :class:`ResidualMLP`.
    n_beside
        Number of further inputs of a cell that are not moved, such as noise.
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
        """Return the velocities (..., heads * d).

        Parameters
        ----------
        x
            (..., d) cells.
        condition
            (..., d_condition) conditions of the cells.
        beside
            (..., n_beside) further inputs, where the network has some.
        """
        seen = x[..., : self.n_visible]
        out = self.net(seen if beside is None else torch.cat([seen, beside], dim=-1), condition)
        if self.gain is None:
            return out
        return out + self.gain(nn.functional.silu(condition)) * x.tile(self.heads)
