"""Predicted counts as the file that the tools of the Virtual Cell Challenge 2026 score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from .. import _h5ad
from .._docs import shared
from .._logging import logger
from .._staging import file_at, staged
from .._validate import file_key, flag, get_adata, listed, some
from ..core._counts import counts_of
from ..core._population import population
from ..core._predictions import VCC_COLUMN, VCC_CONTROL, skipped_by
from ..core._screen import resolve
from ._predicted_cells import IN_X, MAKE_COUNTS, controls_of, labels_of, meant, twins_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData
    from scipy.sparse import csr_matrix

    from .._typing import Ints
    from ..core._population import Population

MOST = 1_000_000  # counts of one cell that the tool takes
NAME_COUNTS = "name the measured counts of the control cells with layer="


@shared()
def write_predictions(
    data: AnnData | MuData,
    out: str | os.PathLike[str],
    *,
    perturbation_key: str | None = None,
    control: str | Sequence[str] | None = None,
    prediction: str | None = None,
    controls: AnnData | None = None,
    layer: str | None = None,
    context: str | None = None,
    dose: float | None = None,
    genes: Sequence[str] | None = None,
    perturbations: Sequence[str] | None = None,
    perturbation_column: str = VCC_COLUMN,
    control_label: str = VCC_CONTROL,
    overwrite: bool = False,
    mod: str | None = None,
) -> Path:
    """Write predicted counts as an h5ad that ``cell-eval2`` prepares and scores.

    ``cell-eval2`` is the scorer of the Virtual Cell Challenge 2026. It takes whole counts, at most
    a million in a cell, one context a file. Genes and labels must be those of its reference, and
    the control must be among the labels. What it would refuse is refused here, before anything is
    written.

    Parameters
    ----------
    data
        Predicted cells, one of these:

        - a screen with twins of counts, as ``sh.tl.predict(adata, model, counts=True)`` writes
          them; its control cells are written with their measured counts;
        - the AnnData that ``model.predict(..., counts=True)`` returned; `controls` is needed then.
    out
        File to write, such as ``"flow.h5ad"``.
    perturbation_key, control
        {design}
    prediction
        Name of the prediction in `data`. ``None`` takes ``"predicted"``, or ``X`` of an AnnData
        that a model returned.
    controls
        Screen whose control cells are written, where `data` has predicted cells only.
    layer
        Layer with the measured counts of the control cells. ``None`` takes them from ``X`` of
        `controls`, and from the prediction itself if there is no `controls`.
    context
        Context to write, where several were predicted.
    dose
        Dose to write, where several were predicted.
    genes
        Genes of the reference, in its order; others are left out. All genes of `data` if ``None``.
    perturbations
        Labels of the reference, the control not among them. All that were predicted if ``None``.
    perturbation_column
        Column of ``obs`` that holds the labels in the file.
    control_label
        Label of control cells in the file.
    overwrite
        Whether to replace a file of that name. By default that is an error.
    mod
        Name of the modality, if `data` is a MuData.

    Returns
    -------
    The path of the file. It holds

    ``X``
        int32 CSR (n_cells, n_genes): counts of the predicted cells, then of the control cells.
    ``obs[perturbation_column]``
        Categorical: the perturbation of each cell, or `control_label`. Context, batch and dose keep
        the names of their columns.

    Nothing is written into `data`.

    Raises
    ------
    KeyError
        If the prediction, the layer, the context, or one of `genes` does not exist.
    ValueError
        - If values are no counts: logarithms, fractions, negative or missing values.
        - If a cell has more than a million counts.
        - If there is no control cell, or one of `perturbations` was not predicted.
        - If several contexts or doses were predicted, and none is named.
        - If a perturbation has the name of `control_label`.
    TypeError
        If `out` is no path, or an argument has the wrong type.
    FileExistsError
        If the file exists and `overwrite` is not set, or it is the file of the screen itself.
    FileNotFoundError
        If the folder of `out` does not exist.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> adata.layers["predicted"] = adata.X.copy()  # counts that a model predicted
    >>> sh.io.write_predictions(adata, "submission.h5ad", overwrite=True).name
    'submission.h5ad'
    """
    adata = get_adata(data, mod)
    source = adata if controls is None else get_adata(controls, None)
    for name, value in (
        ("perturbation_column", perturbation_column),
        ("control_label", control_label),
    ):
        file_key(value, name=name)
    if perturbation_column == "_index":
        msg = (
            "perturbation_column='_index' is the name of the cells in an h5ad file; choose another"
        )
        raise ValueError(msg)
    path = file_at(out, example="predicted.h5ad")
    _check_free(path, (adata, source), overwrite=overwrite)
    key = meant(adata, prediction, has_controls=controls is not None)
    screen = resolve(source, perturbation_key, control=control)
    cells = population(adata, screen, layer=None if key == IN_X else key, partly=True)
    same = source is adata and layer is None
    known = cells if same else population(source, screen, layer=layer)
    rows = twins_of(cells, key, context=context, dose=dose)
    label = labels_of(cells, rows, perturbations, control_label, skipped=skipped_by(adata, key))
    rows = rows[np.isin(cells.labels.code[rows], list(label))]
    untouched = controls_of(known, {cells.contexts[i] for i in cells.context[rows] if i >= 0})
    features = list(cells.features) if genes is None else _genes(genes)
    counts = [
        counts_of(cells, rows, features, most=MOST, fix=MAKE_COUNTS),
        counts_of(known, untouched, features, most=MOST, fix=NAME_COUNTS),
    ]
    labels = [label[code] for code in cells.labels.code[rows]] + [control_label] * len(untouched)
    obs = _obs((cells, rows), (known, untouched))
    obs[perturbation_column] = pd.Categorical(labels)
    _write(sparse.vstack(counts, format="csr"), obs, features, path)
    logger.info(
        "%s: %d predicted cells of %d perturbations and %d control cells, %d genes",
        *(path, len(rows), len(label), len(untouched), len(features)),
    )
    return path


def _check_free(path: Path, read: tuple[AnnData, ...], *, overwrite: bool) -> None:
    """Raise ``FileExistsError`` if there is a file that may not be replaced."""
    flag(overwrite, name="overwrite")
    if not path.exists():
        return
    if any(one.filename is not None and path.samefile(one.filename) for one in read):
        msg = f"{path} is a file that is read; name another one"
        raise FileExistsError(msg)
    if not overwrite:
        msg = f"{path} exists; overwrite=True replaces it"
        raise FileExistsError(msg)


def _genes(genes: Sequence[str]) -> list[str]:
    """Return the genes of the reference, in its order.

    Raises
    ------
    ValueError
        If there are none, or one is named twice.
    """
    names = listed(genes, name="genes")
    if not names:
        msg = "genes is empty; leave it out to write all genes"
        raise ValueError(msg)
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice):
        msg = f"genes holds {some(list(dict.fromkeys(twice)))} more than once; each has one column"
        raise ValueError(msg)
    return names


def _obs(*parts: tuple[Population, Ints]) -> pd.DataFrame:
    """Return the context, batch and dose of cells of several populations, one below the other."""
    from anndata.utils import make_index_unique

    tables = []
    for cells, rows in parts:
        index = cells.adata.obs_names[rows].astype(str).rename(None)  # a column may have its name
        table = pd.DataFrame(index=index)
        for key, names, code in (
            (cells.screen.context_key, cells.contexts, cells.context),
            (cells.screen.batch_key, cells.batches, cells.batch),
        ):
            if key is not None:
                table[key] = np.array([*names, ""], dtype=object)[code[rows]]
        if cells.screen.dose_key is not None:
            table[cells.screen.dose_key] = cells.dose[rows]
        tables.append(table)
    obs = pd.concat(tables)
    obs.index = make_index_unique(obs.index) if not obs.index.is_unique else obs.index
    return obs


def _write(counts: csr_matrix, obs: pd.DataFrame, genes: Sequence[str], path: Path) -> None:
    """Write the file, whole or not at all."""
    from anndata import AnnData

    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=pd.Index(list(genes))))
    with staged(path.parent) as folder:
        _h5ad.write(adata, folder / path.name)
