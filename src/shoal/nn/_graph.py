"""Attention along the edges of a graph of genes (GAT), for all genes at once.

An edge runs from one gene to another, and every gene reads the genes whose edges end at it. The
layers are a few lines each, so no library of graph networks is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ._dropout import Dropout

if TYPE_CHECKING:
    from torch import Tensor

SLOPE = 0.2  # of the scores below 0


class GraphAttention(nn.Module):
    r"""One layer of attention along edges (GAT).

    With :math:`h = Wx`, an edge from i to j has the score
    :math:`\mathrm{LeakyReLU}(a \cdot h_i + b \cdot h_j)`. The scores of the edges that end at a
    gene become shares by a softmax, and the gene gets the sum of its neighbours' h by these shares.
    Heads have weights of their own, and their results are put side by side.

    Memory grows with the number of genes times `d_out` and with the number of edges, and never with
    the square of the number of genes.

    Parameters
    ----------
    d_in, d_out
        Features of a gene before and after.
    n_heads
        Number of heads; divides `d_out`.

    Raises
    ------
    ValueError
        If the heads do not divide the features.

    References
    ----------
    velickovic2018graph
    """

    def __init__(self, d_in: int, d_out: int, *, n_heads: int = 2) -> None:
        super().__init__()
        if d_out % n_heads:
            msg = f"n_heads={n_heads} must divide the features of a gene, {d_out}"
            raise ValueError(msg)
        self.n_heads = n_heads
        self.map = nn.Linear(d_in, d_out, bias=False)
        self.sends = nn.Parameter(torch.empty(n_heads, d_out // n_heads))
        self.reads = nn.Parameter(torch.empty(n_heads, d_out // n_heads))
        self.bias = nn.Parameter(torch.zeros(d_out))
        for weight in (self.map.weight, self.sends, self.reads):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Return (..., G, d_out) from genes x (..., G, d_in) and edges (2, E).

        ``edges[0]`` are the genes that are read, and ``edges[1]`` the genes that read them. Every
        gene needs an edge that ends at it; :func:`with_loops` gives it one to itself.
        """
        read, reader = edges
        if bool((reader.diff() < 0).any()):
            reader, order = reader.sort(stable=True)
            read = read[order]
        share = self._shares(x, read, reader)
        h = self.map(x).to(share).unflatten(-1, (self.n_heads, -1))  # (..., G, heads, c)
        return self._sums(h, share, read, reader).to(x) + self.bias

    def _shares(self, x: Tensor, read: Tensor, reader: Tensor) -> Tensor:
        """Return (..., E, heads) how much of each edge its reader takes; 1 in all for a reader."""
        weight = self.map.weight.unflatten(0, (self.n_heads, -1))  # (heads, c, d_in)
        scores = torch.cat([(weight * own[..., None]).sum(1) for own in (self.sends, self.reads)])
        scored = nn.functional.linear(x, scores)
        scored = scored.to(torch.promote_types(scored.dtype, torch.float32))
        one, other = scored.chunk(2, -1)  # (..., G, heads)
        score = nn.functional.leaky_relu(
            one.index_select(-2, read) + other.index_select(-2, reader), SLOPE
        )
        at = reader[:, None].expand_as(score)
        most = torch.full_like(one, -torch.inf).scatter_reduce(-2, at, score.detach(), "amax")
        share = (score - most.index_select(-2, reader)).exp()  # (..., E, heads)
        total = torch.zeros_like(one).index_add(-2, reader, share)
        return share / total.index_select(-2, reader)

    def _sums(self, h: Tensor, share: Tensor, read: Tensor, reader: Tensor) -> Tensor:
        """Return (..., G, d_out), for each reader the sum of h (..., G, heads, c) by its shares.

        The rows of all graphs and heads are one table, and every reader is a bag of its rows: no
        tensor of edges times features is made.
        """
        n, n_edges = h.shape[-3], len(read)
        table = h.flatten(0, -2)  # a row for each graph, gene and head
        block = torch.arange(len(table) // n, device=h.device)  # each graph and head
        graph, head = block // self.n_heads, block % self.n_heads
        first = graph * n * self.n_heads + head
        rows = first[:, None] + read * self.n_heads
        degree = torch.bincount(reader, minlength=n)
        bags = block[:, None] * n_edges + degree.cumsum(0) - degree
        out = nn.functional.embedding_bag(
            rows.flatten(),
            table,
            bags.flatten(),
            mode="sum",
            per_sample_weights=share.mT.flatten(),
        )
        return out.view(*share.shape[:-2], self.n_heads, n, -1).transpose(-3, -2).flatten(-2)


class GraphEncoder(nn.Module):
    """Genes as vectors that know their neighbours: norm, then layers of graph attention.

    After every layer come a norm, a ReLU and dropout.

    Parameters
    ----------
    d_in
        Features of a gene.
    width
        Length of the result.
    depth
        Number of layers.
    n_heads, dropout
        Heads of a layer, and share of the features that are dropped in training.
    """

    def __init__(
        self, d_in: int, width: int, *, depth: int = 2, n_heads: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.enter = nn.LayerNorm(d_in)
        self.layers = nn.ModuleList(
            GraphAttention(width if i else d_in, width, n_heads=n_heads) for i in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Return (..., G, width) from genes (..., G, d_in) and edges (2, E) with loops."""
        x = self.enter(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.dropout(norm(layer(x, edges)).relu())
        return x


def with_loops(edges: Tensor, n: int) -> Tensor:
    """Return the edges (2, E) of n genes, both ways and each once, with one from each to itself.

    Raises
    ------
    ValueError
        If an edge names a gene that there is not.
    """
    if edges.numel() and not (int(edges.min()) >= 0 and int(edges.max()) < n):
        msg = f"edges name genes from {int(edges.min())} to {int(edges.max())}; there are {n}"
        raise ValueError(msg)
    loops = torch.arange(n, device=edges.device).expand(2, n)
    both = torch.cat([edges, edges.flip(0), loops], dim=1)
    code = (both[1] * n + both[0]).unique()  # sorted by the gene that reads
    return torch.stack([code % n, code // n])


def knocked_out(nodes: Tensor, genes: Tensor, token: Tensor | None = None) -> Tensor:
    """Return the nodes of each condition, with those of its perturbed genes replaced.

    Parameters
    ----------
    nodes
        (K, G, F) nodes of K conditions.
    genes
        (K, P) perturbed genes of each, -1 where there are fewer.
    token
        (F,) what stands for a perturbed gene; zeros if ``None``.

    Returns
    -------
    (K, G, F)
    """
    row = torch.arange(len(genes), device=genes.device)[:, None].expand_as(genes)
    there, nodes = genes >= 0, nodes.clone()
    other = torch.zeros_like(nodes[0, 0]) if token is None else token.to(nodes)
    nodes[row[there], genes[there]] = other
    return nodes
