"""What steers a dual bridge: the perturbed genes in their graph, molecules, doses and places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ._bridge import mlp
from ._condition import POOLS, AttentionPool, CodeEncoder, context_encoder
from ._dose_gate import DoseGate
from ._graph import GraphEncoder, knocked_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

CODE = 256  # length of the vector of a context or batch


class StratumNet(nn.Module):
    """The context and the batch of cells as one vector.

    Parameters
    ----------
    n_contexts, n_batches
        Numbers of each; what there is one of, or none, has no vector.
    width
        Length of the result.
    dropout
        Share of the features that are dropped in training.
    n_context_vector
        Number of coordinates of a context. Above 0 they are read instead of its code.
    """

    def __init__(
        self,
        n_contexts: int,
        n_batches: int,
        width: int,
        *,
        dropout: float,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        tables = {
            "context": context_encoder(_several(n_contexts), n_context_vector, CODE),
            "batch": CodeEncoder(n_batches, CODE) if n_batches > 1 else None,
        }
        self.tables = nn.ModuleDict({k: table for k, table in tables.items() if table is not None})
        self.nets = nn.ModuleDict(
            {name: mlp(CODE, width, width, dropout=dropout) for name in self.tables}
        )
        self.width = width

    def forward(self, condition: Mapping[str, Tensor], batch_index: Tensor) -> Tensor:
        """Return (K, S, width), or (K, 1, width) where all slots are alike.

        Parameters
        ----------
        condition
            ``context`` (K,) codes, -1 = unknown, or ``context_vector``, as of a SetBatch.
        batch_index
            (K, S) codes, -1 = unknown.
        """
        place = torch.zeros(len(batch_index), 1, self.width, device=batch_index.device)
        for name, net in self.nets.items():
            table = self.tables[name]
            told = batch_index
            if name == "context":
                told = condition[getattr(table, "reads", name)][:, None]
            if isinstance(table, CodeEncoder):
                own, which = told.unique(return_inverse=True)  # each code goes through once
                place = place + net(table(own))[which]
            else:
                place = place + net(table(told))
        return place


class TreatmentEncoder(nn.Module):
    """The perturbations of a condition as one vector that does not depend on their order.

    The vector of a part is the sum of those that it has: that of its node in the gene graph, a
    learned one of its own, and what a small network makes of its given vector. The context is
    added, and a network of three layers follows. A dose multiplies the result by a share of it
    (:class:`DoseGate`), and the results of all parts are pooled.

    Parameters
    ----------
    n_vector
        Length of the given vectors; 0 if they are not read.
    n_node
        Features of a node; 0 if there is no graph.
    n_contexts
        Number of contexts; fewer than two leave the context out.
    n_own
        Number of parts that have a learned vector of their own.
    width
        Length of the result.
    d
        Length of the vector of a part.
    doses
        Whether there are doses.
    pooling
        How parts become one vector, as of :class:`ConditionEncoder`.
    n_heads, dropout
        As of :class:`GraphEncoder`.
    n_context_vector
        As of :class:`StratumNet`.
    """

    def __init__(
        self,
        n_vector: int,
        n_node: int,
        n_contexts: int,
        *,
        n_own: int = 0,
        width: int,
        d: int,
        doses: bool,
        pooling: str = "sum",
        n_heads: int = 2,
        dropout: float = 0.1,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.graph = GraphEncoder(n_node, d, n_heads=n_heads, dropout=dropout) if n_node else None
        self.own = nn.Embedding(n_own + 1, d, padding_idx=0) if n_own else None
        self.vector = _two_layers(n_vector, d, d) if n_vector else None
        self.gate = DoseGate(d) if doses else None
        self.norm = nn.LayerNorm(d)
        self.context = _context(n_contexts, n_context_vector, d)
        self.decode = mlp(d, width, width, width, dropout=dropout)
        self.pool = AttentionPool(width) if pooling == "attention" else POOLS[pooling]()
        self.unperturbed = nn.Parameter(torch.randn(width) * 0.02)
        self.left_out = nn.Parameter(torch.randn(width) * 0.02)

    def forward(
        self, condition: Mapping[str, Tensor], nodes: Tensor | None, edges: Tensor | None
    ) -> Tensor:
        """Return (K, 1, width).

        Parameters
        ----------
        condition
            ``parts``, ``present``, ``context`` and ``dose`` as of a SetBatch, and

            - ``genes`` (K, P) the gene that each part is, -1 where it is none;
            - ``own`` (K, P) the learned vector of each part, 0 for none;
            - ``left_out`` (K,) bool, whether the perturbation is left out; optional.
        nodes
            (G, n_node) features of the genes.
        edges
            (2, E) edges with loops.
        """
        present = condition["present"]
        told = condition["parts"], condition["genes"], condition["own"]
        vector = self.learned(*told, nodes, edges)
        part = self.norm(vector)
        if self.context is not None:
            part = part + self.context(condition)[:, None]
        part = self.decode(part)
        if self.gate is not None:  # after the norms of layers, which would undo a factor
            dose = condition["dose"][:, None].expand(-1, present.shape[1], -1)
            part = part * self.gate(vector, dose)
        pooled = self.pool(part, present)
        pooled = torch.where(present.any(-1, keepdim=True), pooled, self.unperturbed)
        if "left_out" in condition:
            pooled = torch.where(condition["left_out"][:, None], self.left_out, pooled)
        return pooled[:, None]

    def learned(
        self,
        vectors: Tensor,
        genes: Tensor,
        own: Tensor,
        nodes: Tensor | None,
        edges: Tensor | None,
    ) -> Tensor:
        """Return the (..., d) learned vectors of perturbations, before dose and context.

        Parameters
        ----------
        vectors
            (..., n_vector) given vectors.
        genes, own
            (...) the gene and the learned vector of each, as of :meth:`forward`.
        nodes, edges
            As of :meth:`forward`.
        """
        part = 0.0
        if self.vector is not None:
            part = part + self.vector(vectors)
        if self.graph is not None:
            every = self.graph(nodes, edges)  # once for all of them
            part = part + every[genes.clamp(min=0)] * (genes >= 0)[..., None]
        return part if self.own is None else part + self.own(own)


class GenewiseEncoder(nn.Module):
    """A number for every gene of a condition, from a graph in which its genes are knocked out.

    The node of a gene is a learned vector, plus what small networks make of its value in control
    cells, of the context, and of the given vector of the perturbation. A dose multiplies the latter
    by a share of it (:class:`DoseGate`); without a vector, a linear map of the dose is added
    to all nodes. The nodes of perturbed genes are replaced. After the layers of graph attention
    each gene has weights of its own that read its node. The graph is evaluated once a condition and
    not once a cell: memory grows with conditions times edges.

    Parameters
    ----------
    n_genes
        Number of genes.
    n_vector, n_contexts, n_own, doses, n_context_vector
        As of :class:`TreatmentEncoder`.
    d
        Features of a node.
    width, depth, n_heads, dropout
        As of :class:`GraphEncoder`.
    token
        Whether the nodes of perturbed genes become a learned token, or zeros.
    """

    def __init__(
        self,
        n_genes: int,
        n_vector: int,
        n_contexts: int,
        *,
        n_own: int = 0,
        d: int = 64,
        width: int = 256,
        depth: int = 2,
        doses: bool,
        token: bool,
        n_heads: int = 2,
        dropout: float = 0.1,
        n_context_vector: int = 0,
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(n_genes, d))
        self.norm = nn.LayerNorm(d)
        self.control = nn.Sequential(_two_layers(1, d, d), nn.LayerNorm(d))
        self.vector = nn.Sequential(nn.Linear(n_vector, d), nn.LayerNorm(d)) if n_vector else None
        self.gate = DoseGate(d) if doses and n_vector else None
        self.dose = nn.Linear(2, d) if doses and not n_vector else None
        self.context = _context(n_contexts, n_context_vector, d)
        self.token = nn.Parameter(torch.randn(d)) if token else None
        self.own = nn.Embedding(n_own + 1, d, padding_idx=0) if n_own else None
        self.left_out = nn.Parameter(torch.zeros(d))
        self.graph = GraphEncoder(d, width, depth=depth, n_heads=n_heads, dropout=dropout)
        self.after = mlp(width, width, width, width, dropout=dropout)
        self.weight = nn.Parameter(torch.randn(n_genes, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(n_genes))

    def forward(self, condition: Mapping[str, Tensor], control: Tensor, edges: Tensor) -> Tensor:
        """Return (K, G) numbers.

        Parameters
        ----------
        condition
            As of :class:`TreatmentEncoder`.
        control
            (K, G) values of control cells.
        edges
            (2, E) edges with loops.
        """
        moved = torch.zeros_like(self.left_out)  # (K, 1, d), what all nodes of a condition get
        if self.context is not None:
            moved = moved + self.context(condition)[:, None]
        if self.vector is not None:
            there = condition["present"][..., None]
            part = self.vector(condition["parts"]).masked_fill(~there, 0).sum(1)
            if self.gate is not None:
                part = part * self.gate(part, condition["dose"])
            moved = moved + part[:, None]
        if self.dose is not None:
            moved = moved + self.dose(condition["dose"])[:, None]
        genes = condition["genes"].masked_fill(~condition["present"], -1)
        if self.own is not None:
            moved = moved + self.own(condition["own"]).sum(1)[:, None]
        if "left_out" in condition:
            out = condition["left_out"][:, None]
            genes = genes.masked_fill(out, -1)
            moved = moved + self.left_out * out[..., None]
        alike, which = control.unique(dim=0, return_inverse=True)  # one for each context
        nodes = self.norm(self.table) + self.control(alike[..., None])
        nodes = knocked_out(nodes.index_select(0, which) + moved, genes, self.token)
        return (self.after(self.graph(nodes, edges)) * self.weight).sum(-1) + self.bias


class _ContextNet(nn.Module):
    """The context of a condition as a vector (K, d)."""

    def __init__(self, table: nn.Module, d: int) -> None:
        super().__init__()
        self.table = table
        self.net = nn.Sequential(nn.Linear(CODE, d), nn.LayerNorm(d))

    def forward(self, condition: Mapping[str, Tensor]) -> Tensor:
        return self.net(self.table(condition[getattr(self.table, "reads", "context")]))


def _context(n_contexts: int, n_context_vector: int, d: int) -> _ContextNet | None:
    """Return the network of the context, where there are several."""
    table = context_encoder(_several(n_contexts), n_context_vector, CODE)
    return None if table is None else _ContextNet(table, d)


def _several(n: int) -> int:
    """Return a number of codes; 0 for a single one, which says nothing."""
    return n if n > 1 else 0


def _two_layers(first: int, inner: int, last: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(first, inner), nn.SiLU(), nn.Linear(inner, last))
