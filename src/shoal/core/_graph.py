"""Graphs of perturbations: tables of edges, checked, and as weights between names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from .._logging import logger
from .._validate import one_of, some

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Floats

Negative = Literal["raise", "drop", "absolute"]
ENDS = ("source", "target")


def checked_edges(edges: pd.DataFrame, *, negative: Negative = "raise") -> pd.DataFrame:
    """Return undirected edges: each pair of names once, no loops, weights above 0.

    Of repeated edges the largest weight stays, and the log says how many there were.

    Parameters
    ----------
    edges
        Columns ``source``, ``target`` and perhaps ``weight``, 1 where there is none.
    negative
        What is done about weights below 0: an error, ``"drop"`` the edges, or take ``"absolute"``
        values.

    Returns
    -------
    DataFrame
        ``source`` (the first of the two by name), ``target`` and ``weight`` (float64), sorted.

    Raises
    ------
    ValueError
        If a column or a name is missing, or a weight is no number, not finite, or below 0.
    """
    one_of(negative, ("raise", "drop", "absolute"), name="negative")
    lacking = [name for name in ENDS if name not in edges.columns]
    if lacking:
        msg = (
            f"a graph is a table of edges with columns 'source', 'target' and perhaps 'weight', "
            f"and {lacking[0]!r} is missing: there are {some(list(edges.columns))}"
        )
        raise ValueError(msg)
    if edges[list(ENDS)].isna().to_numpy().any():
        msg = "edges without a name in 'source' or 'target'; drop them"
        raise ValueError(msg)
    weight = _weights(edges)
    below = int((weight < 0).sum())
    if below and negative == "raise":
        msg = (
            f"{below} of {len(edges)} edges have a weight below 0, such as {weight.min():g}: a "
            "weight says how alike two perturbations are. Leave these edges out with "
            "sh.pp.link(adata, ..., negative='drop'), or take negative='absolute' there where the "
            "sign is that of a regulation"
        )
        raise ValueError(msg)
    weight = np.abs(weight) if negative == "absolute" else weight
    names = edges[list(ENDS)].astype(str).to_numpy(dtype=str)
    keep = (weight > 0) & (names[:, 0] != names[:, 1])
    pairs = pd.DataFrame(np.sort(names[keep], axis=1), columns=list(ENDS), dtype=object)
    pairs["weight"] = weight[keep]
    single = pairs.groupby(list(ENDS), sort=True)[["weight"]].max().reset_index()
    if len(single) < len(pairs):
        logger.info(
            "%d of %d edges are there more than once, in one direction or both; the largest weight "
            "of each counts",
            len(pairs) - len(single),
            len(pairs),
        )
    return single.set_axis(single.index.astype(str), axis=0)


def _weights(edges: pd.DataFrame) -> Floats:
    if "weight" not in edges.columns:
        return np.ones(len(edges))
    try:
        weight = edges["weight"].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        msg = "the column 'weight' of the edges does not hold numbers"
        raise ValueError(msg) from None
    wrong = int((~np.isfinite(weight)).sum())
    if wrong:
        msg = f"{wrong} of {len(edges)} edges have no finite weight; drop or fill them"
        raise ValueError(msg)
    return weight


def adjacency(edges: pd.DataFrame, names: Sequence[str]) -> Any:
    """Return the (n, n) symmetric CSR of weights between names; other ends are left out.

    Parameters
    ----------
    edges
        Edges as `checked_edges` returns them.
    names
        n names, each once.
    """
    place = pd.Index(names)
    a, b = (place.get_indexer(pd.Index(edges[end].astype(str))) for end in ENDS)
    there = (a >= 0) & (b >= 0)
    half = sparse.csr_array(
        (edges["weight"].to_numpy(dtype=np.float64)[there], (a[there], b[there])),
        shape=(len(place), len(place)),
    )
    return sparse.csr_array(half + half.T)


def per_degree(weights: Any) -> Any:
    """Return weights divided by the mean degree of the nodes that have an edge."""
    degree = weights.sum(axis=1)
    return weights / degree[degree > 0].mean() if (degree > 0).any() else weights


def combined(graphs: Mapping[str, tuple[pd.DataFrame, float]], names: Sequence[str]) -> Any:
    """Return the weighted sum of several graphs between names.

    Each graph is divided by the mean degree of its nodes first, so that neither the unit of its
    weights nor the number of its edges decides how much it counts.

    Parameters
    ----------
    graphs
        Name -> edges, and the weight of the graph.
    names
        n names.
    """
    parts = [weight * per_degree(adjacency(e, names)) for e, weight in graphs.values()]
    return sparse.csr_array(sum(parts[1:], parts[0]))


def filled(weights: Any, vectors: Floats, known: Any, *, smoothing: float = 0.0) -> Floats:
    r"""Return vectors of all nodes of a graph, from those that are known.

    The vectors f minimise

    .. math::

        \sum_{i\ \mathrm{known}} \lVert f_i - y_i \rVert^2
        + \frac{\lambda}{\bar d} \sum_{i<j} w_{ij} \lVert f_i - f_j \rVert^2

    with the mean degree :math:`\bar d`. With :math:`\lambda \to 0` known vectors stay as they are,
    and each other one is the weighted mean of its neighbours.

    Parameters
    ----------
    weights
        (n, n) symmetric CSR.
    vectors
        (n, d) vectors; rows that are not known do not count.
    known
        (n,) which vectors are known.
    smoothing
        The number λ, at least 0.

    Returns
    -------
    (n, d) vectors; NaN where no path leads to a known one.

    Source: zhu2003semi.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import splu

    weights = per_degree(weights)
    found = np.where(known[:, None], vectors, np.nan)
    part = connected_components(weights, directed=False)[1]
    reached = np.isin(part, np.unique(part[known]))
    at = np.flatnonzero(reached & ~known) if smoothing == 0 else np.flatnonzero(reached)
    if not len(at):
        return found
    laplacian = sparse.csr_array(sparse.diags_array(weights.sum(axis=1)) - weights)
    inner = sparse.csc_array(laplacian[at][:, at])
    if smoothing == 0:
        held = np.flatnonzero(known)
        found[at] = splu(inner).solve(weights[at][:, held] @ vectors[held])
        return found
    own = known[at].astype(np.float64)
    system = sparse.csc_array(sparse.diags_array(own) + smoothing * inner)
    found[at] = splu(system).solve(own[:, None] * np.where(known[:, None], vectors, 0.0)[at])
    return found
