"""What scale the values of a matrix are on: counts, their logarithms, or something else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import sparse

from ._scale_signs import Sign, sign_of
from ._walk import walk

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Matrix
    from ._matrix import Rows
    from ._walk import Totals, Values

Kind: TypeAlias = Literal["empty", "counts", "log", "linear", "signed"]

LOG_MAX = 20.0  # log1p of a million is 13.8 and log2 of it 19.9: no log-normalised count is larger

WORDS: dict[Sign, str] = {
    "": "normalised, but not logged",
    "totals": "cells that all have the same total: normalised, but not logged",
    "wholes": "many of them whole numbers: counts that were estimated, not logged",
    "spread": "with the spread of counts: corrected or normalised counts, not logged",
}


@dataclass(frozen=True)
class Scale:
    """What one look at every value says.

    Attributes
    ----------
    minimum, maximum
        Smallest and largest finite value, zeros that a sparse matrix leaves out included.
    integers
        Whether every finite value is a whole number.
    n_cells
        Rows that were looked at.
    n_bad_cells
        Rows that hold NaN or infinity.
    first_bad
        Position of the first of these; -1 without any.
    sign
        What tells that values are not logged, though none is above 20: ``"totals"`` (all cells
        have the same total), ``"wholes"`` (many whole numbers), ``"spread"`` (the variance of
        counts); ``""`` for nothing.
    level
        (n_features,) mean of the cells of the first block.
    """

    minimum: float
    maximum: float
    integers: bool
    n_cells: int
    n_bad_cells: int
    first_bad: int = -1
    sign: Sign = ""
    level: Floats = field(default_factory=lambda: np.empty(0), compare=False)

    @property
    def kind(self) -> Kind:
        """``"signed"`` (z-scores), ``"empty"``, ``"counts"``, ``"log"`` or ``"linear"``."""
        if self.minimum < 0:
            return "signed"
        if self.maximum == 0:
            return "empty"
        if self.integers:
            return "counts"
        return "log" if self.maximum < LOG_MAX and not self.sign else "linear"

    @property
    def words(self) -> str:
        """The kind in words, with the values it was read from."""
        span = f"{self.minimum:.4g} to {self.maximum:.4g}"
        return {
            "signed": f"values below 0 ({span}), as z-scored or centred data have",
            "empty": "nothing but zeros",
            "counts": f"whole numbers ({span}): raw counts",
            "log": f"fractions from {span}: log-normalised values",
            "linear": f"fractions from {span}, {WORDS[self.sign]}"
            if self.sign
            else f"fractions from {span}: {WORDS['']}",
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
    first = found["first_bad"][found["first_bad"] >= 0] if found else np.empty(0)
    signs = [sign for sign in found["sign"] if sign] if found else []
    return Scale(
        minimum=low,
        maximum=high,
        integers=bool(not found or found["integers"].all()),
        n_cells=int(found["n"].sum()) if found else 0,
        n_bad_cells=int(found["bad"].sum()) if found else 0,
        first_bad=int(first.min()) if len(first) else -1,
        sign=str(signs[0]) if signs else "",  # type: ignore[arg-type]
        level=found["level"].ravel() if found else np.empty(0),
    )


def look_at(where: slice, block: Matrix, totals: Totals) -> Values:
    """Return the extremes of one block, whether it holds whole numbers only, and its bad rows.

    The block that begins the matrix is also looked at for signs that values are not logged.
    """
    is_sparse = bool(sparse.issparse(block))
    values, bad = block.data if is_sparse else block.ravel(), np.empty(0, dtype=np.int64)
    finite = np.isfinite(values)
    if not finite.all():
        bad = np.flatnonzero(_is_bad(block))
        values = values[finite]
    low, high = np.inf, -np.inf
    if is_sparse and block.nnz < block.shape[0] * block.shape[1]:
        low = high = 0.0
    integers = True
    if values.size:
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        integers = bool((values == np.rint(values)).all())
    may_be_log = where.start == 0 and not integers and low >= 0 and high < LOG_MAX and not len(bad)
    one = {
        "low": low,
        "high": high,
        "integers": integers,
        "seen": low <= high,
        "n": block.shape[0],
        "bad": len(bad),
        "first_bad": where.start + bad[0] if len(bad) else -1,
        "sign": sign_of(block) if may_be_log and len(block.shape) == 2 else "",
    }
    level = np.empty((0, block.shape[1]))
    if where.start == 0 and block.shape[0] and len(block.shape) == 2:
        level = np.asarray(block.mean(axis=0, dtype=np.float64)).reshape(1, -1)
    return {name: np.array([value]) for name, value in one.items()} | {"level": level}


def _is_bad(block: Matrix) -> Bools:
    """Return which rows hold NaN or infinity."""
    bad = np.zeros(block.shape[0], dtype=bool)
    if bool(sparse.issparse(block)):
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        bad[row[~np.isfinite(block.data)]] = True
        return bad
    return np.asarray((~np.isfinite(block)).reshape(len(bad), -1).any(axis=1))
