"""Vectors of contexts, by which a model can predict contexts without perturbed cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from anndata import AnnData

from .._docs import shared
from .._keys import CONTEXT_EMBEDDING_FITS, CONTEXT_EMBEDDINGS, CONTEXT_EMBEDDINGS_INFO
from .._logging import logger
from .._threads import one_thread
from .._validate import check_adata, get_adata, key_in, listed, one_of, whole
from ..core._named import claim_named, write_named
from ..core._population import population
from ..core._screen import resolve
from ..core._view import check_writable
from ._context_checks import checked_aliases, refuse_missing, tell_identical, trained_contexts
from ._context_plates import plates_not_lines
from ._context_request import ContextRequest, fitted, vectors_by
from ._context_sources import CONTROLS, profiles_of
from ._embed_source import Source, describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from mudata import MuData


RECORD = {"info": CONTEXT_EMBEDDINGS_INFO, "schema": "context_embeddings_info/1"}


@one_thread()
@shared()
def embed_contexts(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    source: Source | AnnData = CONTROLS,
    aliases: Mapping[str, str] | None = None,
    names: str | Sequence[str] | None = None,
    n_comps: int = 16,
    like: AnnData | None = None,
    missing: Literal["raise", "drop"] = "raise",
    layer: str | None = None,
    use_rep: str | None = None,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Write a vector for every context of the screen: cell lines, cell types, days.

    A model that is told these vectors (``context_embedding=`` of :func:`shoal.tl.fit`) knows
    something of a context without perturbed cells in training. Told the names of contexts, it knows
    nothing of such a one.

    - Vectors are standardised over the contexts with perturbed cells in training. With
      ``obs["split"]`` these are cells of ``"train"``.
    - Only control cells of this screen are read, and no random numbers are used.
    - A context without a vector is an error that names it.

    Parameters
    ----------
    data
        Screen, one row per cell, with a recorded column of contexts.
    perturbation_key, control
        {design}
    source
        ``"controls"``
            The mean control cell of each context, reduced to principal components.
        a table
            Vectors of your own, as for :func:`shoal.pp.embed`: a DataFrame, a mapping of names to
            vectors, or a file. Every column becomes a z-score.
        an AnnData
            Profiles of bulk samples, rows = contexts, such as transcriptomes of cell lines. They
            are reduced to principal components. Of values that are not logged, log1p of the share
            of a million is taken.
    aliases
        Names of contexts in the source, if they are other names. Names that differ in capitals,
        blanks and signs alone (``"U2OS"``, ``"U-2 OS"``) are matched, and the log says so.
    names
        More contexts to embed, which the source holds and the screen does not.
    n_comps
        Most principal components. Of n training contexts there are at most n - 1.
    like
        Screen whose embedding of the same name is continued: the vectors of this screen are then on
        the scale of that one. ``model.add_contexts`` takes them.
    missing
        What is done about a context without a vector: ``"raise"`` an error, or ``"drop"`` it from
        the embedding.
    layer, use_rep
        Layer, or slot of ``obsm``, to read for ``"controls"`` instead of ``X``.
    key_added
        Name of the embedding. ``None`` is ``"controls"``, ``"profiles"`` or ``"table"``. An
        embedding of the same name is replaced, if it was written by this function.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes

    ``uns["context_embeddings"][key_added]``
        DataFrame, float32, index context (sorted), columns ``"0"``, ``"1"``, ...
    ``uns["context_embedding_fits"][key_added]``
        DataFrame, index gene or column of the source, with ``centre``, ``scale`` and, of principal
        components, the axes ``"0"``, ``"1"``, ...: what `like` needs.
    ``uns["context_embeddings_info"]``
        ``table``, index embedding, with

        - ``source`` (text), ``fitted_on`` (``"control"`` cells of the screen, or ``"none"``) and
          ``n_fit`` (int64), their number;
        - ``trained`` (text): contexts that the vectors are standardised over;
        - ``n_dims``, ``n_contexts``, ``n_missing`` (int64).

    A view is turned into a copy first. After an error nothing has been written.

    Raises
    ------
    ValueError
        In any of these cases:

        - the screen has no contexts;
        - fewer than two contexts have perturbed cells in training, from which nothing can be
          learned about contexts, or all of these have the same values;
        - a context has no vector and `missing` is ``"raise"``, or none has one;
        - the source cannot be read, or the values of ``"controls"`` are not log-normalised.
    KeyError
        If a column, layer or slot does not exist, or `like` holds no embedding of that name.
    TypeError
        If the source is of another kind.

    Warns
    -----
    UserWarning
        If the control cells of contexts differ no more than the batches that they are on, so that
        their vectors may be those of plates.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=60, contexts=3, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> sh.pp.embed_contexts(adata)
    >>> adata.uns["context_embeddings"]["controls"].shape
    (3, 2)
    """
    adata = get_adata(data, mod)
    check_writable(adata)
    one_of(missing, ("raise", "drop"), name="missing")
    n_comps = whole(n_comps, name="n_comps")
    more = listed(names, name="names")
    kind = _kind(source)
    if kind != CONTROLS and (layer is not None or use_rep is not None):
        msg = f"layer= and use_rep= say what of the control cells is read, and source is a {kind}"
        raise ValueError(msg)
    screen = resolve(adata, perturbation_key, control=control)
    if screen.context_key is None:
        msg = (
            "the screen has no contexts: name their column, sh.pp.annotate(adata, ..., "
            "context_key=...)"
        )
        raise ValueError(msg)
    key = claim_named(
        adata,
        kind if key_added is None else key_added,
        slots=[CONTEXT_EMBEDDINGS, CONTEXT_EMBEDDING_FITS],
        call="sh.pp.embed_contexts",
        screen=screen,
        overwrite=overwrite,
        **RECORD,
    )
    cells = population(adata, screen, layer=layer, use_rep=use_rep)
    trained = trained_contexts(cells) if like is None else []
    request = ContextRequest(
        cells=cells,
        keys=sorted({*cells.contexts, *more}),
        trained=trained,
        source=source,
        aliases=checked_aliases(aliases),
    )
    profiles = profiles_of(request)
    refuse_missing(request, profiles, kind=kind, drop=missing == "drop")
    trained = [name for name in trained if name in profiles.values.index]
    fit = fitted(profiles, trained, n_comps) if like is None else _fit_of(like, key)
    table = vectors_by(fit, profiles)
    if not np.isfinite(table.to_numpy()).all():
        msg = "the source holds missing or infinite values; drop or fill them"
        raise ValueError(msg)
    tell_identical(table)
    if kind == CONTROLS and (said := plates_not_lines(cells)):
        warnings.warn(said, UserWarning, stacklevel=2)
    row = {
        "source": CONTROLS if kind == CONTROLS else _describe(source),
        "fitted_on": "control" if profiles.n_fit else "none",
        "n_fit": profiles.n_fit,
        "trained": ", ".join(trained),
        "n_dims": table.shape[1],
        "n_contexts": len(table),
        "n_missing": len(profiles.absent),
    }
    made = {CONTEXT_EMBEDDINGS: table, CONTEXT_EMBEDDING_FITS: fit}
    write_named(adata, key, made, row, screen=screen, **RECORD)
    logger.info("%r: %d contexts in %d dimensions", key, len(table), table.shape[1])


def _kind(source: Any) -> str:
    """Return what a source is: ``"controls"``, ``"profiles"`` or ``"table"``."""
    if isinstance(source, str) and source == CONTROLS:
        return CONTROLS
    return "profiles" if isinstance(source, AnnData) else "table"


def _describe(source: Any) -> str:
    if isinstance(source, AnnData):
        return f"AnnData of {source.n_obs} x {source.n_vars}"
    return describe(source)


def _fit_of(like: AnnData, key: str) -> pd.DataFrame:
    """Return how the vectors of another screen were made.

    Raises
    ------
    KeyError
        If it holds no embedding of that name.
    """
    check_adata(like, name="like")
    fits = like.uns.get(CONTEXT_EMBEDDING_FITS, {})
    key_in(
        key,
        list(fits),
        where=f"like.uns[{CONTEXT_EMBEDDING_FITS!r}]",
        hint="sh.pp.embed_contexts(like, ...) writes them; name one with key_added=.",
    )
    found: pd.DataFrame = fits[key]
    return found
