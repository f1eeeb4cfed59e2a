"""Normalisation of counts to one depth, and the logarithm, on a copy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._keys import DEPTH
from .._logging import logger
from .._validate import key_in
from ..core import _dask
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
        (n_obs,) counts of each cell in the matrix.
    target_sum
        Depth of a cell after scaling, before the logarithm.
    depth_key
        Column that the depth was read from; ``None`` if it is `totals`.
    """

    values: Any
    counts: Any
    totals: Floats
    target_sum: float
    depth_key: str | None

    def slots(self, adata: AnnData, *, keep_counts: bool, overwrite: bool) -> dict[str, Any]:
        """Return what to write: ``X``, and beside it the counts and ``obs["total_counts"]``.

        A layer or a column that is there already is kept. Totals of a panel are not its depth, so
        that they are not written where the depth came from a column.

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
        if self.depth_key is not None:
            logger.info("cells were scaled by obs[%r]", self.depth_key)
        elif DEPTH in adata.obs:
            logger.info(
                "obs['total_counts'] is there already and is kept; "
                "cells were scaled by the totals of the matrix. If it holds the depth of the whole "
                "transcriptome, depth_key='total_counts' scales by it"
            )
        else:
            made[f"obs/{DEPTH}"] = self.totals
        return made


def log_normalise(
    matrix: Any,
    rows: Rows,
    slot: str,
    *,
    is_control: Bools,
    target_sum: float | None,
    obs: pd.DataFrame,
    depth_key: str | None,
) -> Normalised:
    """Scale every cell to a depth of `target_sum` and take log(1 + x), on a copy.

    The values are computed in double precision and kept in single precision, whatever the counts
    are kept in.

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
        Depth of a cell after scaling. ``None`` takes the median of the controls that have counts.
    obs
        Table of the cells.
    depth_key
        Column of `obs` with the depth of each cell. ``None`` takes its counts in the matrix.

    Raises
    ------
    ValueError
        If the matrix lies on disk, no control has counts, or the column cannot be the depth.
    KeyError
        If there is no such column.
    """
    if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix) or _dask.is_dask(matrix)):
        msg = (
            f"{slot} is read from disk ({type(matrix).__name__}) and cannot be rewritten with "
            "normalised values: load it with adata.to_memory(), or store log-normalised values in "
            "the file"
        )
        raise ValueError(msg)
    totals = walk(rows, _totals_of)[1]["totals"]
    depth = totals if depth_key is None else _depth_of(obs, depth_key, totals, slot)
    if target_sum is None:
        known = depth[is_control & (depth > 0)]
        if len(known) == 0:
            msg = (
                "no control cell has counts, so their median depth is not defined; pass target_sum="
            )
            raise ValueError(msg)
        target_sum = float(np.median(known))
    n_empty = int((totals == 0).sum())
    if n_empty:
        msg = (
            f"{n_empty} of {len(totals)} cells have no counts; they stay zero "
            "(scanpy.pp.filter_cells drops them)"
        )
        warnings.warn(msg, UserWarning, stacklevel=4)
    factor = target_sum / np.where(depth > 0, depth, 1.0)
    return Normalised(_scaled(matrix, factor), matrix, totals, target_sum, depth_key)


def _depth_of(obs: pd.DataFrame, key: str, totals: Floats, slot: str) -> Floats:
    """Return (n_obs,) the depth of each cell; raise if the column cannot be that."""
    hint = "depth_key= names the counts of each cell over the whole transcriptome."
    key_in(key, obs.columns, where="adata.obs", hint=hint)
    column = obs[key]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        msg = (
            f"depth_key: obs[{key!r}] holds {column.dtype} values, such as {column.iloc[0]!r}; it "
            "must hold numbers, the counts of each cell over the whole transcriptome"
        )
        raise ValueError(msg)
    depth = column.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~(np.isfinite(depth) & (depth > 0))
    if bad.any():
        msg = (
            f"depth_key: {int(bad.sum())} of {len(depth)} cells have a depth of "
            f"{depth[bad][0]:g} or another value that is not above 0 in obs[{key!r}], such as cell "
            f"{obs.index[bad][0]!r}; drop these cells or fill in their depth"
        )
        raise ValueError(msg)
    more = totals > depth * (1 + 1e-6)
    if more.any():
        cell = int(np.flatnonzero(more)[0])
        msg = (
            f"depth_key: {int(more.sum())} of {len(depth)} cells have more counts in {slot} than "
            f"obs[{key!r}] says of the whole transcriptome, such as {totals[cell]:g} and "
            f"{depth[cell]:g} in cell {obs.index[cell]!r}: is it the depth, and not its logarithm "
            "or the depth after a filter?"
        )
        raise ValueError(msg)
    return depth


def _scaled(matrix: Any, factor: Floats) -> Any:
    """Return log(1 + counts x factor), float32: dense, CSR or lazy, as the counts are."""
    if not _dask.is_dask(matrix):
        return _log_of(matrix, factor)
    import dask.array as da

    array = _dask.whole_rows(as_rows(matrix).matrix)
    column = da.from_array(factor[:, None], chunks=(array.chunks[0], 1))
    return da.map_blocks(
        _log_of,
        array,
        column,
        dtype=np.float32,
        chunks=array.chunks,
        meta=array._meta.astype(np.float32),
    )


def _log_of(counts: Any, factor: Floats) -> Any:
    """Return the same of a matrix in memory, or of a block; it is computed some rows at a time."""
    rows, scale = as_rows(counts), factor.ravel()
    if not sparse.issparse(counts):
        values = np.empty(rows.shape, dtype=np.float32)
        for where, block in rows.blocks():
            values[where] = np.log1p(block * scale[where, None])
        return values
    csr = rows.matrix
    data = np.empty(csr.nnz, dtype=np.float32)
    for where, block in rows.blocks():
        here = slice(csr.indptr[where.start], csr.indptr[where.stop])
        data[here] = np.log1p(block.data * np.repeat(scale[where], np.diff(block.indptr)))
    make = sparse.csr_array if isinstance(counts, sparse.sparray) else sparse.csr_matrix
    return make((data, csr.indices.copy(), csr.indptr.copy()), shape=csr.shape)


def _totals_of(where: slice, block: Matrix, totals: Totals) -> Values:
    """Return the counts of each cell of a block."""
    return {"totals": np.asarray(block.sum(axis=1, dtype=float)).ravel()}
