"""Edges of pp.link: of a source, between perturbations, or of the nearest vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from ..core._edges import read_edges
from ..core._graph import checked_edges
from ._embed_names import in_names_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Floats
    from ._embed_names import OtherNames


def nearest(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return edges of each row with its k nearest ones, by the cosine; only cosines above 0."""
    values = table.to_numpy(dtype=np.float64)
    cosine = np.nan_to_num(1.0 - cdist(values, values, "cosine"))
    np.fill_diagonal(cosine, -np.inf)
    k = min(k, len(table) - 1)
    best = np.argsort(-cosine, axis=1, kind="stable")[:, :k] if k > 0 else np.empty((0, 0), int)
    rows = np.repeat(np.arange(len(table)), k)[: best.size]
    names = table.index.to_numpy(dtype=object)
    weight: Floats = cosine[rows, best.ravel()]
    found = pd.DataFrame(
        {"source": names[rows], "target": names[best.ravel()], "weight": np.maximum(weight, 0.0)}
    )
    return checked_edges(found.drop_duplicates())


def edges_of(source: Any, keys: Sequence[str], others: OtherNames) -> pd.DataFrame:
    """Return the edges of a source with their signs, by the names that the keys have in it.

    Gene sets link all keys of a set. Other genes of a set are left out before they are paired.

    Parameters
    ----------
    source
        Edges or gene sets.
    keys
        Names that are looked for.
    others
        Other names of the genes of the screen.
    """
    edges = in_names_of(read_edges(source, signed=True), keys, others)
    in_sets = edges["source"].str.startswith("set: ")
    if not len(edges) or not in_sets.all():
        return edges
    edges = edges[edges["target"].isin(keys)]
    joined = edges.merge(edges, on="source", suffixes=("", "_other"))
    pairs = joined[joined["target"] < joined["target_other"]]
    counted = pairs.groupby(["target", "target_other"]).size().reset_index(name="weight")
    return counted.set_axis(["source", "target", "weight"], axis=1)


def between(edges: pd.DataFrame, key_of: Mapping[str, str]) -> pd.DataFrame:
    """Return edges between perturbations, from those between their names in the source."""
    called = pd.DataFrame({"name": list(key_of), "key": list(key_of.values())}, dtype=object)
    found = edges.merge(called, left_on="source", right_on="key")
    found = found.merge(called, left_on="target", right_on="key", suffixes=("", "_other"))
    apart = found[["name", "name_other", "weight"]].set_axis(["source", "target", "weight"], axis=1)
    same = called.merge(called, on="key", suffixes=("", "_other"))
    same = same[same["name"] < same["name_other"]][["name", "name_other"]]
    strongest = float(edges["weight"].max()) if len(edges) else 1.0
    same = same.set_axis(["source", "target"], axis=1).assign(weight=strongest)
    parts = [part for part in (apart, same) if len(part)]
    return checked_edges(pd.concat(parts) if parts else apart)
