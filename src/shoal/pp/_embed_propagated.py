"""Given vectors, carried along a graph to perturbations that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import EMBEDDINGS, EMBEDDINGS_INFO, GRAPHS, GRAPHS_INFO
from ..core._edges import KNOWN, read_edges
from ..core._graph import adjacency, checked_edges, filled
from ._embed_names import in_names_of
from ._embed_source import Vectors, from_table

if TYPE_CHECKING:
    from ._embed_request import EmbeddingRequest


def by_propagation(request: EmbeddingRequest) -> Vectors:
    """Return vectors of the source, and weighted means of neighbours for those without one."""
    edges = in_names_of(_edges_of(request), request.keys, request.others)
    ends = pd.unique(edges[["source", "target"]].to_numpy().ravel())
    nodes = pd.Index(sorted({*map(str, ends), *request.keys}), dtype=object)
    source = _source_of(request)
    given = from_table(source, list(nodes), others=request.others, slot=request.slot)
    known = nodes.isin(given.values.index)
    table = np.full((len(nodes), given.values.shape[1]), np.nan)
    table[known] = given.values.loc[nodes[known]].to_numpy()
    if not known.any():
        return Vectors(pd.DataFrame(), dict.fromkeys(request.keys, "not in the source"))
    smoothing = float(request.smoothing or 0.0)
    table = filled(adjacency(edges, list(nodes)), table, known, smoothing=smoothing)
    made = np.isfinite(table).all(axis=1)
    place = {name: i for i, name in enumerate(nodes)}
    linked = set(map(str, ends))
    absent = {
        key: f"{given.absent.get(key, 'not in the source')}, and no path of the graph leads to one "
        "that has a vector"
        if key in linked
        else f"{given.absent.get(key, 'not in the source')}, and not in the graph"
        for key in request.keys
        if not made[place[key]]
    }
    held = [key for key in request.keys if made[place[key]]]
    values = pd.DataFrame(table[[place[key] for key in held]], index=pd.Index(held, dtype=object))
    fitted_on, n_fit = _fitted_on(request)
    return Vectors(values, absent, given.known, fitted_on, n_fit, matched=given.matched)


def _fitted_on(request: EmbeddingRequest) -> tuple[str, int]:
    """Return the cells of the screen that the source, or the graph, was fitted on."""
    graphs = request.adata.uns.get(GRAPHS_INFO, {}).get("table", pd.DataFrame())
    named = isinstance(request.graph, str) and request.graph in graphs.index
    if named and bool(graphs.loc[request.graph, "transductive"]):
        return "all", request.adata.n_obs
    about = request.adata.uns.get(EMBEDDINGS_INFO, {}).get("table")
    if about is None or not isinstance(request.source, str) or request.source not in about.index:
        return "none", 0
    row = about.loc[request.source]
    return str(row["fitted_on"]), int(row["n_fit"])


def _source_of(request: EmbeddingRequest) -> Any:
    """Return the vectors: an embedding of the screen if the source is the name of one."""
    held = request.adata.uns.get(EMBEDDINGS, {})
    named = isinstance(request.source, str) and request.source in held
    return held[request.source] if named else request.source


def _edges_of(request: EmbeddingRequest) -> pd.DataFrame:
    """Return the edges of a graph of the screen, if it is the name of one, or of a source.

    Weights below 0 are refused, but for those of downloaded networks, whose signs are of
    regulation.
    """
    held = request.adata.uns.get(GRAPHS, {})
    if isinstance(request.graph, str) and request.graph in held:
        return checked_edges(held[request.graph])
    downloaded = isinstance(request.graph, str) and request.graph in KNOWN
    return checked_edges(read_edges(request.graph, signed=not downloaded))
