"""Graphs of genes in the order of the features: from control cells, vectors, or lists of edges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from ..._keys import EMBEDDINGS
from ..._logging import logger
from ..._validate import some
from ...core._edges import read_edges
from ...metrics._cells import densify
from ..base._embedding import vectors_of

if TYPE_CHECKING:
    from ..._typing import Floats, Ints
    from ...core._gene_names import GeneNames
    from ...core._population import Population
    from ._config import GraphConfig

GeneGraph: TypeAlias = str | Path | pd.DataFrame | Mapping[str, Any] | None
COEXPRESSION = "coexpression"
ROWS = 512  # genes whose similarities to all others are computed together


def graph_edges(
    source: GeneGraph,
    cells: Population,
    genes: GeneNames,
    config: GraphConfig,
    rng: np.random.Generator,
) -> Ints:
    """Return the edges (2, E) of a gene graph, each once, as positions of the features.

    Parameters
    ----------
    source
        ``"coexpression"``: genes whose values are correlated in control cells of training. The name
        of an embedding of the screen: genes whose vectors have a cosine of at least the threshold.
        Else a list of edges, or a file of one, as :func:`shoal.pp.embed` takes them.
    cells
        Screen.
    genes
        Names of the features.
    config
        Threshold, and most edges of a gene.
    rng
        Chooses control cells.

    Raises
    ------
    ValueError
        If no edge joins two features, or all values of control cells are alike.
    FileNotFoundError
        If a name is neither an embedding nor a file.
    """
    if isinstance(source, str) and source == COEXPRESSION:
        edges, strength = _correlated(cells, config, rng)
        if not edges.shape[1]:
            logger.warning(
                "no two genes have a correlation of %g or more in control cells: every gene of the "
                "graph stands alone; lower threshold=, or give gene_graph= a list of edges",
                config.threshold,
            )
    elif isinstance(source, str) and source in cells.adata.uns.get(EMBEDDINGS, {}):
        edges, strength = _alike(source, cells, genes, config)
    else:
        edges, strength = _listed(source, genes, list(cells.adata.uns.get(EMBEDDINGS, {})))
    return _strongest(edges, strength, config.neighbours)


def _correlated(
    cells: Population, config: GraphConfig, rng: np.random.Generator
) -> tuple[Ints, Floats]:
    at = np.flatnonzero(cells.train_control)
    order = np.argsort(cells.adata.obs_names.to_numpy()[at].astype(str), kind="stable")
    at = np.sort(rng.permutation(at[order])[: config.correlated_cells])
    x = densify(cells.rows.take(at)).astype(np.float64)
    x = x - x.mean(axis=0)
    size = np.sqrt((x**2).sum(axis=0))
    unit = np.divide(x, size, out=np.zeros_like(x), where=size > 1e-12 * len(x)).T
    return _similar(unit, config.threshold, absolute=True)


def _alike(
    name: str, cells: Population, genes: GeneNames, config: GraphConfig
) -> tuple[Ints, Floats]:
    _, table = vectors_of(cells.adata, name)
    place = _places(table.index.astype(str), genes)
    known = np.flatnonzero(place >= 0)
    if len(known) < 2:
        msg = (
            f"gene_graph={name!r}: {len(known)} of the {len(table)} names of this embedding are "
            f"features ({some(genes.symbols, 6)}); embed the genes with "
            "sh.pp.embed(adata, ..., names=list(adata.var_names))"
        )
        raise ValueError(msg)
    values = table.to_numpy(dtype=np.float64)[known]
    size = np.linalg.norm(values, axis=1, keepdims=True)
    unit = np.divide(values, size, out=np.zeros_like(values), where=size > 0)
    edges, strength = _similar(unit, config.threshold, absolute=False)
    return place[known][edges], strength


def _listed(source: Any, genes: GeneNames, embeddings: list[str]) -> tuple[Ints, Floats]:
    try:
        table = read_edges(source)
    except FileNotFoundError as error:
        msg = (
            f"gene_graph={str(source)!r} is neither a file nor an embedding of the screen, which "
            f"has {some(embeddings)}; give one of these, a list of edges, 'coexpression' or None"
        )
        raise FileNotFoundError(msg) from error
    ends = np.stack([_places(table[end], genes) for end in ("source", "target")])
    inside = (ends >= 0).all(axis=0) & (ends[0] != ends[1])
    if not inside.any():
        names = pd.unique(table[["source", "target"]].to_numpy().ravel())
        msg = (
            f"gene_graph: none of its {len(table)} edges joins two features. It names "
            f"{some(list(names), 6)}; the features are {genes.words}. Give edges of these names, "
            "or gene_graph='coexpression', or None for no graph"
        )
        raise ValueError(msg)
    logger.info("%d of %d edges of the gene graph join two features", inside.sum(), len(table))
    return ends[:, inside], table["weight"].to_numpy()[inside]


def _places(names: Any, genes: GeneNames) -> Ints:
    """Return the position among the features of each name, -1 where it is none of them."""
    place = positions(genes)
    return np.array([place.get(name, -1) for name in names], dtype=np.int64)


def positions(genes: GeneNames) -> dict[str, int]:
    """Return the position of every gene, by its symbol and by its name; the first of a symbol."""
    symbols = {symbol: i for i, symbol in reversed(list(enumerate(genes.symbols)))}
    return symbols | {name: i for i, name in enumerate(genes.names)}


def _similar(unit: Floats, threshold: float, *, absolute: bool) -> tuple[Ints, Floats]:
    """Return pairs of rows with a product of at least a threshold, and the products."""
    found, strength = [], []
    for start in range(0, len(unit), ROWS):
        product = unit[start : start + ROWS] @ unit.T
        product = np.abs(product) if absolute else product
        i, j = np.nonzero(product >= threshold)
        keep = i + start < j
        found.append(np.stack([i[keep] + start, j[keep]]))
        strength.append(product[i[keep], j[keep]])
    return np.concatenate(found, axis=1), np.concatenate(strength)


def _strongest(edges: Ints, strength: Floats, most: int | None) -> Ints:
    """Return edges once each, those that are among the `most` strongest of one of their genes."""
    if not edges.shape[1]:
        return np.zeros((2, 0), dtype=np.int64)
    low, high = edges.min(axis=0), edges.max(axis=0)
    order = np.lexsort([-strength, high, low])
    low, high, strength = low[order], high[order], strength[order]
    first = np.r_[True, (np.diff(low) != 0) | (np.diff(high) != 0)]
    low, high, strength = low[first], high[first], strength[first]
    if most is not None:
        gene, edge = np.r_[low, high], np.tile(np.arange(len(low)), 2)
        order = np.lexsort([edge, -strength[edge], gene])
        begin = np.searchsorted(gene[order], gene[order], side="left")
        kept = edge[order][np.arange(len(order)) - begin < most]
        kept = np.unique(kept)
        low, high = low[kept], high[kept]
    return np.stack([low, high]).astype(np.int64)


def node_features(cells: Population, n: int) -> Floats:
    """Return (d, k) principal components of the genes over the mean profiles of training.

    k is `n`, or less where there are fewer training conditions.
    """
    groups = cells.sums.perturbed.of_split(0)
    profiles = (groups.sums / groups.n[:, None]).T  # genes x conditions
    profiles = profiles - profiles.mean(axis=0)
    u, s, _ = np.linalg.svd(profiles, full_matrices=False)
    k = max(1, min(n, len(s)))
    sign = np.sign(u[np.abs(u[:, :k]).argmax(axis=0), np.arange(k)])
    scores = u[:, :k] * s[:k] * np.where(sign == 0, 1, sign)
    size = np.sqrt((scores**2).mean())
    return (scores / size if size > 0 else scores).astype(np.float32)
