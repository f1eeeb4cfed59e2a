"""What steers the set transformer: the diffusion step and the covariates, as PerturbDiff has them.

Yuan et al. 2026, arXiv:2602.19685.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .._validate import one_of
from ._attention import linear
from ._condition import CodeEncoder, MeanPool, context_encoder
from ._time import waves

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class StepEmbedding(nn.Module):
    """The number of a diffusion step as a vector.

    A small network reads 128 sines and cosines of it, with periods from 2π to about 2π · 10,000.

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
    """The covariates of a condition as one vector, as published.

    The vectors of all covariates are concatenated and go through a layer as wide as the genes.

    There is one learned null vector for all covariates together, where :class:`ConditionEncoder`
    has one for each. Guidance can therefore overstate the whole condition, but not one covariate.

    Parameters
    ----------
    n_vector
        Length of a perturbation's vector. The map from it is linear, so that one-hot vectors make a
        learned table.
    n_contexts
        Number of contexts; 0 leaves the context out. The code -1, unknown, has the mean of their
        vectors, as no context is left out alone in training.
    hidden
        Width of the layer in between: the number of genes, as published.
    width
        Length of the result.
    n_batches
        Number of batches; 0 leaves the batch out.
    dose
        Whether there is a dose.
    dropout
        Probability of leaving all covariates out, in training.
    coin
        ``"batch"`` leaves them out of all conditions of a batch or of none, as published.
        ``"condition"`` decides for each condition by itself.
    d_covariate
        Length of the vector of one covariate.
    n_context_vector
        As of :class:`ConditionEncoder`.

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
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        one_of(coin, ("batch", "condition"), name="coin")
        self.dropout, self.coin = dropout, coin
        self.pool = MeanPool()
        self.unperturbed = nn.Parameter(torch.randn(d_covariate) * 0.02)
        self.encoders = nn.ModuleDict({"perturbation": linear(n_vector, d_covariate)})
        context = context_encoder(n_contexts, n_context_vector, d_covariate, dropped=False)
        if context is not None:
            self.encoders["context"] = context
        if n_batches:
            self.encoders["batch"] = CodeEncoder(n_batches, d_covariate, dropped=False)
        if dose:
            self.encoders["dose"] = linear(2, d_covariate)
        self.enter = linear(d_covariate * len(self.encoders), hidden)
        self.leave = linear(hidden, width)
        self.null = nn.Parameter(torch.randn(hidden) * 0.02)

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates that the encoder reads."""
        return tuple(self.encoders)

    def learned(self, vectors: Tensor) -> Tensor:
        """Return the (n, d_covariate) learned vectors of n single perturbations."""
        return self.encoders["perturbation"](vectors)

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
            (K, S) batch code of each slot, -1 = unknown. With ``None`` all are unknown.
        generator
            Draws the dropout of training, and is needed there unless `dropout` is 0.
        drop
            Covariates to leave out. If there is any, all covariates are left out.

        Returns
        -------
        Tensor (K, S, width), or (K, 1, width) where all slots of a condition are alike.

        Raises
        ------
        ValueError
            If a name in `drop` or a code is not known, or training lacks a generator.
        """
        for name in drop:
            one_of(name, self.covariates, name="drop")
        n = len(condition["present"])
        if drop:
            hidden = self.null.expand(n, 1, -1)
        else:
            vectors = [self._encode(name, condition, batch_index) for name in self.covariates]
            slots = max(vector.shape[1] for vector in vectors)
            hidden = self.enter(
                torch.cat([vector.expand(-1, slots, -1) for vector in vectors], dim=-1)
            )
            hidden = self._dropped(hidden, generator)
        return self.leave(nn.functional.silu(hidden))

    def _dropped(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        """Replace the covariates (K, S, hidden) by the null vector where the coin says so."""
        if not self.training or self.dropout == 0:
            return hidden
        if generator is None:
            msg = (
                "the dropout of training draws from an explicit generator: pass generator=, or "
                "call eval() first"
            )
            raise ValueError(msg)
        n = 1 if self.coin == "batch" else len(hidden)
        throws = torch.rand(n, generator=generator, device=generator.device)
        left_out = (throws < self.dropout).to(hidden.device)[:, None, None]
        return torch.where(left_out, self.null.to(hidden.dtype), hidden)

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
        return encoder(condition[getattr(encoder, "reads", name)])[:, None]
