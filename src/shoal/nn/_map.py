"""The network of the conditional Monge gap as published: plain layers of cell and condition."""

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

DRUG, DOSE = 50, 1  # lengths of the vectors of a drug and of a dose


class ConcatenatedNet(nn.Module):
    """``layers([cell, drug, dose])``: cell and condition are concatenated.

    One layer reads the vector of each drug, and a pool joins the drugs of a combination. With 50
    features, four drugs and a width of 64 the network has the 22,510 weights that Driessen et al.
    2025 (arXiv:2504.08328) report.

    Parameters
    ----------
    d
        Features of a cell.
    n_vector
        Length of a drug's vector.
    width
        Units of a hidden layer.
    depth
        Number of hidden layers.
    pooling
        How the drugs of a combination become one vector: ``"mean"``, ``"sum"`` or ``"attention"``.
    n_beside
        Number of further inputs of a cell that are not moved.
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
        """Return the output (K, S, d).

        Parameters
        ----------
        x
            (K, S, d) cells.
        condition
            ``"parts"``, ``"present"`` and ``"dose"`` of K conditions, as in a SetBatch.
        beside
            (K, S, n_beside) further inputs, where the network has some.
        """
        gelu = nn.functional.gelu
        drug = self.pool(gelu(self.drug(condition["parts"])), condition["present"])
        encoded = torch.cat([drug, gelu(self.dose(condition["dose"][:, :1]))], dim=-1)
        seen = [x, encoded[:, None].expand(-1, x.shape[1], -1)]
        return self.layers(torch.cat(seen if beside is None else [*seen, beside], dim=-1))
