"""Embeddings of a gene network, from its spectrum or from random walks in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from .._compat import require
from .._logging import logger
from .._settings import settings
from ..core._gene_sets import read_gene_sets
from ._embed_source import Source, Vectors, read_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._typing import Floats

KNOWN = ("collectri", "dorothea")  # networks that decoupler downloads
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


def from_network(source: Source, keys: Sequence[str], *, n_comps: int, walk: int | None) -> Vectors:
    """Embed the network of `source` and look the `keys` up."""
    graph = as_graph(read_edges(source))
    k = min(n_comps, len(graph.nodes) - 1)
    if k < n_comps:
        logger.info(
            "%d connected nodes span %d components, not n_comps=%d", len(graph.nodes), k, n_comps
        )
    table = spectral(graph.adjacency, k) if walk is None else walks(graph.adjacency, k, window=walk)
    held = [key for key in keys if key in graph.nodes]
    absent = {
        key: "outside the largest connected part of the network"
        if key in graph.outside
        else "not in the network"
        for key in set(keys) - set(held)
    }
    values = pd.DataFrame(table[graph.nodes.get_indexer(held)], index=pd.Index(held, dtype=object))
    return Vectors(values, absent, graph.nodes)


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


def read_edges(source: Source, *, signed: bool = False) -> pd.DataFrame:
    """Return edges with columns ``source``, ``target`` (text) and ``weight``.

    Gene sets become the edges between sets and genes. Weights have their signs if they are to be
    `signed`, and are absolute values otherwise.

    Raises
    ------
    ValueError
        If the columns do not say which are the ends of an edge, or weights are missing.
    TypeError
        If the source is of another kind.
    """
    if isinstance(source, str) and source in KNOWN:
        frame = getattr(require("decoupler", extra="net").op, source)()
    elif isinstance(source, Mapping) or (
        isinstance(source, str | Path) and Path(source).suffix == ".gmt"
    ):
        members = [
            (f"set: {name}", gene)
            for name, genes in read_gene_sets(source).items()
            for gene in genes
        ]
        frame = pd.DataFrame(members, columns=["source", "target"])
    elif isinstance(source, str | Path):
        frame = read_file(Path(source))
    elif isinstance(source, pd.DataFrame):
        frame = source
    else:
        msg = (
            "source of a network must be an edge list (DataFrame or path), gene sets (mapping or "
            f"GMT path), or one of {', '.join(map(repr, KNOWN))}; not {type(source).__name__}"
        )
        raise TypeError(msg)
    ends, weight = _columns(frame)
    blank = frame[ends].isna() | (frame[ends].astype(str).apply(lambda c: c.str.strip()) == "")
    unnamed = int(blank.any(axis=1).sum())
    if unnamed:
        msg = (
            f"source: {unnamed} of {len(frame)} edges have no name in {ends[0]!r} or {ends[1]!r}; "
            "drop them"
        )
        raise ValueError(msg)
    edges = pd.DataFrame(
        {"source": frame[ends[0]].astype(str), "target": frame[ends[1]].astype(str)}
    )
    edges["weight"] = 1.0 if weight is None else frame[weight].astype(np.float64)
    edges["weight"] = edges["weight"] if signed else edges["weight"].abs()
    wrong = int((~np.isfinite(edges["weight"])).sum())
    if wrong:
        msg = f"source: {wrong} edges have no finite {weight!r}; drop or fill them"
        raise ValueError(msg)
    return edges


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


def _columns(frame: pd.DataFrame) -> tuple[list[Any], Any]:
    """Return the two columns with the ends of edges, and that of weights.

    They are found by name, or as the only two columns of text and the only column of numbers.
    """
    if "weight" in frame.columns and not pd.api.types.is_numeric_dtype(frame["weight"]):
        msg = "source: the column 'weight' of the edges does not hold numbers"
        raise ValueError(msg)
    numbers = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    if {"source", "target"} <= set(frame.columns):
        ends: list[Any] = ["source", "target"]
        numbers = [c for c in numbers if c == "weight"]
    else:
        ends = [c for c in frame.columns if c not in numbers]
        numbers = ["weight"] if "weight" in numbers else numbers
    if len(ends) != 2 or len(numbers) > 1:
        msg = (
            f"source: which columns of {list(frame.columns)} are the ends of an edge and its "
            "weight? Name them 'source', 'target' and, where there is one, 'weight'"
        )
        raise ValueError(msg)
    return ends, numbers[0] if numbers else None


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
