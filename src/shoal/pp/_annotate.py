"""Record once what the columns of a screen mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pandas as pd

from .._docs import shared
from .._keys import SCREEN
from .._logging import logger
from .._validate import get_adata, one_of, text
from ..core._claims import claim
from ..core._gene_names import gene_names, tell_symbols
from ..core._screen import Screen, as_labels, check, labels
from ..core._slots import recorded_screen, write_slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

SLOT = f"uns/{SCREEN}"


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
    sep: str = "+",
    missing: Literal["raise", "ignore"] = "raise",
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Record the design of a perturbation screen, so that later calls need not repeat it.

    - Labels are read as text.
    - The parts of a combination are put in one order: ``"B+A"`` and ``"A+B"`` are one perturbation,
      and ``"A+control"`` is ``"A"``.
    - All control labels are pooled.
    - ``adata.obs`` is not changed.

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key
        Column of ``obs`` with the perturbation of each cell.
    control
        Label, or labels, of the unperturbed cells. They are never guessed.
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
        Text between the parts of a combination. ``""`` if names are never combinations.
    missing
        What a missing perturbation label means: an error, or a cell that belongs to no group.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing. Writes ``uns["shoal"]``, the design as text. A view is turned into a copy first.

    Raises
    ------
    KeyError
        If a column does not exist or a control label does not occur.
    ValueError
        If labels are missing and `missing` is ``"raise"``, if no cell is perturbed, if doses are
        not numbers, or if names of genes are not unique.

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
    check(adata, screen)
    genes = gene_names(adata, screen)
    if dose_key is not None:
        _check_dose(adata, dose_key)
    labelled = labels(adata, screen)
    if len(labelled.names) == 0:
        msg = (
            f"every cell of adata.obs[{perturbation_key!r}] is a control; "
            "there is no perturbation to measure"
        )
        raise ValueError(msg)
    logger.info(
        "%d perturbations, %d control cells, %d unlabelled cells",
        len(labelled.names),
        int(labelled.is_control.sum()),
        int((labelled.code < 0).sum()),
    )
    tell_symbols(genes)
    write_slots(adata, {SLOT: screen.to_uns()})


def _check_dose(adata: AnnData, key: str) -> None:
    """Raise ``ValueError`` if a dose is not a number."""
    values = pd.Series(pd.unique(adata.obs[key].dropna()), dtype=object)
    wrong = values[pd.to_numeric(values, errors="coerce").isna()]
    if len(wrong):
        msg = (
            f"dose_key: adata.obs[{key!r}] holds {', '.join(map(repr, wrong[:5]))}, which is not a "
            "number; store the dose in one unit, as numbers (missing for controls is fine)"
        )
        raise ValueError(msg)
