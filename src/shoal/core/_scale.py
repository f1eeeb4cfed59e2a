"""What scale a matrix is on: raw counts, logarithms, linear values or signed values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import sparse

from ._walk import walk

if TYPE_CHECKING:
    from .._typing import Matrix
    from ._matrix import Rows
    from ._walk import Totals, Values

Kind: TypeAlias = Literal["empty", "counts", "log", "linear", "signed"]

LOG_MAX = 20.0  # log1p of a million is 13.8 and log2 of it 19.9: no log-normalised count is larger


@dataclass(frozen=True)
class Scale:
    """What one look at every value says.

    Attributes
    ----------
    minimum, maximum
        Smallest and largest finite value, zeros that a sparse matrix leaves out included.
    integers
        Whether every finite value is a whole number.
    n_bad_cells
        Rows that hold NaN or infinity.
    """

    minimum: float
    maximum: float
    integers: bool
    n_bad_cells: int

    @property
    def kind(self) -> Kind:
        """``"signed"`` (z-scores), ``"empty"``, ``"counts"``, ``"log"`` or ``"linear"``."""
        if self.minimum < 0:
            return "signed"
        if self.maximum == 0:
            return "empty"
        if self.integers:
            return "counts"
        return "log" if self.maximum < LOG_MAX else "linear"

    @property
    def words(self) -> str:
        """The kind in words, with the values it was read from."""
        span = f"{self.minimum:.4g} to {self.maximum:.4g}"
        return {
            "signed": f"values below 0 ({span}), as z-scored or centred data have",
            "empty": "nothing but zeros",
            "counts": f"whole numbers ({span}): raw counts",
            "log": f"fractions from {span}: log-normalised values",
            "linear": f"fractions from {span}: normalised, but not logged",
        }[self.kind]


def look(rows: Rows) -> Scale:
    """Read a matrix once, block by block, and say what scale it is on."""
    return scale_of(walk(rows, look_at)[1])


def scale_of(found: Values) -> Scale:
    """Return the scale of a matrix from what `look_at` returned of all blocks."""
    if not found or not found["seen"].any():  # no finite value at all
        low = high = 0.0
    else:
        low, high = float(found["low"].min()), float(found["high"].max())
    return Scale(
        minimum=low,
        maximum=high,
        integers=bool(not found or found["integers"].all()),
        n_bad_cells=int(found["bad"].sum()) if found else 0,
    )


def look_at(where: slice, block: Matrix, totals: Totals) -> Values:
    """Return the extremes of one block, whether it holds whole numbers only, and its bad rows."""
    is_sparse = bool(sparse.issparse(block))
    values, bad = block.data if is_sparse else block.ravel(), 0
    finite = np.isfinite(values)
    if not finite.all():
        bad = _bad_rows(block)
        values = values[finite]
    low, high = np.inf, -np.inf
    if is_sparse and block.nnz < block.shape[0] * block.shape[1]:
        low = high = 0.0
    integers = True
    if values.size:
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        integers = bool((values == np.rint(values)).all())
    one = {"low": low, "high": high, "integers": integers, "bad": bad, "seen": low <= high}
    return {name: np.array([value]) for name, value in one.items()}


def _bad_rows(block: Matrix) -> int:
    if bool(sparse.issparse(block)):
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        return len(np.unique(row[~np.isfinite(block.data)]))
    return int((~np.isfinite(block)).reshape(len(block), -1).any(axis=1).sum())
