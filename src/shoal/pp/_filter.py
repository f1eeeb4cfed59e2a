"""Drop perturbations with too few cells to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._docs import shared
from .._logging import logger
from .._validate import flag, get_adata, whole
from ..core._screen import labels, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@shared()
def filter(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    min_cells: int = 20,
    inplace: bool = True,
    mod: str | None = None,
) -> pd.DataFrame:
    """Drop the cells of perturbations that have fewer than `min_cells` cells.

    The names of a combination (``"A+B"``, ``"B+A"``) are counted together. Control cells are never
    dropped, and neither are cells without a label (see ``missing`` of :func:`shoal.pp.annotate`).

    Parameters
    ----------
    data
        Screen, one row per cell.
    perturbation_key, control
        {design}
    min_cells
        Least number of cells of a perturbation that is kept.
    inplace
        Whether to drop the cells from `data`. If not, the table tells what would be dropped.
    mod
        {mod}
        The other modalities keep their cells.

    Returns
    -------
    Table of the dropped perturbations, smallest first: index perturbation, column ``n_cells``
    (int64). With `inplace`, rows of `data` are dropped.

    Raises
    ------
    ValueError
        If no perturbation would remain, or if `data` is backed by a file.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> dropped = sh.pp.filter(adata, "perturbation", control="control", min_cells=10)
    """
    adata = get_adata(data, mod)
    min_cells = whole(min_cells, name="min_cells")
    flag(inplace, name="inplace")
    if inplace and adata.isbacked:
        msg = (
            "the AnnData is backed by a file, whose rows cannot be dropped in place: "
            "load it with .to_memory() first"
        )
        raise ValueError(msg)
    labelled = labels(adata, resolve(adata, perturbation_key, control=control))
    few = labelled.counts < min_cells
    if few.all():
        most = int(labelled.counts.max(initial=0))
        msg = (
            f"no perturbation has min_cells={min_cells} cells (the largest has {most}); "
            "nothing would remain"
        )
        raise ValueError(msg)
    dropped = pd.DataFrame({"n_cells": labelled.counts[few]}, index=labelled.names[few])
    dropped = dropped.sort_values("n_cells", kind="stable")
    logger.info(
        "%d of %d perturbations (%d cells) have fewer than %d cells%s",
        len(dropped),
        len(few),
        int(dropped["n_cells"].sum()),
        min_cells,
        ": " + ", ".join(dropped.index) if len(dropped) else "",
    )
    if inplace and len(dropped):
        drop = np.append(
            few, [False, False]
        )  # codes of controls, and of cells without a label (-1)
        adata._inplace_subset_obs(~drop[labelled.code])
        if data is not adata:
            data.update()
    return dropped
