"""The network of the conditional Monge gap as published: cell and condition side by side in plain layers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from .._validate import one_of
from ._blocks import zeroed
from ._condition import POOLS, AttentionPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

DRUG, DOSE = 50, 1  # numbers that a drug and a dose become


class ConcatenatedNet(nn.Module):
    """``layers([cell, drug, dose])``, where a drug is one layer of its vector, pooled over the drugs that are combined.

    With 50 features, four drugs and a width of 64 it has the 22,510 weights that Driessen et al. 2025 (arXiv:2504.08328) report.

    Parameters
    ----------
    d
        Features of a cell.
    n_vector
        Length of a drug's vector.
    width, depth
        Of the hidden layers.
    pooling
        How the drugs of a combination become one vector.
    n_beside
        Numbers that come with a cell and are not moved.
    """

    def __init__(
        self,
        d: int,
        n_vector: int,
        *,
        width: int,
        depth: int,
        pooling: str = "mean",
        n_beside: int = 0,
    ) -> None:
        super().__init__()
        one_of(pooling, POOLS, name="pooling")
        self.drug, self.dose = nn.Linear(n_vector, DRUG), nn.Linear(1, DOSE)
        self.pool = AttentionPool(DRUG, n_heads=5) if pooling == "attention" else POOLS[pooling]()
        sizes = [d + DRUG + DOSE + n_beside, *[width] * depth]
        hidden = [(nn.Linear(a, b), nn.GELU()) for a, b in pairwise(sizes)]
        self.layers = nn.Sequential(
            *(layer for pair in hidden for layer in pair), zeroed(nn.Linear(width, d))
        )

    def forward(
        self, x: Tensor, condition: Mapping[str, Tensor], beside: Tensor | None = None
    ) -> Tensor:
        """Return (K, S, d) for cells (K, S, d), the ``parts``, ``present`` and ``dose`` of K conditions, and (K, S, n_beside)."""
        gelu = nn.functional.gelu
        drug = self.pool(gelu(self.drug(condition["parts"])), condition["present"])
        told = torch.cat([drug, gelu(self.dose(condition["dose"][:, :1]))], dim=-1)
        seen = [x, told[:, None].expand(-1, x.shape[1], -1)]
        return self.layers(torch.cat(seen if beside is None else [*seen, beside], dim=-1))
