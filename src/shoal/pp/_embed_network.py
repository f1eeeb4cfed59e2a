"""Embeddings of a gene network, from its spectrum or from random walks in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from .._logging import logger
from .._settings import settings
from ..core._edges import read_edges
from ._embed_names import OtherNames
from ._embed_source import Source, Vectors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._typing import Floats

SMALL = 600  # nodes up to which all eigenvectors are computed


@dataclass(frozen=True)
class Graph:
    """The largest connected part of an undirected network.

    Attributes
    ----------
    nodes
        (n,) names, sorted.
    adjacency
        (n, n) symmetric CSR of positive weights, zero diagonal.
    outside
        Nodes of smaller parts.
    """

    nodes: pd.Index
    adjacency: Any
    outside: frozenset[str]


def from_network(
    source: Source,
    keys: Sequence[str],
    *,
    n_comps: int,
    walk: int | None,
    others: OtherNames | None = None,
) -> Vectors:
    """Embed the network of `source` and look the `keys` up."""
    graph = as_graph(read_edges(source))
    k = min(n_comps, len(graph.nodes) - 1)
    if k < n_comps:
        logger.info(
            "%d connected nodes span %d components, not n_comps=%d", len(graph.nodes), k, n_comps
        )
    table = spectral(graph.adjacency, k) if walk is None else walks(graph.adjacency, k, window=walk)
    matched = (OtherNames() if others is None else others).match(keys, graph.nodes)
    absent = {
        key: "outside the largest connected part of the network"
        if key in graph.outside
        else why.replace("the source", "the network")
        for key, why in matched.absent.items()
    }
    rows = graph.nodes.get_indexer(list(matched.called.values()))
    values = pd.DataFrame(table[rows], index=pd.Index(list(matched.called), dtype=object))
    return Vectors(values, absent, graph.nodes, matched=matched)


def spectral(adjacency: Any, k: int) -> Floats:
    """Return leading eigenvectors of the regularised random walk on a connected graph, (n, k).

    Let A be the weights, D the degrees and t their mean. The regularisation gives every pair of
    nodes the further weight t/n. The eigenvectors are those of (D + t)^-1 (A + t/n), without the
    trivial one. Their squares average 1 over nodes, weighted by degree.

    Without t the eigenvectors would single out a few genes that one edge joins to the others.
    """
    n = adjacency.shape[0]
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    extra = degree.mean()
    root = 1 / np.sqrt(degree + extra)
    scaled = sparse.diags_array(root) @ adjacency @ sparse.diags_array(root)
    if n <= SMALL:
        operator = scaled.toarray() + extra / n * np.outer(root, root)
    else:
        operator = LinearOperator(
            (n, n),
            matvec=lambda x: scaled @ x + extra / n * root * (root @ x.ravel()),
            dtype=np.float64,
        )
    _, vectors = _leading(operator, k + 1, which="LA")
    return _signed(vectors[:, 1:] * root[:, None] * np.sqrt((degree + extra).sum()))


def walks(adjacency: Any, k: int, *, window: int) -> Floats:
    """Return factors of what random walks see together within `window` steps, (n, k).

    This is DeepWalk in closed form. The matrix is log max(1, M), with P = D^-1 A and
    M = vol(A) / window * (P + ... + P^window) D^-1. It is built by blocks of rows and is sparse:
    only pairs that meet more often than by chance have an entry.
    """
    n = adjacency.shape[0]
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    back = sparse.csr_array((sparse.diags_array(1 / degree) @ adjacency).T.astype(np.float32))  # P'
    chance = (window * degree / degree.sum()).astype(np.float32)[:, None]
    columns, step = back.tocsc(), max(1, settings.block_bytes // (16 * n))
    blocks = []
    for start in range(0, n, step):
        reached = columns[:, start : start + step].toarray()
        total = reached.copy()
        for _ in range(window - 1):
            reached = back @ reached
            total += reached
        total /= chance
        blocks.append(sparse.csr_array(np.log(np.maximum(total, 1, out=total), out=total).T))
    matrix = sparse.vstack(blocks, format="csr")
    values, vectors = _leading(matrix.toarray() if n <= SMALL else matrix, k, which="LM")
    return _signed(vectors * np.sqrt(np.abs(values)))


def as_graph(edges: pd.DataFrame) -> Graph:
    """Return the largest connected part, without directions, loops and repeated edges.

    Of repeated edges the largest weight stays.

    Raises
    ------
    ValueError
        If fewer than three nodes are connected.
    """
    edges = edges[(edges["source"] != edges["target"]) & (edges["weight"] > 0)]
    names, flat = np.unique(edges[["source", "target"]].to_numpy(dtype=str), return_inverse=True)
    ends, n = flat.reshape(-1, 2), len(names)
    pairs = pd.DataFrame(
        {"a": ends.min(axis=1), "b": ends.max(axis=1), "w": edges["weight"].to_numpy()}
    )
    pairs = pairs.groupby(["a", "b"], as_index=False)["w"].max()
    half = sparse.csr_array(
        (pairs["w"].to_numpy(), (pairs["a"].to_numpy(), pairs["b"].to_numpy())), shape=(n, n)
    )
    adjacency = sparse.csr_array(half + half.T)
    part = connected_components(adjacency, directed=False)[1] if n else np.empty(0, dtype=np.int64)
    inside = part == np.argmax(np.bincount(part)) if n else np.empty(0, dtype=bool)
    if inside.sum() < 3:
        msg = (
            f"source: {int(inside.sum())} nodes are connected by edges; a network takes at least 3"
        )
        raise ValueError(msg)
    rows = np.flatnonzero(inside)
    return Graph(
        pd.Index(names[inside], dtype=object),
        adjacency[rows][:, rows],
        frozenset(names[~inside].tolist()),
    )


def _leading(operator: Any, k: int, *, which: str) -> tuple[Floats, Floats]:
    """Return the k leading eigenvalues and eigenvectors of a symmetric matrix."""
    if isinstance(operator, np.ndarray):
        values, vectors = linalg.eigh(operator)
    else:
        values, vectors = eigsh(operator, k=k, which=which, v0=np.cos(np.arange(operator.shape[0])))
    order = np.argsort(-(np.abs(values) if which == "LM" else values), kind="stable")[:k]
    return values[order], vectors[:, order]


def _signed(table: Floats) -> Floats:
    """Make the largest entry (in absolute value) of every column positive."""
    largest = table[np.abs(table).argmax(axis=0), np.arange(table.shape[1])]
    return table * np.where(largest < 0, -1.0, 1.0)
