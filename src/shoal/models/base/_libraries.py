"""Library sizes of measured cells, and the counts that their log-normalised values come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from ..._keys import DEPTH
from ...core._matrix import Rows, as_rows

if TYPE_CHECKING:
    from anndata import AnnData

    from ..._typing import Bools, Floats, Ints, Matrix
    from ...core._population import Population

COUNTS = "counts"  # layer of raw counts, where pp.prepare keeps them
NEAR = 0.05, 0.002  # how far a value may be from its count: this, and this share of it
KEEP = (
    "keep the raw counts in adata.layers['counts'], as sh.pp.prepare(adata, normalize='log1p') does"
)


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured cells as counts.

    Attributes
    ----------
    counts
        (n, n_features) int32 counts of the features of the model.
    unit
        (n,) molecules of a cell that make up one unit of its normalised value: its library size
        over the total to which cells were normalised. 0 for a cell without counts.
    """

    counts: sparse.csr_matrix
    unit: Floats


@dataclass(frozen=True, eq=False)
class Libraries:
    """Where the counts and the library sizes of the cells of a population come from.

    A log-normalised value is x = log(1 + c / u), with the count c and the unit u of the cell. The
    unit is read from the first of these that there is:

    - ``layers["counts"]``, by the ratio of counts and values;
    - the depth and the target sum that `shoal.pp.prepare` recorded;
    - ``obs["total_counts"]``, over the total of the values of the cell.

    Each way is checked on every cell that is read: all values must come out as their counts.

    Attributes
    ----------
    cells
        The population.
    rows
        Values of all genes of the AnnData, not of those of the model alone.
    counts
        The counts of all genes; ``None`` if there is no such layer.
    depth
        Name of each known depth -> (n_obs,) depth of every cell, and the total to which cells were
        normalised: NaN for the total of their values.
    """

    cells: Population
    rows: Rows
    counts: Rows | None
    depth: dict[str, tuple[Floats, float]]

    @classmethod
    def of(cls, cells: Population) -> Libraries:
        """Find the libraries of a population; no value is read yet.

        Raises
        ------
        ValueError
            If there are no library sizes.
        """
        adata = cells.adata
        counts = None
        if COUNTS in adata.layers:
            counts = as_rows(adata.layers[COUNTS], slot="layers['counts']")
        depth = {} if counts is not None else _depths(adata)
        if counts is None and not depth:
            msg = (
                "counts=True needs the library size of every cell that predictions start from, and "
                f"there is neither layers['counts'] nor obs[{DEPTH!r}]: {KEEP}; or write the "
                f"counts of each cell, over all genes that were normalised together, to "
                f"adata.obs[{DEPTH!r}]. Cells given as an array have none: pass an AnnData"
            )
            raise ValueError(msg)
        return cls(cells, replace(cells.rows, columns=None, kept=None), counts, depth)

    @staticmethod
    def known(cells: Population) -> bool:
        """Return whether a population has a slot with counts or library sizes."""
        return COUNTS in cells.adata.layers or bool(_depths(cells.adata))

    def measured(self, index: Ints) -> Measured:
        """Return the counts of the cells at sorted, unique positions.

        Raises
        ------
        ValueError
            If values and counts or library sizes do not fit.
        """
        if self.counts is not None:
            return self._from_layer(self.counts, index)
        tried = []
        values = self._normalised(index)
        totals = _sums(values)
        for name, (depth, total) in self.depth.items():
            unit = depth[index] / (np.where(totals > 0, totals, 1) if np.isnan(total) else total)
            counts = _times(values, unit)
            nearest = counts.copy()
            nearest.data = np.rint(counts.data)
            off = _far(counts, nearest)
            if not off.any() and np.isfinite(unit).all():
                unit = np.where((totals > 0) | ~np.isnan(total), unit, 0)
                return Measured(self._of_model(nearest), unit)
            tried.append(f"{name} ({int(off.sum())} of {len(index)} cells)")
        msg = (
            f"{self._slot} was not normalised by {' nor by '.join(tried)}: values times library "
            f"size are no whole numbers, so the library sizes are not those of these values. {KEEP}"
            ", or normalise the counts again with it. A panel that was normalised by its whole "
            "transcriptome needs sh.pp.prepare(adata, normalize='log1p', depth_key=...)"
        )
        raise ValueError(msg)

    def _from_layer(self, source: Rows, index: Ints) -> Measured:
        counts, values = sparse.csr_matrix(source.take(index)), self._normalised(index)
        self._check_counts(counts, index)
        total, own = _sums(values), _sums(counts)
        unit = np.divide(own, total, out=np.zeros(len(index)), where=total > 0)
        off = _far(_times(values, unit), counts)
        if off.any():
            cell = str(self.cells.adata.obs_names[index[np.argmax(off)]])
            msg = (
                f"{self._slot} is not log(1 + counts / library size) of layers['counts'] in "
                f"{int(off.sum())} of {len(index)} cells, such as {cell!r}: predicted values could "
                "not be turned into counts. Normalise these counts anew with "
                "sh.pp.prepare(adata, normalize='log1p', layer='counts') before training, or "
                "rename the layer if it holds something else"
            )
            raise ValueError(msg)
        return Measured(self._of_model(counts), unit)

    def _check_counts(self, counts: sparse.csr_matrix, index: Ints) -> None:
        wrong = ~(np.isfinite(counts.data) & (counts.data >= 0))
        what = "values below 0 or missing ones"
        if not wrong.any():
            wrong = counts.data != np.rint(counts.data)
            what = "values that are no whole numbers"
        if wrong.any():
            row = np.searchsorted(counts.indptr, np.flatnonzero(wrong)[0], side="right") - 1
            cell = str(self.cells.adata.obs_names[index[row]])
            msg = (
                f"layers['counts'] holds {what}, such as {counts.data[wrong][0]:g} in cell "
                f"{cell!r}: these are no raw counts. Put the raw counts there, or rename the layer "
                f"and write the library sizes to obs[{DEPTH!r}]"
            )
            raise ValueError(msg)

    def _normalised(self, index: Ints) -> sparse.csr_matrix:
        """Return values before the logarithm, of all genes of the AnnData."""
        if self.cells.rows.columns is None:
            taken: Matrix = self.cells.rows.take(index)
        else:
            taken = self.rows.take(index)
        return sparse.csr_matrix(normalised(taken, self.cells))

    def _of_model(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Return int32 counts of the features of the model, in its order."""
        columns = self.cells.rows.columns
        made = (counts if columns is None else counts[:, columns]).astype(np.int32)
        made.eliminate_zeros()
        made.sort_indices()
        return made

    @property
    def _slot(self) -> str:
        return "X" if self.cells.layer is None else f"layers[{self.cells.layer!r}]"


def normalised(values: Matrix, cells: Population) -> Matrix:
    """Return log-normalised values before the logarithm, whose base scanpy records."""
    base = cells.adata.uns.get("log1p", {}).get("base")
    scale = 1.0 if base is None else float(np.log(base))
    if sparse.issparse(values):
        made = sparse.csr_matrix(values, dtype=np.float64, copy=True)
        made.data = np.expm1(made.data * scale)
        return made
    return np.expm1(np.asarray(values, dtype=np.float64) * scale)


def _depths(adata: AnnData) -> dict[str, tuple[Floats, float]]:
    """Return the columns of ``obs`` that cells may have been normalised by; see `Libraries`."""
    stored = adata.uns.get("pca", {})
    params: Any = stored.get("params", {}) if hasattr(stored, "get") else {}
    found = {}
    if params.get("normalize") == "log1p" and float(params.get("target_sum") or 0) > 0:
        key = str(params.get("depth_key") or DEPTH)
        depth = _numbers(adata, key)
        if depth is not None:
            target = float(params["target_sum"])
            found[f"obs[{key!r}] to {target:g}, as sh.pp.prepare recorded"] = (depth, target)
    depth = _numbers(adata, DEPTH)
    if depth is not None:
        found[f"obs[{DEPTH!r}]"] = (depth, np.nan)
    return found


def _numbers(adata: AnnData, key: str) -> Floats | None:
    """Return a column of numbers of at least 0; ``None`` if it is not there, or something else."""
    if key not in adata.obs:
        return None
    values = pd.to_numeric(adata.obs[key].astype(object), errors="coerce").to_numpy(np.float64)
    return values if (values >= 0).any() else None


def _sums(values: sparse.csr_matrix) -> Floats:
    return np.asarray(values.sum(axis=1), dtype=np.float64).ravel()


def _times(values: sparse.csr_matrix, unit: Floats) -> sparse.csr_matrix:
    """Return the rows of a matrix, each times its own number."""
    made = values.copy()
    made.data = made.data * np.repeat(unit, np.diff(made.indptr))
    return made


def _far(made: sparse.csr_matrix, counts: sparse.csr_matrix) -> Bools:
    """Return which rows hold a value that is too far from its count."""
    gap = abs(made - counts)
    gap = gap - NEAR[1] * counts
    gap.data = np.where(np.isnan(gap.data), np.inf, gap.data)
    return np.asarray(gap.max(axis=1).toarray()).ravel() > NEAR[0]
