"""What steers the set transformer: the number of a diffusion step and the covariates, as PerturbDiff encodes them.

Yuan et al. 2026, arXiv:2602.19685.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .._validate import one_of
from ._condition import CodeEncoder, MeanPool
from ._set_transformer import linear
from ._time import waves

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class StepEmbedding(nn.Module):
    """The number of a diffusion step as a vector: 128 sines and cosines of periods 2π to about 2π · 10,000, then a network.

    Parameters
    ----------
    width
        Length of the vector.
    """

    n_waves, period = 128, 10_000.0

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = nn.Linear(2 * self.n_waves, width), nn.Linear(width, width)
        for layer in (first, second):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.net = nn.Sequential(first, nn.SiLU(), second)

    def forward(self, t: Tensor) -> Tensor:
        """Return the embedding of steps of any shape: an axis of `width` is appended."""
        longest = 2 * pi * self.period ** (1 - 1 / self.n_waves)
        return self.net(waves(t, self.n_waves, longest=longest, shortest=2 * pi))


class CovariateEncoder(nn.Module):
    """What is asked for as one vector, as published: all covariates side by side, through a layer as wide as the genes.

    In place of a null for each covariate (:class:`ConditionEncoder`) there is one for all of them together: guidance
    can follow what is asked for more or less, but not one covariate more than another.

    Parameters
    ----------
    n_vector
        Length of a perturbation's vector; the vectors are mapped linearly, so that one-hot vectors make a learned table.
    n_contexts, n_batches
        Number of contexts and of batches that the network is told; 0 for none. Code -1, unknown, has a row of its own.
    hidden
        Width of the layer in between: the number of genes, as published.
    width
        Length of the result.
    dose
        Whether a dose is told.
    dropout
        Probability with which everything is left out, in training.
    coin
        ``"batch"``: one throw for all conditions of a batch, as published; ``"condition"``: one for each.
    d_covariate
        Length of a single covariate's vector.

    Raises
    ------
    ValueError
        If there is no such coin.
    """

    def __init__(
        self,
        n_vector: int,
        n_contexts: int,
        *,
        hidden: int,
        width: int,
        n_batches: int = 0,
        dose: bool = False,
        dropout: float = 0.5,
        coin: str = "batch",
        d_covariate: int = 128,
    ) -> None:
        super().__init__()
        one_of(coin, ("batch", "condition"), name="coin")
        self.dropout, self.coin = dropout, coin
        self.pool = MeanPool()
        self.unperturbed = nn.Parameter(torch.randn(d_covariate) * 0.02)
        self.encoders = nn.ModuleDict({"perturbation": linear(n_vector, d_covariate)})
        if n_contexts:
            self.encoders["context"] = CodeEncoder(n_contexts, d_covariate)
        if n_batches:
            self.encoders["batch"] = CodeEncoder(n_batches, d_covariate)
        if dose:
            self.encoders["dose"] = linear(2, d_covariate)
        self.enter = linear(d_covariate * len(self.encoders), hidden)
        self.leave = linear(hidden, width)
        self.null = nn.Parameter(torch.randn(hidden) * 0.02)

    @property
    def covariates(self) -> tuple[str, ...]:
        """The covariates that the encoder knows, by name."""
        return tuple(self.encoders)

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
            As for :class:`ConditionEncoder`: ``parts``, ``present``, ``context`` and ``dose``.
        batch_index
            (K, S) batch code of each slot, -1 = unknown. Left out, all are unknown.
        generator
            For the dropout of training; needed there unless `dropout` is 0.
        drop
            Covariates to leave out: one or all of them, the null is that of all together.

        Returns
        -------
        Tensor (K, S, width), or (K, 1, width) where all slots of a condition agree.

        Raises
        ------
        ValueError
            For a covariate or a code that the encoder does not know, or training without a generator.
        """
        for name in drop:
            one_of(name, self.covariates, name="drop")
        n = len(condition["present"])
        if drop:
            told = self.null.expand(n, 1, -1)
        else:
            vectors = [self._encode(name, condition, batch_index) for name in self.covariates]
            slots = max(vector.shape[1] for vector in vectors)
            told = self.enter(
                torch.cat([vector.expand(-1, slots, -1) for vector in vectors], dim=-1)
            )
            told = self._dropped(told, generator)
        return self.leave(nn.functional.silu(told))

    def _dropped(self, told: Tensor, generator: torch.Generator | None) -> Tensor:
        """Replace all that is told (K, S, hidden) by the null, as the coin falls, in training."""
        if not self.training or self.dropout == 0:
            return told
        if generator is None:
            msg = "the dropout of training draws from an explicit generator: pass generator=, or call eval() first"
            raise ValueError(msg)
        throws = torch.rand(
            1 if self.coin == "batch" else len(told), generator=generator, device=generator.device
        )
        return torch.where(
            (throws < self.dropout).to(told.device)[:, None, None], self.null.to(told.dtype), told
        )

    def _encode(
        self, name: str, condition: Mapping[str, Tensor], batch_index: Tensor | None
    ) -> Tensor:
        """Return one covariate's vectors, (K, 1 or S, d_covariate)."""
        encoder = self.encoders[name]
        if name == "perturbation":
            present = condition["present"]
            pooled = self.pool(encoder(condition["parts"]), present)
            return torch.where(present.any(-1, keepdim=True), pooled, self.unperturbed)[:, None]
        if name == "batch":
            unknown = torch.full_like(condition["context"], -1)[:, None]
            return encoder(unknown if batch_index is None else batch_index)
        if name == "dose":
            value, there = condition["dose"].unbind(-1)
            return encoder(torch.stack([value * there, there], dim=-1))[:, None]
        return encoder(condition[name])[:, None]
