"""Vectors of perturbations, by which a model can predict perturbations that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import EMBEDDINGS, EMBEDDINGS_INFO
from .._logging import logger
from .._threads import one_thread
from .._validate import between, get_adata, is_auto, listed, one_of, text, whole
from ..core._joined_columns import joined_columns, sources_of
from ..core._named import claim_named, write_named
from ..core._screen import labels, resolve
from ..core._screen_checks import nothing_perturbed
from ..core._view import check_writable
from ._embed_keys import keys_of, refuse_missing, target_column, warn_identical
from ._embed_methods import CHEMISTRY, METHODS, check_arguments
from ._embed_names import OtherNames
from ._embed_request import EmbeddingRequest
from ._embed_source import Source, describe
from ._split_fits import known, smiles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from ..core._screen import Labels, Screen
    from ._embed_source import Vectors

RECORD = {"info": EMBEDDINGS_INFO, "schema": "perturbation_embeddings_info/1"}
MOST_COLUMNS = 4000  # an h5ad file lists the columns of a table in one attribute of at most 64 kB


@one_thread()
@shared()
def embed(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    method: Literal[
        "one_hot",
        "table",
        "annotations",
        "network",
        "coexpression",
        "effects",
        "mds",
        "fingerprint",
        "descriptors",
        "propagated",
        "joined",
    ] = "one_hot",
    source: Source | Sequence[str] | None = None,
    slot: str | None = None,
    graph: Source | None = None,
    smoothing: float | None = None,
    targets: Mapping[str, str] | str | None = None,
    names: str | Sequence[str] | None = None,
    n_comps: int | None = None,
    walk: int | None = None,
    strata: str | Sequence[str] | None = "auto",
    missing: Literal["raise", "drop"] = "raise",
    layer: str | None = None,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Write a vector for every single perturbation of the screen.

    - A combination is a set of single perturbations, so only single perturbations have vectors.
      Controls have none.
    - A perturbation without a vector is an error that names it. It does not get zeros.
    - Nothing is fitted on held-out cells, and no method uses random numbers.

    Sources: ashburner2000gene and go2023ontology (annotations), zhang2018regularized
    (eigenvectors), qiu2018netmf (walks), rogers2010ecfp.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    method
        ``"one_hot"``
            One dimension for each perturbation. Says nothing about unseen perturbations.
        ``"table"``
            Vectors of your own, from `source`.
        ``"annotations"``
            Vectors of human genes that come with the package: a singular value decomposition of
            what the genes are annotated with in the Gene Ontology (20,012 symbols, 128 dimensions,
            CC BY 4.0). Genes of one pathway are alike.
        ``"network"``
            Position in a gene network: leading eigenvectors of its regularised random walk, or
            factors of what random walks see together, in closed form (`walk`).
        ``"coexpression"``
            Correlation of the target gene with the leading components of the control cells.
        ``"effects"``
            PCA of the mean shifts of single perturbations from control, in training cells.
        ``"mds"``
            Metric scaling (SMACOF) of the distances between the populations of single perturbations
            in ``obsm["X_pca"]``, in training cells. Values are within [0, 1]. All pairs of
            perturbations are compared, so time and memory grow with the square of their number.
        ``"fingerprint"``
            Morgan fingerprint of a drug (bits, radius 2), from its SMILES (extra ``chem``).
        ``"descriptors"``
            Descriptors of a drug by rdkit, from its SMILES, as z-scores over all molecules of
            `source` (extra ``chem``).
        ``"propagated"``
            Vectors of `source`, and for perturbations without one the weighted mean of those of
            their neighbours in `graph`, which may be such means themselves.
        ``"joined"``
            Several embeddings side by side, each divided by the spread of its vectors.
            ``"kernel_ridge"`` sums a kernel for each, with weights that it learns.
    source
        For ``"table"``
            a DataFrame (names are the index or the first column), a mapping of names to vectors, an
            AnnData, or a file: csv, tsv, txt, parquet, npz (one array of names and one of vectors,
            or an array per name), ``.pt`` (a dictionary of names to tensors), a pickle of names to
            lists or arrays as of GenePT, safetensors, or h5ad. A pickle or ``.pt`` file that would
            run code is refused.
        For ``"network"``
            an edge list (DataFrame or file with columns ``source``, ``target`` and perhaps
            ``weight`` or, as GEARS writes it, ``importance``), gene sets (mapping or GMT file), or
            a network that decoupler downloads: ``"collectri"`` or ``"dorothea"`` (human, extra
            ``net``). Directions and signs are dropped.
        For ``"fingerprint"`` and ``"descriptors"``
            SMILES by name, as any of the tables. ``None`` takes the SMILES from `targets`. More
            drugs than those of the screen are welcome: descriptors are standardised over all.
        For ``"propagated"``
            any of the tables, or the name of an embedding of the screen.
        For ``"joined"``
            a list of embeddings of the screen, or a mapping of names to any of the tables. A
            perturbation needs a vector in each.

        Genes are found by symbol or Ensembl identifier (without its version), whichever the source
        has, if ``adata.var`` or the source has both; and by symbols that the HGNC has replaced,
        such as ``"MARCH8"`` for ``"MARCHF8"``. What is found so is logged.
    slot
        Where the vectors are in a source that is an AnnData or an h5ad file: ``"X"``,
        ``"obsm/KEY"`` or ``"varm/KEY"``. ``None`` takes the only slot of vectors beside the names,
        or ``X``, and logs which.
    graph
        Edges along which vectors are carried: the name of a graph that :func:`shoal.pp.link` wrote,
        or a source as for ``"network"``.
    smoothing
        How far known vectors follow their neighbours, at least 0: the weight of squared
        differences along edges against squared changes of known vectors. ``None`` leaves known
        vectors as they are.
    targets
        Names of perturbations in the source, if they are other names: a mapping of perturbations to
        genes, drugs or SMILES, or a column of ``obs`` that holds this for the cells of single
        perturbations.
    names
        More perturbations to embed, which the screen does not hold. Of a combination, its parts.
    n_comps
        Number of dimensions. ``None`` is 128 for ``"annotations"``, 64 for ``"network"``, 32 for
        ``"coexpression"``, 16 for ``"effects"``, 10 for ``"mds"`` and 1,024 bits for
        ``"fingerprint"``. There are fewer if the input spans fewer.
    walk
        Steps within which random walks count genes as seen together; 5 or 10 are usual. ``None``
        takes eigenvectors.
    strata
        Columns of ``obs`` within which cells are compared, for ``"coexpression"``, ``"effects"``
        and ``"mds"``. ``"auto"`` is the recorded context and batch. ``None`` pools all cells.
    missing
        What is done about a perturbation without a vector: ``"raise"`` an error, or ``"drop"`` it
        from the embedding.
    layer
        Layer with log-normalised values, to read instead of ``X``.
    key_added
        Name of the embedding. ``None`` takes the name of the method. An embedding of the same name
        is replaced, if it was written by this function.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes

    ``uns["perturbation_embeddings"][key_added]``
        DataFrame, float32, index single perturbation (sorted), columns ``"0"``, ``"1"``, ..., or of
        ``"joined"`` ones ``"SOURCE:0"``, ``"SOURCE:1"``, ...
    ``uns["perturbation_embeddings_info"]``
        ``table``, index embedding, with

        - ``method``, ``source`` (text);
        - ``fitted_on``: the cells of this screen that it was fitted on, ``"none"``, ``"control"``,
          ``"train"`` or ``"all"``, and ``n_fit`` (int64), their number;
        - ``transductive`` (bool): whether test cells may be among them. :func:`shoal.pp.split`
          checks this again;
        - ``n_dims``, ``n_perturbations``, ``n_missing`` (int64).

        ``molecules``, if SMILES were read, index perturbation: canonical ``smiles``.

    A view is turned into a copy first. After an error nothing has been written.

    Raises
    ------
    ValueError
        If a perturbation has no vector and `missing` is ``"raise"``, if no perturbation has one, if
        a source cannot be read as the method needs it, if an argument does not belong to the
        method, or if values are not log-normalised.
    KeyError
        If a column or layer does not exist.

    Warns
    -----
    UserWarning
        If perturbations are one molecule, or have the same vector. A model cannot tell them apart,
        and one may give away the other.

    Examples
    --------
    >>> import numpy as np
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, n_combinations=2, rng=0)
    >>> vectors = {f"P{i}": np.cos(np.arange(3) + i) for i in range(1, 5)}
    >>> sh.pp.embed(adata, method="table", source=vectors, key_added="mine")
    >>> adata.uns["perturbation_embeddings"]["mine"].shape
    (4, 3)
    """
    adata = get_adata(data, mod)
    check_writable(adata)
    one_of(method, METHODS, name="method")
    one_of(missing, ("raise", "drop"), name="missing")
    if method in CHEMISTRY and source is None:
        source, targets = _smiles_of(adata, perturbation_key, control, targets), None
    given = {"source": source, "targets": targets, "n_comps": n_comps, "walk": walk, "layer": layer}
    given |= {"graph": graph, "smoothing": smoothing, "slot": slot}
    if slot is not None:
        text(slot, name="slot")
    check_arguments(method, given | {"strata": None if is_auto(strata) else strata})
    if smoothing is not None:
        between(smoothing, 0, np.inf, name="smoothing", ends=True)
    n_comps = None if n_comps is None else whole(n_comps, name="n_comps")
    walk = None if walk is None else whole(walk, name="walk")
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_named(
        adata,
        method if key_added is None else key_added,
        slots=[EMBEDDINGS],
        call="sh.pp.embed",
        screen=screen,
        overwrite=overwrite,
        **RECORD,
    )
    labelled = labels(adata, screen)

    perturbations = singles(screen, labelled, names)
    if not perturbations:
        raise ValueError(nothing_perturbed(screen.perturbation_key))
    key_of = keys_of(adata, screen, labelled, perturbations, targets)
    request = EmbeddingRequest(
        adata=adata,
        screen=screen,
        labels=labelled,
        keys=list(dict.fromkeys(key_of.values())),
        source=source,
        n_comps=METHODS[method].n_comps if n_comps is None else n_comps,
        walk=walk,
        strata=strata,
        layer=layer,
        graph=graph,
        smoothing=smoothing,
        slot=slot,
        others=OtherNames.in_screen(adata),
    )
    vectors = METHODS[method].embed(request)
    table = _by_name(vectors, key_of)
    if vectors.matched is not None:
        vectors.matched.tell(key_of.values())
    refuse_missing(vectors, key_of, method=method, drop=missing == "drop")
    smiles = {name: vectors.smiles[key] for name, key in key_of.items() if key in vectors.smiles}
    warn_identical(table, smiles)
    if table.shape[1] > MOST_COLUMNS:
        msg = (
            f"{table.shape[1]} dimensions cannot be stored in h5ad, which holds {MOST_COLUMNS}; "
            "embed in fewer"
        )
        raise ValueError(msg)

    row = {
        "method": method,
        "source": describe(source) or vectors.origin,
        "fitted_on": vectors.fitted_on,
        "n_fit": vectors.n_fit,
        "transductive": vectors.fitted_on == "all" or _comes_from_all(adata, source),
        "n_dims": table.shape[1],
        "n_perturbations": len(table),
        "n_missing": len(perturbations) - len(table),
    }
    drugs = pd.Series({**smiles_of(adata), **smiles}, dtype=object)
    more = {"molecules": drugs.rename_axis("perturbation").to_frame("smiles")} if len(drugs) else {}
    write_named(adata, key, {EMBEDDINGS: table}, row, screen=screen, **RECORD, **more)
    logger.info("%r: %d perturbations in %d dimensions", key, len(table), table.shape[1])


def singles(screen: Screen, labelled: Labels, names: str | Sequence[str] | None) -> list[str]:
    """Return the single perturbations of the screen and of `names`, sorted."""
    more = listed(names, name="names")
    if not all(name.strip() for name in more):
        msg = f"names={names!r} has an empty name; name perturbations that the screen does not hold"
        raise ValueError(msg)
    every = [*labelled.names, *(screen.canonical(name) for name in more)]
    return sorted({part for name in every for part in screen.parts(name)})


def _comes_from_all(adata: AnnData, source: Any) -> bool:
    """Whether a source is, or joins, an embedding of the screen that is transductive."""
    about = known(adata, EMBEDDINGS_INFO).get("table")
    several = source.values() if isinstance(source, Mapping) else source
    several = [source] if isinstance(source, str) else several
    if about is None or not isinstance(source, str | list | tuple | Mapping):
        return False
    names = [name for name in several if isinstance(name, str)]
    return bool(about.loc[about.index.isin(names), "transductive"].any())


def _smiles_of(adata: AnnData, perturbation_key: str | None, control: Any, targets: Any) -> Any:
    """Return `targets` as a table of SMILES; a column of ``obs`` becomes a mapping."""
    if not isinstance(targets, str):
        return targets
    screen = resolve(adata, perturbation_key, control=control, tell=False)
    labelled = labels(adata, screen)
    return target_column(adata, screen, labelled, targets)


def _by_name(vectors: Vectors, key_of: Mapping[str, str]) -> pd.DataFrame:
    """Return the table by perturbation, with numbered columns."""
    held = [name for name, key in key_of.items() if key in vectors.values.index]
    values = vectors.values.loc[[key_of[name] for name in held]].to_numpy(dtype=np.float32)
    joined = sources_of(vectors.values.columns)
    columns = pd.Index(
        joined_columns(joined) or [str(i) for i in range(values.shape[1])], dtype=object
    )
    return pd.DataFrame(
        values, index=pd.Index(held, dtype=object, name="perturbation"), columns=columns
    )
