"""Record once what the columns of a screen mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import SCREEN
from .._logging import logger
from .._validate import get_adata, one_of, text
from ..core._claims import claim
from ..core._gene_names import gene_names, tell_symbols
from ..core._label_notices import crossed_guides, tell_of_groups
from ..core._screen import Screen, as_labels, perturbed_labels, raw_counts, read
from ..core._slots import recorded_screen, write_slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

SLOT = f"uns/{SCREEN}"
GROUPS = {"context_key": "contexts", "batch_key": "batches", "guide_key": "guides"}


@shared()
def annotate(
    data: AnnData | MuData,
    perturbation_key: str,
    *,
    control: str | Sequence[str],
    context_key: str | None = None,
    batch_key: str | None = None,
    dose_key: str | None = None,
    guide_key: str | None = None,
    gene_key: str | None = None,
    sep: str = "auto",
    missing: Literal["raise", "ignore"] = "raise",
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Record the design of a perturbation screen, so that later calls need not repeat it.

    - Labels are read as text, without blanks at their ends. Tables and pictures show them as they
      are written.
    - ``"B+A"`` and ``"A+B"`` are one perturbation, and so are ``"A+control"`` and ``"A"``. It has
      the name that most of its cells have.
    - All control labels are pooled.
    - ``adata.obs`` is not changed.

    What is odd about the labels is logged as a warning, with the call that mends it: texts such as
    ``"nan"``, names that differ by case alone, several spellings of one perturbation, other labels
    that are often those of controls, and labels that look like combinations by another separator.
    So are contexts, batches and guides that read like missing values, or differ by case or blanks
    alone, and guides of several perturbations.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key
        Column of ``obs`` with the perturbation of each cell.
    control
        Label, or labels, of the unperturbed cells. They are never guessed. One may occur only as a
        part of combinations: a combination of controls alone is a control.
    context_key
        Column with the cell context (cell type, line, time point, stimulation).
    batch_key
        Column with the technical batch (replicate, lane, plate, donor).
    dose_key
        Column with the dose, as numbers.
    guide_key
        Column with the guide (sgRNA) of each cell.
    gene_key
        Column of ``var`` with the symbols of genes. It is needed where perturbations are named
        after genes and ``var_names`` holds other names. A column of the usual name, such as
        ``"gene_symbol"``, is found by itself.
    sep
        Text between the parts of a combination.

        ``"auto"``
            ``"+"``, but a label that holds it is a combination only where its parts occur elsewhere
            in the screen: ``"A+B"`` is one if ``"A"`` is a label too, or if both are parts of
            others. ``"(+)-JQ1"`` and ``"CD14+ Monocytes"`` are names.
        ``"+"``, ``"_"`` or another text
            Every label that holds it is a combination, unless it begins or ends with it.
        ``""``
            No label is a combination.
    missing
        What a missing or blank perturbation label means: an error, or a cell that belongs to no
        group.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes ``uns["shoal"]``: the design as text and, where labels are combinations or hold
    a ``+``, how they are read (``singles``, ``written``). Cells that are taken out of the screen
    keep that reading. A view is turned into a copy first.

    Raises
    ------
    KeyError
        If a column does not exist or a control label does not occur.
    ValueError
        If labels are missing and `missing` is ``"raise"``, if no cell is perturbed or no cell is a
        control, if a column is there twice or is named for two things, if doses are no finite
        numbers of at least 0, or if names of genes are not unique.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    """
    adata = get_adata(data, mod)
    one_of(missing, ("raise", "ignore"), name="missing")
    text(sep, name="sep")
    owned = {SLOT} if recorded_screen(adata) is not None else set()
    claim(adata, [SLOT], owned=owned, overwrite=overwrite, rename="rename it")
    screen = Screen(
        str(perturbation_key),
        as_labels(control),
        context_key=context_key,
        batch_key=batch_key,
        dose_key=dose_key,
        guide_key=guide_key,
        sep=sep,
        missing=missing,
        gene_key=gene_key,
    )
    _check_keys(data, adata, mod, screen)
    screen = read(adata, screen, tell=True)
    for name, what in GROUPS.items():
        key = getattr(screen, name)
        if key is not None:
            tell_of_groups(raw_counts(adata.obs[key]), key=key, what=what)
    genes = gene_names(adata, screen)
    if dose_key is not None:
        _check_dose(adata, dose_key)
    labelled = perturbed_labels(adata, screen)
    if guide_key is not None and (why := crossed_guides(adata.obs[guide_key], labelled.code)):
        logger.warning(
            "adata.obs[%r]: most guides belong to several perturbations; %s. Look whether "
            "guide_key=%r or perturbation_key=%r names another column",
            *(guide_key, why, guide_key, screen.perturbation_key),
        )
    logger.info(
        "%d perturbations, %d control cells, %d unlabelled cells",
        len(labelled.names),
        int(labelled.is_control.sum()),
        int((labelled.code < 0).sum()),
    )
    tell_symbols(genes)
    write_slots(adata, {SLOT: screen.to_uns()})


def _check_keys(data: AnnData | MuData, adata: AnnData, mod: str | None, screen: Screen) -> None:
    """Raise if columns are where they are not read, or are named for two things.

    Raises
    ------
    KeyError
        If the labels of a modality are in the table of the whole MuData.
    ValueError
        If the column of the perturbations is also that of the context or the batch.
    """
    key = screen.perturbation_key
    for argument in ("context_key", "batch_key"):
        given = getattr(screen, argument)
        if isinstance(given, str) and given == key:
            msg = (
                f"{argument}={key!r} is the column of the perturbations itself: no perturbation "
                f"could be compared with controls. Name another column, or leave {argument} out"
            )
            raise ValueError(msg)
    if data is adata or key in adata.obs.columns:
        return
    there = next((name for name in (key, f"{mod}:{key}") if name in data.obs.columns), None)
    if there is not None:
        msg = (
            f"{key!r} is a column of mdata.obs, and not of mdata[{mod!r}].obs, which is read: copy "
            f"it with mdata[{mod!r}].obs[{key!r}] = mdata.obs.loc[mdata[{mod!r}].obs_names, "
            f"{there!r}]"
        )
        raise KeyError(msg)


def _check_dose(adata: AnnData, key: str) -> None:
    """Raise ``ValueError`` if a dose is not a finite number of at least 0."""
    values = pd.Series(pd.unique(adata.obs[key].dropna()), dtype=object)
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    flags = np.array([isinstance(value, (bool, np.bool_)) for value in values], dtype=bool)
    wrong = values[~((numbers >= 0) & (numbers < np.inf)) | flags]
    if len(wrong):
        msg = (
            f"dose_key: adata.obs[{key!r}] holds {', '.join(map(repr, wrong[:5]))}, which is no "
            "finite number of at least 0; store the dose in one unit, as numbers (missing for "
            "controls is fine)"
        )
        raise ValueError(msg)
