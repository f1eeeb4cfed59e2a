"""The arguments `graph` and `graph_weight`: which graph of perturbations a training means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from ..._keys import EMBEDDINGS_INFO, GRAPHS, GRAPHS_INFO
from ..._logging import logger
from ..._validate import key_in, positive, some
from ...core._edges import read_edges
from ...core._graph import checked_edges, combined
from ...training import GraphTerm

if TYPE_CHECKING:
    from anndata import AnnData

    from ._vocabulary import Vocabulary

WEIGHT, LOSS = 0.1, "laplacian"  # where a training does not say
Graph = str | pd.DataFrame | Mapping[str, float]


def graph_term(model: Any, graph: Graph | None, weight: float, loss: str) -> GraphTerm | None:
    """Return what a graph adds to the loss of a model; ``None`` without a graph.

    Only perturbations that have a vector have a part in it. A model of a graph that has seen
    held-out cells is marked as transductive.

    Parameters
    ----------
    model
        The model.
    graph
        Name in ``uns["perturbation_graphs"]``, a table of edges, or names and their weights.
    weight, loss
        Strength and kind of the term.

    Raises
    ------
    KeyError
        If there is no such graph.
    ValueError
        If no two perturbations with a vector are linked, the network learns no vectors of them, or
        a weight is given without a graph.
    TypeError
        If it is none of these.
    """
    if graph is None:
        if (weight, loss) != (WEIGHT, LOSS):
            msg = (
                f"graph_weight={weight!r} and graph_loss={loss!r} are of a graph, and there is "
                "none: pass graph= with them"
            )
            raise ValueError(msg)
        return None
    vocabulary: Vocabulary = model.vocabulary
    adata = model.cells.adata
    graphs = _graphs_of(adata, graph)
    names = vocabulary.perturbations
    weights = sparse.coo_array(sparse.triu(combined(graphs, names)))
    if not weights.nnz:
        msg = (
            f"no two of the {len(names)} perturbations with a vector are linked in the graph "
            f"{some(list(graphs))}: are its nodes named as the perturbations are, such as "
            f"{names[0]!r}? sh.pp.link(adata, ..., targets=) gives them other names"
        )
        raise ValueError(msg)
    edges = np.stack(weights.coords, axis=1)
    linked, flat = np.unique(edges, return_inverse=True)
    if len(linked) < len(names):
        alone = sorted(set(names) - {names[i] for i in linked})
        logger.info(
            "%d of %d perturbations have no edge in the graph, which says nothing of them: %s",
            len(alone),
            len(names),
            some(alone, 8),
        )
    rows = vocabulary.scaled_vectors[linked]
    term = GraphTerm(
        vectors=np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float32),
        edges=flat.reshape(edges.shape).astype(np.int64),
        weights=np.asarray(weights.data, dtype=np.float64),
        strength=weight,
        loss=loss,
        codes=linked.astype(np.int64),
    )
    term.check(model.module)
    if _is_transductive(adata, list(graphs)):
        model.vocabulary = replace(vocabulary, transductive=True)
    return term


def _graphs_of(adata: AnnData, graph: Graph) -> dict[str, tuple[pd.DataFrame, float]]:
    """Return the edges of the graphs that a call means, and their weights."""
    if isinstance(graph, pd.DataFrame):
        return {"table": (checked_edges(read_edges(graph, signed=True)), 1.0)}
    if isinstance(graph, str):
        graph = {graph: 1.0}
    if not isinstance(graph, Mapping) or not graph:
        msg = (
            "graph must be the name of a graph that sh.pp.link(adata, ...) wrote, names and their "
            f"weights, or a table of edges, not {graph!r:.60}"
        )
        raise TypeError(msg)
    stored, found = adata.uns.get(GRAPHS, {}), {}
    for name, weight in graph.items():
        key_in(
            name,
            list(stored),
            where=f"adata.uns[{GRAPHS!r}]",
            hint="sh.pp.link(adata, ...) writes them.",
        )
        positive(weight, name=f"the weight of the graph {name!r}")
        found[name] = (checked_edges(stored[name]), float(weight))
    return found


def _is_transductive(adata: AnnData, names: list[str]) -> bool:
    """Whether a graph comes from vectors that have seen held-out cells, then or as split now."""
    graphs = adata.uns.get(GRAPHS_INFO, {}).get("table", pd.DataFrame())
    vectors = adata.uns.get(EMBEDDINGS_INFO, {}).get("table", pd.DataFrame())
    if "transductive" not in graphs:
        return False
    own = graphs.reindex([name for name in names if name in graphs.index])
    later = vectors.get("transductive", pd.Series(dtype=bool))
    seen = set(later.index[later.astype(bool)])
    return bool(own["transductive"].any() or seen & set(own["embedding"]))
