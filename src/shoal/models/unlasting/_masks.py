"""Which genes are on: the network that predicts how likely, and ways to draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...nn import GenewiseEncoder, TreatmentEncoder, mlp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._config import UnlastingConfig


class MaskNetwork(nn.Module):
    """The log odds that a gene is on, for every gene of a condition.

    - ``"graph"``, as published: a graph of all genes, in which the perturbed ones are replaced by a
      learned token, and the value of the gene in control cells is added to the result.
    - ``"genes"``, as published first: perturbed genes become zeros in the graph, and two layers
      between all genes change the result. They change nothing before training.
    - ``"shift"``: the log odds in control cells of the context, and a change by the condition that
      is 0 before training.

    Parameters
    ----------
    d, n_vector, n_node, n_contexts, config
        As of the module.
    **told
        What both kinds of encoders are told beside.
    """

    def __init__(
        self,
        d: int,
        n_vector: int,
        n_node: int,
        n_contexts: int,
        *,
        config: UnlastingConfig,
        **told: Any,
    ) -> None:
        super().__init__()
        width = config.masking.mask_width
        kind = config.masking.mask_network
        self.by_graph = kind != "shift"
        self.between = None
        if self.by_graph:
            own = {"d": width, "width": width, "depth": 1, "token": kind == "graph"}
            self.encoder: nn.Module = GenewiseEncoder(d, n_vector, n_contexts, **own, **told)
            if kind == "genes":
                last = nn.Linear(d, d)
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
                self.between = nn.Sequential(mlp(d, d), last)
        else:
            own = {"width": width, "d": width, "pooling": config.conditioning.pooling}
            self.encoder = TreatmentEncoder(n_vector, n_node, n_contexts, **own, **told)
            self.change = nn.Linear(width, d)
            nn.init.zeros_(self.change.weight)
            nn.init.zeros_(self.change.bias)

    def forward(
        self, condition: Mapping[str, Tensor], nodes: Tensor | None, edges: Tensor
    ) -> Tensor:
        """Return (K, 1, d) log odds for K conditions."""
        mean, _, share = condition["moments"].unbind(1)
        if self.by_graph:
            odds = self.encoder(condition, mean, edges) + mean
            return (odds if self.between is None else odds + self.between(odds))[:, None]
        return torch.logit(share)[:, None] + self.change(self.encoder(condition, nodes, edges))

    def loss(
        self,
        condition: Mapping[str, Tensor],
        nodes: Tensor | None,
        edges: Tensor,
        on: Tensor,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the mean cross entropy of genes that are on (K, S, d) in slots of weight (K, S).

        All cells of a condition have the same log odds (K, 1, d), so that their shares are enough.
        The log odds are returned too.
        """
        n = weight.sum(1)  # (K,) cells
        share = (weight[:, None] @ on)[:, 0] / n.clamp(min=1)[:, None]
        logits = self(condition, nodes, edges)
        bce = nn.functional.binary_cross_entropy_with_logits
        entropy = bce(logits[:, 0], share, reduction="none")
        return (entropy.mean(1) * n).sum() / n.sum().clamp(min=1), logits


def drawn(chance: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return 1 with some probabilities and else 0, drawn independently."""
    numbers = torch.rand(chance.shape, generator=generator, device=generator.device)
    return numbers.to(like).lt_(chance)


def is_on(x: Tensor) -> Tensor:
    """Return 1 where genes of cells are on and else 0, as numbers: faster than a cast of a bool."""
    return torch.ne(x, 0, out=torch.empty_like(x))


def coupled(chance: Tensor, share: Tensor, on: Tensor) -> Tensor:
    """Return the probability that a gene is on, given whether it is on in the starting cell.

    Of all ways to be on with probability `chance` where starting cells are on with probability
    `share`, it is the one that leaves most genes as they are. If more are to be on, those that are
    on stay so, and others are turned on; and the other way round.

    Parameters
    ----------
    chance, share
        (K, 1, d) probabilities between 0 and 1.
    on
        (K, S, d) 1 where a gene of the starting cell is on, else 0.
    """
    stays = (chance / share).clamp(max=1)
    turns = ((chance - share) / (1 - share)).clamp(min=0)
    return torch.lerp(turns, stays, on)
