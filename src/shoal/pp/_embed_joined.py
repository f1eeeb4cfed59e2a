"""Several embeddings side by side, each with the same spread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import EMBEDDINGS, EMBEDDINGS_INFO
from .._validate import file_key, key_in, listed
from ..core._joined_columns import joined_columns, sources_of
from ._embed_source import Vectors, from_table
from ._split_fits import known

if TYPE_CHECKING:
    from ._embed_request import EmbeddingRequest

FITTED_ON = ("none", "control", "train", "all")  # from what tells least of held-out cells to most


def by_joining(request: EmbeddingRequest) -> Vectors:
    """Return the vectors of several sources side by side, for what has a vector in each.

    The vectors of each source are divided by the root of their mean squared distance from their
    mean, so that no source counts more for its scale or for its number of dimensions.
    """
    sources = _sources(request)
    held = known(request.adata, EMBEDDINGS)
    found, absent = {}, {}
    for name, source in sources.items():
        named = isinstance(source, str) and source in held
        table = held[source] if named else source
        if named and sources_of(table.columns):
            msg = f"source: {source!r} is itself joined; name the embeddings that it is made of"
            raise ValueError(msg)
        found[name] = from_table(table, request.keys, others=request.others)
        absent |= {key: f"{name!r}: {why}" for key, why in found[name].absent.items()}
    keys = [key for key in request.keys if key not in absent]
    if not keys:
        return Vectors(pd.DataFrame(), absent)
    parts = [_spread_to_one(one.values.loc[keys].to_numpy()) for one in found.values()]
    sizes = {name: part.shape[1] for name, part in zip(found, parts, strict=True)}
    index = pd.Index(keys, dtype=object)
    values = pd.DataFrame(np.hstack(parts), index=index, columns=joined_columns(sizes))
    fitted_on, n_fit = _fitted_on(request, sources)
    return Vectors(values, absent, fitted_on=fitted_on, n_fit=n_fit)


def _sources(request: EmbeddingRequest) -> dict[str, Any]:
    """Return name -> source.

    Raises
    ------
    ValueError
        If there are fewer than two.
    KeyError
        If a name of a list is no embedding of the screen.
    """
    given = request.source
    if isinstance(given, Mapping):
        sources = {str(name): source for name, source in given.items()}
    elif isinstance(given, str | Path) or not isinstance(given, list | tuple):
        msg = (
            "method='joined' needs source=: a list of embeddings of the screen, such as "
            "['annotations', 'network'], or a mapping of names to tables or files; not "
            f"{type(given).__name__}"
        )
        raise TypeError(msg)
    else:
        where = f"adata.uns[{EMBEDDINGS!r}]"
        held = list(known(request.adata, EMBEDDINGS))
        sources = {name: name for name in listed(given, name="source")}
        for name in sources:
            key_in(name, held, where=where, hint="sh.pp.embed(adata, ...) writes them.")
    for name in sources:
        file_key(name, name="a name in source=")
    if len(sources) < 2:
        msg = f"method='joined' joins two or more sources, and source= names {len(sources)}"
        raise ValueError(msg)
    return sources


def _spread_to_one(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return vectors divided by the root of their mean squared distance from their mean."""
    size = float(np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return values / size if size > 0 else values


def _fitted_on(request: EmbeddingRequest, sources: Mapping[str, Any]) -> tuple[str, int]:
    """Return the cells of the screen that the embeddings were fitted on: those that tell most."""
    about = known(request.adata, EMBEDDINGS_INFO).get("table", pd.DataFrame())
    rows = [s for s in sources.values() if isinstance(s, str) and s in about.index]
    fits = [(str(about.loc[s, "fitted_on"]), int(about.loc[s, "n_fit"])) for s in rows]
    return max(fits, key=lambda fit: FITTED_ON.index(fit[0]), default=("none", 0))
