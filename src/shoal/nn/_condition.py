"""A condition as a vector: perturbations, context, dose and batch; each can be left out."""

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
    """The mean of the perturbations of a combination."""

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        """Return (K, width), 0 where no part is present.

        Parameters
        ----------
        parts
            (K, P, width) vectors of the parts.
        present
            (K, P) bool, which parts there are.
        """
        kept = parts.masked_fill(~present[..., None], 0).sum(dim=-2)
        return kept / present.sum(dim=-1, keepdim=True).clamp(min=1)


class SumPool(nn.Module):
    """The sum of the perturbations of a combination."""

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        """Return (K, width), 0 where no part is present; arguments as of :class:`MeanPool`."""
        return parts.masked_fill(~present[..., None], 0).sum(dim=-2)


class AttentionPool(nn.Module):
    """A weighted mean of the perturbations of a combination, with learned weights.

    Each head has weights of its own, from one linear layer of the vector of a part.

    Parameters
    ----------
    width
        Length of the vectors.
    n_heads
        Number of heads; divides `width`.
    """

    def __init__(self, width: int, *, n_heads: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.score = nn.Linear(width, n_heads)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, parts: Tensor, present: Tensor) -> Tensor:
        """Return (K, width); arguments as of :class:`MeanPool`, absent parts have no effect."""
        parts = parts.masked_fill(~present[..., None], 0)
        score = self.score(parts).masked_fill(~present[..., None], torch.finfo(parts.dtype).min)
        share = score.softmax(dim=-2).masked_fill(
            ~present[..., None], 0
        )  # (K, P, heads); all 0 where nothing is present
        value = self.value(parts).unflatten(-1, (self.n_heads, -1))  # (K, P, heads, width / heads)
        return self.out((share[..., None] * value).sum(dim=-3).flatten(-2))


POOLS = {"mean": MeanPool, "sum": SumPool, "attention": AttentionPool}


class PerturbationEncoder(nn.Module):
    """The perturbations of a condition as one vector that does not depend on their order.

    One network, shared by all perturbations, reads the vector of each, and a pool joins the
    results. A condition without a perturbation, such as a control cell, has a learned vector.
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
    """One learned vector for each code, such as a context or a batch.

    The code -1, unknown, has the vector `unknown`, which is also used where the code is dropped
    out. All vectors start near 0. A network that reads distant vectors for two contexts would learn
    each context by heart, and would carry little of what a perturbation does from one to the other.

    Parameters
    ----------
    n_codes
        Number of codes.
    width
        Length of a vector.
    dropped
        Whether training drops codes out, so that the vector of an unknown one can be learned.
        Otherwise it is the mean of all vectors.
    """

    def __init__(self, n_codes: int, width: int, *, dropped: bool = True) -> None:
        super().__init__()
        self.n_codes = n_codes
        self.rows = nn.Embedding(n_codes, width)
        nn.init.normal_(self.rows.weight, std=0.05)
        self.null = nn.Parameter(torch.zeros(width)) if dropped else None

    @property
    def unknown(self) -> Tensor:
        """(width,) the vector of an unknown code."""
        return self.rows.weight.mean(dim=0) if self.null is None else self.null

    def forward(self, codes: Tensor) -> Tensor:
        if codes.numel() and int(codes.max()) >= self.n_codes:
            msg = (
                f"code {int(codes.max())} is not known: the encoder was made for codes 0 to "
                f"{self.n_codes - 1} and -1, unknown"
            )
            raise ValueError(msg)
        return torch.where((codes < 0)[..., None], self.unknown, self.rows(codes.clamp(min=0)))


class PlaceEncoder(nn.Module):
    """A linear function of the coordinates of a context, in place of a learned vector for each.

    It starts near 0, as the vectors of :class:`CodeEncoder` do. A context without coordinates has
    the vector `unknown`, which is also used where the context is dropped out.

    Parameters
    ----------
    n_coordinates
        Number of coordinates.
    width
        Length of a vector.
    dropped
        Whether training drops contexts out, so that the vector of an unknown one can be learned.
        Otherwise it is the vector at the coordinates 0, the mean of the training contexts.
    """

    reads = "context_vector"

    def __init__(self, n_coordinates: int, width: int, *, dropped: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(n_coordinates, width)
        nn.init.normal_(self.linear.weight, std=0.05 * n_coordinates**-0.5)
        nn.init.zeros_(self.linear.bias)
        self.null = nn.Parameter(torch.zeros(width)) if dropped else None

    @property
    def unknown(self) -> Tensor:
        """(width,) the vector of an unknown context."""
        return self.linear.bias if self.null is None else self.null

    def forward(self, place: Tensor) -> Tensor:
        """Return (K, width) from (K, k + 1): coordinates, and 1 if there are any."""
        known = place[..., -1:] > 0
        return torch.where(known, self.linear(place[..., :-1]), self.unknown)


def context_encoder(
    n_contexts: int, n_context_vector: int, width: int, *, dropped: bool = True
) -> CodeEncoder | PlaceEncoder | None:
    """Return what reads coordinates of a context, or its code; ``None`` if there are neither."""
    if n_context_vector:
        return PlaceEncoder(n_context_vector, width, dropped=dropped)
    return CodeEncoder(n_contexts, width, dropped=dropped) if n_contexts else None


class DoseEncoder(nn.Module):
    """A standardised dose as a vector.

    A small network reads the dose, sines and cosines of it, and whether there is a dose.
    """

    n_waves = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * self.n_waves + 2, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, dose: Tensor) -> Tensor:
        """Return (K, width) from (K, 2): the dose or 0, and 1 if there is one."""
        value, there = dose.unbind(dim=-1)
        # standardised doses are about -3 to 3
        seen = waves(value, self.n_waves, longest=16.0, shortest=0.5) * there[..., None]
        return self.net(torch.cat([(value * there)[..., None], seen, there[..., None]], dim=-1))


class ConditionEncoder(nn.Module):
    """The vector that steers a network: the perturbations, context, dose and batch of a condition.

    Every covariate has an encoder, and a learned *null* vector that stands for "left out". In
    training each covariate of each sample is replaced by its null vector with probability
    `dropout`, independently of the others. One network thus learns to predict with and without each
    covariate, and guidance combines these predictions.

    Parameters
    ----------
    n_vector
        Length of a perturbation's vector.
    n_contexts
        Number of contexts; 0 leaves the context out.
    width
        Length of the result.
    n_batches
        Number of batches; 0 leaves the batch out.
    n_control
        Length of a summary of the control cells, given as ``condition["control"]``; 0 leaves it
        out.
    pooling
        How the perturbations of a combination become one vector: ``"mean"``, ``"sum"`` or
        ``"attention"``.
    dropout
        Probability of leaving a covariate out, in training.
    n_context_vector
        Number of coordinates of a context, given as ``condition["context_vector"]``. Above 0 they
        are read instead of the code, and `n_contexts` does not count.

    Notes
    -----
    The names of the covariates are ``"perturbation"``, ``"context"``, ``"dose"``, ``"batch"`` and
    ``"control"``. The attribute `covariates` lists those that the encoder has.
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
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.encoders = nn.ModuleDict(
            {"perturbation": PerturbationEncoder(n_vector, width, pooling=pooling)}
        )
        context = context_encoder(n_contexts, n_context_vector, width, dropped=dropout > 0)
        if context is not None:
            self.encoders["context"] = context
        self.encoders["dose"] = DoseEncoder(width)
        if n_batches:
            self.encoders["batch"] = CodeEncoder(n_batches, width, dropped=dropout > 0)
        if n_control:
            self.encoders["control"] = nn.Sequential(
                nn.Linear(n_control, width), nn.SiLU(), nn.Linear(width, width)
            )
        self.nulls = nn.ParameterDict(
            {
                name: torch.zeros(width)
                for name, encoder in self.encoders.items()
                if not isinstance(encoder, CodeEncoder | PlaceEncoder)
            }
        )
        self.mix = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width)
        )  # of the sum: every encoder ends in a linear layer

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates that the encoder reads."""
        return tuple(self.encoders)

    def learned(self, vectors: Tensor) -> Tensor:
        """Return the (n, width) learned vectors of n single perturbations, from (n, n_vector)."""
        return self.encoders["perturbation"].part(vectors)

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
            Covariates of the conditions, by name:

            - ``"parts"`` (K, P, n_vector) vectors of the perturbations;
            - ``"present"`` (K, P) bool, which parts there are;
            - ``"context"`` (K,) codes, -1 = unknown;
            - ``"dose"`` (K, 2) the dose, and 1 if there is one;
            - ``"control"`` (K, n_control), for an encoder with `n_control`;
            - ``"context_vector"`` (K, n_context_vector + 1) coordinates of the context, and 1 if
              there are any, for an encoder with `n_context_vector`.
        batch_index
            (K, S) batch code of each slot, -1 = unknown. ``None`` leaves the batch out.
        generator
            Draws the dropout of training, and is needed there unless `dropout` is 0. A sample is a
            slot if there is a `batch_index`, else a condition.
        drop
            Covariates to leave out of all samples.

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
        return self.nulls[name] if name in self.nulls else self.encoders[name].unknown

    def _encode(
        self, name: str, condition: Mapping[str, Tensor], batch_index: Tensor | None
    ) -> Tensor:
        """Return one covariate's vectors, (K, 1 or S, width)."""
        encoder = self.encoders[name]
        if name == "perturbation":
            return encoder(condition["parts"], condition["present"])[:, None]
        if name == "batch":
            return encoder(batch_index)
        return encoder(condition[getattr(encoder, "reads", name)])[:, None]

    def _dropped(
        self,
        name: str,
        vectors: Tensor,
        batch_index: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Replace the vectors of some samples by the null vector, in training."""
        if not self.training or self.dropout == 0:
            return vectors
        if generator is None:
            msg = (
                "the dropout of training draws from an explicit generator: pass generator=, or "
                "call eval() first"
            )
            raise ValueError(msg)
        shape = (len(vectors), 1) if batch_index is None else tuple(batch_index.shape)
        chance = torch.rand(shape, generator=generator, device=generator.device).to(vectors.device)
        return torch.where((chance < self.dropout)[..., None], self._null(name), vectors)
