"""What is asked for, as a vector: perturbations, context, dose, batch, each of which can be left out."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .._validate import one_of
from ._time import waves

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class MeanPool(nn.Module):
    """The mean of the parts that are present."""

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        """Return (K, width) from parts (K, P, width) and present (K, P) bool; 0 where no part is present."""
        kept = parts.masked_fill(~present[..., None], 0).sum(dim=-2)
        return kept / present.sum(dim=-1, keepdim=True).clamp(min=1)


class SumPool(nn.Module):
    """The sum of the parts that are present: what two perturbations add up to, before the network bends it."""

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        """Return (K, width) from parts (K, P, width) and present (K, P) bool; 0 where no part is present."""
        return parts.masked_fill(~present[..., None], 0).sum(dim=-2)


class AttentionPool(nn.Module):
    """A weighted mean of the parts that are present: each head asks one learned question of every part.

    Parameters
    ----------
    width
        Length of the vectors.
    n_heads
        Number of questions; divides `width`.
    """

    def __init__(self, width: int, *, n_heads: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.score = nn.Linear(width, n_heads)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        """Return (K, width) from parts (K, P, width) and present (K, P) bool; parts that are absent have no effect."""
        parts = parts.masked_fill(~present[..., None], 0)
        score = self.score(parts).masked_fill(~present[..., None], torch.finfo(parts.dtype).min)
        share = score.softmax(dim=-2).masked_fill(
            ~present[..., None], 0
        )  # (K, P, heads); all 0 where nothing is present
        value = self.value(parts).unflatten(-1, (self.n_heads, -1))  # (K, P, heads, width / heads)
        return self.out((share[..., None] * value).sum(dim=-3).flatten(-2))


POOLS = {"mean": MeanPool, "sum": SumPool, "attention": AttentionPool}


class PerturbationEncoder(nn.Module):
    """A set of perturbation vectors: one shared network for each part, then a pool that does not know their order.

    The empty set, a control cell, has a learned vector of its own.
    """

    def __init__(self, n_vector: int, width: int, *, pooling: str) -> None:
        super().__init__()
        one_of(pooling, POOLS, name="pooling")
        self.part = nn.Sequential(nn.Linear(n_vector, width), nn.SiLU(), nn.Linear(width, width))
        self.pool = AttentionPool(width) if pooling == "attention" else POOLS[pooling]()
        self.unperturbed = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        pooled = self.pool(self.part(parts), present)
        return torch.where(present.any(dim=-1, keepdim=True), pooled, self.unperturbed)


class CodeEncoder(nn.Module):
    """One learned row for each code; the code -1, unknown, has the row `null`, which the dropout uses as well.

    All rows start near the null row: a network that is told contexts far apart learns each of them by heart, and little
    of what a perturbation does in one holds in another.
    """

    def __init__(self, n_codes: int, width: int) -> None:
        super().__init__()
        self.n_codes = n_codes
        self.rows = nn.Embedding(n_codes, width)
        nn.init.normal_(self.rows.weight, std=0.05)
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, codes: Tensor) -> Tensor:
        if codes.numel() and int(codes.max()) >= self.n_codes:
            msg = f"code {int(codes.max())} is not known: the encoder was made for codes 0 to {self.n_codes - 1} and -1, unknown"
            raise ValueError(msg)
        return torch.where((codes < 0)[..., None], self.null, self.rows(codes.clamp(min=0)))


class DoseEncoder(nn.Module):
    """A standardised dose and whether there is one, (K, 2): the value itself, its waves, and the flag, into a small network."""

    n_waves = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * self.n_waves + 2, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, dose: Tensor) -> Tensor:
        value, there = dose.unbind(dim=-1)
        seen = (
            waves(value, self.n_waves, longest=16.0, shortest=0.5) * there[..., None]
        )  # doses of about -3 to 3
        return self.net(torch.cat([(value * there)[..., None], seen, there[..., None]], dim=-1))


class ConditionEncoder(nn.Module):
    """The vector that steers a network: what is done to the cells, where, how much of it, and in which batch.

    Every covariate has an encoder and a learned *null* vector, "not told". In training each covariate of each sample is
    replaced by its null with probability `dropout`, independently, so that one network learns the field with and without
    each covariate, which is what guidance composes.

    Parameters
    ----------
    n_vector
        Length of a perturbation's vector.
    n_contexts
        Number of contexts; 0 for none.
    width
        Length of the result.
    n_batches
        Number of batches that the network is told; 0 for none.
    n_control
        Length of a summary of the control cells, given as ``condition["control"]``; 0 for none.
    pooling
        How the parts of a combination become one: ``"mean"``, ``"sum"`` or ``"attention"``.
    dropout
        Probability with which a covariate is left out, in training.

    Notes
    -----
    The covariates are ``"perturbation"``, ``"context"``, ``"dose"``, ``"batch"`` and ``"control"``, as far as there are any:
    see `covariates`.
    """

    def __init__(
        self,
        n_vector: int,
        n_contexts: int,
        *,
        width: int,
        n_batches: int = 0,
        n_control: int = 0,
        pooling: str = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.encoders = nn.ModuleDict(
            {"perturbation": PerturbationEncoder(n_vector, width, pooling=pooling)}
        )
        if n_contexts:
            self.encoders["context"] = CodeEncoder(n_contexts, width)
        self.encoders["dose"] = DoseEncoder(width)
        if n_batches:
            self.encoders["batch"] = CodeEncoder(n_batches, width)
        if n_control:
            self.encoders["control"] = nn.Sequential(
                nn.Linear(n_control, width), nn.SiLU(), nn.Linear(width, width)
            )
        self.nulls = nn.ParameterDict(
            {
                name: torch.zeros(width)
                for name, encoder in self.encoders.items()
                if not hasattr(encoder, "null")
            }
        )
        self.mix = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width)
        )  # of the sum: every encoder ends in a linear layer

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
            ``parts`` (K, P, n_vector) and ``present`` (K, P) bool, ``context`` (K,) codes, -1 = unknown, ``dose`` (K, 2)
            value and whether there is one; ``control`` (K, n_control) where the encoder was made for it.
        batch_index
            (K, S) batch code of each slot, -1 = unknown. Left out, the batch is not told.
        generator
            For the dropout of training; needed there unless `dropout` is 0. With a `batch_index`, every slot is a sample;
            without one, every condition.
        drop
            Covariates to leave out everywhere.

        Returns
        -------
        Tensor (K, S, width), or (K, 1, width) where all slots of a condition agree.

        Raises
        ------
        ValueError
            For a covariate in `drop` that the encoder does not know, a code that it does not know, or training without
            a generator.
        """
        for name in drop:
            one_of(name, self.covariates, name="drop")
        vectors = [
            self._null(name).expand(len(condition["present"]), 1, -1)
            if name in drop or (name == "batch" and batch_index is None)
            else self._dropped(
                name, self._encode(name, condition, batch_index), batch_index, generator
            )
            for name in self.covariates
        ]
        return self.mix(reduce(torch.add, vectors))

    def _null(self, name: str) -> Tensor:
        return self.nulls[name] if name in self.nulls else self.encoders[name].null

    def _encode(
        self, name: str, condition: Mapping[str, Tensor], batch_index: Tensor | None
    ) -> Tensor:
        """Return one covariate's vectors, (K, 1 or S, width)."""
        encoder = self.encoders[name]
        if name == "perturbation":
            return encoder(condition["parts"], condition["present"])[:, None]
        return encoder(batch_index) if name == "batch" else encoder(condition[name])[:, None]

    def _dropped(
        self,
        name: str,
        vectors: Tensor,
        batch_index: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Replace some samples' vectors by the null, in training."""
        if not self.training or self.dropout == 0:
            return vectors
        if generator is None:
            msg = "the dropout of training draws from an explicit generator: pass generator=, or call eval() first"
            raise ValueError(msg)
        shape = (len(vectors), 1) if batch_index is None else tuple(batch_index.shape)
        chance = torch.rand(shape, generator=generator, device=generator.device).to(vectors.device)
        return torch.where((chance < self.dropout)[..., None], self._null(name), vectors)
