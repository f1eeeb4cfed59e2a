"""The vector of a perturbation as CellFlux reads it: one linear layer, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .._validate import one_of
from ._condition import MeanPool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor

COINS = ("batch", "sample")


class LinearCondition(nn.Module):
    """A linear map of the vector of a perturbation; the mean of the vectors of a combination.

    No other covariate is read. Where the perturbation is left out, the result is 0, so that nothing
    is added to the vector of the time.

    Parameters
    ----------
    n_vector
        Length of a perturbation's vector.
    width
        Length of the result.
    dropout
        Probability of leaving the perturbation out, in training.
    coin
        ``"batch"`` leaves it out of a whole batch or of none of it, as published. ``"sample"``
        decides for each cell by itself.

    Raises
    ------
    ValueError
        If there is no such coin.

    References
    ----------
    zhang2025cellflux
    """

    covariates = ("perturbation",)

    def __init__(
        self, n_vector: int, width: int, *, dropout: float = 0.2, coin: str = "batch"
    ) -> None:
        super().__init__()
        one_of(coin, COINS, name="coin")
        self.dropout, self.coin = dropout, coin
        self.map, self.pool = nn.Linear(n_vector, width), MeanPool()

    def learned(self, vectors: Tensor) -> Tensor:
        """Return the (n, width) learned vectors of n single perturbations, from (n, n_vector)."""
        return self.map(vectors)

    def forward(
        self,
        condition: Mapping[str, Tensor],
        batch_index: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        drop: Collection[str] = (),
    ) -> Tensor:
        """Encode K conditions.

        Parameters
        ----------
        condition
            Of these, ``"parts"`` (K, P, n_vector) and ``"present"`` (K, P) are read.
        batch_index
            (K, S) batch codes; only their shape matters, the cells that ``coin="sample"`` decides
            for.
        generator
            Draws the dropout of training, and is needed there unless `dropout` is 0.
        drop
            ``("perturbation",)`` leaves it out of all.

        Returns
        -------
        Tensor (K, S, width), or (K, 1, width) where all slots of a condition are alike.

        Raises
        ------
        ValueError
            If a name in `drop` is not known, or training lacks a generator.
        """
        for name in drop:
            one_of(name, self.covariates, name="drop")
        present = condition["present"]
        vectors = self.pool(self.map(condition["parts"]), present)[:, None]
        if drop:
            return torch.zeros_like(vectors)
        if not self.training or self.dropout == 0:
            return vectors
        if generator is None:
            msg = (
                "the dropout of training draws from an explicit generator: pass generator=, or "
                "call eval() first"
            )
            raise ValueError(msg)
        shape = (1, 1) if self.coin == "batch" or batch_index is None else tuple(batch_index.shape)
        chance = torch.rand(shape, generator=generator, device=generator.device).to(vectors.device)
        return vectors * (chance >= self.dropout)[..., None]
