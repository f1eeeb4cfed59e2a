"""Graphs of perturbations: which of them are known, or seen, to be alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from .._docs import shared
from .._keys import EMBEDDINGS, EMBEDDINGS_INFO, GRAPHS, GRAPHS_INFO
from .._logging import logger
from .._threads import one_thread
from .._validate import file_key, get_adata, key_in, some, whole
from ..core._claims import claim
from ..core._graph import checked_edges
from ..core._results import write_table
from ..core._screen import labels, resolve
from ..core._slots import written
from ..core._view import check_writable
from ._embed import singles
from ._embed_checks import keys_of
from ._embed_network import read_edges
from ._embed_source import Source, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._typing import Floats
    from ..core._graph import Negative
    from ..core._screen import Screen

SCHEMA = "perturbation_graphs_info/1"


@one_thread()
@shared()
def link(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    source: Source | None = None,
    embedding: str | None = None,
    targets: Mapping[str, str] | str | None = None,
    names: str | Sequence[str] | None = None,
    n_neighbors: int = 10,
    negative: Negative = "raise",
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Write a graph of the single perturbations of the screen: which of them are alike, how much.

    ``train(graph=...)`` of the networks holds together what is learned of linked perturbations, and
    :func:`shoal.pp.embed` fills in vectors along such edges (``method="propagated"``).

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    source
        Edges between genes, drugs or perturbations: an edge list (DataFrame or file with columns
        ``source``, ``target`` and perhaps ``weight``), gene sets (mapping or GMT file), which link
        all genes of a set, or a network that decoupler downloads (``"collectri"``, ``"dorothea"``).
        Directions are dropped. Of repeated edges the largest weight counts.
    embedding
        Name of an embedding of the screen, instead of a source: each perturbation is linked with
        its nearest ones, by the cosine of their vectors. Cosines of 0 and below are no edges.
    targets
        Names of perturbations in the source, if they are other names, as for
        :func:`shoal.pp.embed`. Perturbations with the same name in it are linked as much as the
        strongest edge.
    names
        More perturbations that have a part in the graph, which the screen does not hold.
    n_neighbors
        Nearest perturbations of each, for `embedding`.
    negative
        What is done about weights below 0: ``"raise"`` an error, ``"drop"`` these edges, or take
        ``"absolute"`` values, where the sign is that of a regulation.
    key_added
        Name of the graph. ``None`` is that of the embedding, or ``"network"``. A graph of the same
        name is replaced, if it was written by this function.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes

    ``uns["perturbation_graphs"][key_added]``
        DataFrame of edges: ``source``, ``target`` (single perturbations), ``weight`` (float64),
        each pair once.
    ``uns["perturbation_graphs_info"]``
        ``table``, index graph, with ``source`` and ``embedding`` (text), ``n_edges``,
        ``n_linked``, ``n_isolated`` (int64), and ``transductive`` (bool): whether it comes from an
        embedding that has seen held-out cells.

    After an error nothing has been written.

    Raises
    ------
    ValueError
        If no two perturbations are linked, a weight is no number, not finite, or below 0, or not
        exactly one of `source` and `embedding` is given.
    KeyError
        If there is no such embedding or column.

    Examples
    --------
    >>> import pandas as pd
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> edges = pd.DataFrame({"source": ["P1", "P2"], "target": ["P2", "P3"]})
    >>> sh.pp.link(adata, source=edges)
    >>> len(adata.uns["perturbation_graphs"]["network"])
    2
    """
    adata = get_adata(data, mod)
    check_writable(adata)
    whole(n_neighbors, name="n_neighbors")
    if (source is None) == (embedding is None):
        msg = "give either source=, edges between names, or embedding=, the name of an embedding"
        raise ValueError(msg)
    screen = resolve(adata, perturbation_key, control=control)
    key = _claimed(adata, key_added or embedding or "network", overwrite=overwrite)
    labelled = labels(adata, screen)
    perturbations = singles(screen, labelled, names)
    transductive = False
    if embedding is None:
        key_of = keys_of(adata, screen, labelled, perturbations, targets)
        edges = _between(checked_edges(_edges_of(source), negative=negative), key_of)
    else:
        table, transductive = _vectors_of(adata, embedding)
        held = [name for name in perturbations if name in table.index]
        edges = nearest(table.loc[held], int(n_neighbors))
    linked = set(edges["source"]) | set(edges["target"])
    if not linked:
        what = "the source" if embedding is None else f"the embedding {embedding!r}"
        msg = (
            f"no two of the {len(perturbations)} perturbations, such as "
            f"{some(perturbations, 3)}, are linked in {what}: if they have other names in it, say "
            "so with targets="
        )
        raise ValueError(msg)
    alone = [name for name in perturbations if name not in linked]
    if alone:
        logger.warning(
            "%d of %d perturbations have no edge in the graph %r, which says nothing of them: %s",
            len(alone),
            len(perturbations),
            key,
            some(alone),
        )
    row = {
        "source": describe(source),
        "embedding": embedding or "",
        "n_edges": len(edges),
        "n_linked": len(linked),
        "n_isolated": len(alone),
        "transductive": transductive,
    }
    _write(adata, key, edges, row, screen)
    logger.info("%r: %d edges between %d perturbations", key, len(edges), len(linked))


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


def _edges_of(source: Any) -> pd.DataFrame:
    """Return the edges of a source with their signs; gene sets link all genes of a set."""
    edges = read_edges(source, signed=True)
    in_sets = edges["source"].str.startswith("set: ")
    if not len(edges) or not in_sets.all():
        return edges
    joined = edges.merge(edges, on="source", suffixes=("", "_other"))
    pairs = joined[joined["target"] < joined["target_other"]]
    counted = pairs.groupby(["target", "target_other"]).size().reset_index(name="weight")
    return counted.set_axis(["source", "target", "weight"], axis=1)


def _between(edges: pd.DataFrame, key_of: Mapping[str, str]) -> pd.DataFrame:
    """Return edges between perturbations, from those between their names in the source."""
    called = pd.DataFrame({"name": list(key_of), "key": list(key_of.values())}, dtype=object)
    found = edges.merge(called, left_on="source", right_on="key")
    found = found.merge(called, left_on="target", right_on="key", suffixes=("", "_other"))
    between = found[["name", "name_other", "weight"]].set_axis(
        ["source", "target", "weight"], axis=1
    )
    same = called.merge(called, on="key", suffixes=("", "_other"))
    same = same[same["name"] < same["name_other"]][["name", "name_other"]]
    strongest = float(edges["weight"].max()) if len(edges) else 1.0
    same = same.set_axis(["source", "target"], axis=1).assign(weight=strongest)
    parts = [part for part in (between, same) if len(part)]
    return checked_edges(pd.concat(parts) if parts else between)


def _vectors_of(adata: AnnData, embedding: str) -> tuple[pd.DataFrame, bool]:
    """Return the table of an embedding, and whether it has seen held-out cells."""
    stored = adata.uns.get(EMBEDDINGS, {})
    where = f"adata.uns[{EMBEDDINGS!r}]"
    key_in(embedding, list(stored), where=where, hint="sh.pp.embed(adata, ...) writes them.")
    about = adata.uns.get(EMBEDDINGS_INFO, {}).get("table", pd.DataFrame())
    seen = "transductive" in about and bool(about["transductive"].get(embedding, False))
    return stored[embedding], seen


def _claimed(adata: AnnData, key: Any, *, overwrite: bool) -> str:
    """Return the name of a graph, if it is free or was written by `link`."""
    file_key(key, name="key_added")
    ours = written(adata, GRAPHS_INFO, [SCHEMA])
    held = adata.uns.get(GRAPHS)
    slots = [] if ours else [f"uns/{GRAPHS_INFO}"]
    if held is not None and not isinstance(held, Mapping):
        slots.append(f"uns/{GRAPHS}")
    claim(adata, slots, overwrite=overwrite, rename="rename it")
    known = adata.uns[GRAPHS_INFO]["table"].index if ours else ()
    if isinstance(held, Mapping) and key in held and key not in known and not overwrite:
        msg = (
            f"adata.uns[{GRAPHS!r}][{key!r}] was not written by sh.pp.link: choose another "
            "key_added, or replace it with overwrite=True"
        )
        raise ValueError(msg)
    return str(key)


def _write(
    adata: AnnData, key: str, edges: pd.DataFrame, row: dict[str, Any], screen: Screen
) -> None:
    """Write the graph and its row; rows of graphs that are gone go."""
    held = adata.uns.get(GRAPHS)
    stored = {**(held if isinstance(held, Mapping) else {}), key: edges}
    rows = {}
    if written(adata, GRAPHS_INFO, [SCHEMA]):
        before = adata.uns[GRAPHS_INFO]["table"].to_dict("index")
        rows = {k: v for k, v in before.items() if k in stored}
    about = pd.DataFrame.from_dict({**rows, key: row}, orient="index")
    slots = {f"uns/{GRAPHS}": stored}
    params = screen.params()
    write_table(adata, GRAPHS_INFO, about, schema=SCHEMA, params=params, slots=slots)
