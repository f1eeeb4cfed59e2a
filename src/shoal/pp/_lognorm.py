"""Library-size normalisation and logarithm, by scanpy, on a copy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._keys import DEPTH
from .._logging import logger
from ..core._matrix import as_rows
from ..core._walk import walk

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Matrix
    from ..core._matrix import Rows
    from ..core._walk import Totals, Values

COUNTS = "counts"  # layer of raw counts


@dataclass(frozen=True)
class Normalised:
    """Log-normalised values, and the counts that they come from.

    Attributes
    ----------
    values, counts
        (n_obs, n_vars) values and counts.
    totals
        (n_obs,) counts of each cell.
    target_sum
        Counts of a cell after scaling, before the logarithm.
    """

    values: Any
    counts: Any
    totals: Floats
    target_sum: float

    def slots(self, adata: AnnData, *, keep_counts: bool, overwrite: bool) -> dict[str, Any]:
        """Return what to write: ``X``, and beside it the counts and ``obs["total_counts"]``.

        A layer or a column that is there already is kept.

        Raises
        ------
        ValueError
            If the counts are in ``X`` alone, and ``layers["counts"]`` holds other values.
        """
        # scanpy's mark; its {"base": None} cannot be read by every version of anndata
        made: dict[str, Any] = {"X": self.values, "uns/log1p": {}}
        if keep_counts and COUNTS in adata.layers and not overwrite:
            kept = walk(as_rows(adata.layers[COUNTS]), _totals_of)[1]["totals"]
            if not np.allclose(kept, self.totals, rtol=1e-4):
                msg = (
                    "adata.X would be replaced by normalised values, and layers['counts'], where "
                    "its counts are kept, holds other ones: rename that layer, or replace it with "
                    "overwrite=True"
                )
                raise ValueError(msg)
            logger.info("layers['counts'] is there already and is kept")
        elif keep_counts:
            made[f"layers/{COUNTS}"] = self.counts
        if DEPTH in adata.obs:
            logger.info(
                "obs['total_counts'] is there already and is kept; "
                "cells were scaled by the totals of the matrix"
            )
        else:
            made[f"obs/{DEPTH}"] = self.totals
        return made


def log_normalise(
    matrix: Any, rows: Rows, slot: str, is_control: Bools, target_sum: float | None
) -> Normalised:
    """Scale every cell to `target_sum` counts and take log(1 + x), on a copy.

    Parameters
    ----------
    matrix
        Matrix of counts. A dask array stays lazy.
    rows
        The same matrix, by rows.
    slot
        Name of the matrix in messages.
    is_control
        (n_obs,) which cells are controls.
    target_sum
        Counts of a cell after scaling. ``None`` takes the median of the controls that have counts.

    Raises
    ------
    ValueError
        If the matrix lies on disk, or no control has counts.
    """
    import scanpy as sc
    from anndata import AnnData

    if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix) or hasattr(matrix, "dask")):
        msg = (
            f"{slot} is read from disk ({type(matrix).__name__}) and cannot be rewritten with "
            "normalised values: load it with adata.to_memory(), or store log-normalised values in "
            "the file"
        )
        raise ValueError(msg)
    totals = walk(rows, _totals_of)[1]["totals"]
    rows = as_rows(matrix)
    n_empty = int((totals == 0).sum())
    if target_sum is None:
        depth = totals[is_control & (totals > 0)]
        if len(depth) == 0:
            msg = (
                "no control cell has counts, so their median depth is not defined; pass target_sum="
            )
            raise ValueError(msg)
        target_sum = float(np.median(depth))
    if n_empty:
        msg = (
            f"{n_empty} of {len(totals)} cells have no counts; they stay zero "
            "(scanpy.pp.filter_cells drops them)"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    counts = rows.matrix
    if sparse.issparse(counts):
        counts = sparse.csr_matrix(counts)  # scanpy knows no csr_array
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some cells have zero counts")
        scaled = sc.pp.normalize_total(AnnData(counts), target_sum=target_sum, inplace=False)["X"]
    values = sc.pp.log1p(scaled)
    if isinstance(rows.matrix, sparse.sparray):
        values = sparse.csr_array(values)
    return Normalised(values, matrix, totals, target_sum)


def _totals_of(where: slice, block: Matrix, totals: Totals) -> Values:
    """Return the counts of each cell of a block."""
    return {"totals": np.asarray(block.sum(axis=1, dtype=float)).ravel()}
