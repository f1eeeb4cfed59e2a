"""Graphs of perturbations: which of them are known, or seen, to be alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from .._docs import shared
from .._keys import EMBEDDINGS, EMBEDDINGS_INFO, GRAPHS, GRAPHS_INFO
from .._logging import logger
from .._threads import one_thread
from .._validate import get_adata, key_in, some, whole
from ..core._graph import checked_edges
from ..core._named import claim_named, write_named
from ..core._screen import labels, resolve
from ..core._view import check_writable
from ._embed import singles
from ._embed_keys import keys_of
from ._embed_names import OtherNames
from ._embed_source import Source, describe
from ._link_edges import between, edges_of, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from ..core._graph import Negative

RECORD = {"info": GRAPHS_INFO, "schema": "perturbation_graphs_info/1"}


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
    n_neighbors = whole(n_neighbors, name="n_neighbors")
    if (source is None) == (embedding is None):
        msg = "give either source=, edges between names, or embedding=, the name of an embedding"
        raise ValueError(msg)
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_named(
        adata,
        (embedding or "network") if key_added is None else key_added,
        slots=[GRAPHS],
        call="sh.pp.link",
        screen=screen,
        overwrite=overwrite,
        **RECORD,
    )
    labelled = labels(adata, screen)
    perturbations = singles(screen, labelled, names)
    transductive = False
    if embedding is None:
        key_of = keys_of(adata, screen, labelled, perturbations, targets)
        keys = list(dict.fromkeys(key_of.values()))
        found = edges_of(source, keys, OtherNames.in_screen(adata))
        edges = between(checked_edges(found, negative=negative), key_of)
    else:
        table, transductive = _vectors_of(adata, embedding)
        held = [name for name in perturbations if name in table.index]
        edges = nearest(table.loc[held], n_neighbors)
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
    write_named(adata, key, {GRAPHS: edges}, row, screen=screen, **RECORD)
    logger.info("%r: %d edges between %d perturbations", key, len(edges), len(linked))


def _vectors_of(adata: AnnData, embedding: str) -> tuple[pd.DataFrame, bool]:
    """Return the table of an embedding, and whether it has seen held-out cells."""
    stored = adata.uns.get(EMBEDDINGS, {})
    where = f"adata.uns[{EMBEDDINGS!r}]"
    key_in(embedding, list(stored), where=where, hint="sh.pp.embed(adata, ...) writes them.")
    about = adata.uns.get(EMBEDDINGS_INFO, {}).get("table", pd.DataFrame())
    seen = "transductive" in about and bool(about["transductive"].get(embedding, False))
    return stored[embedding], seen
