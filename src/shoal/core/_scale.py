"""What scale a matrix is on: raw counts, logarithms, linear values or signed values. Looked at, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .._typing import Matrix
    from ._matrix import Rows

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
        """``"signed"`` (z-scores), ``"empty"`` (zeros only), ``"counts"``, ``"log"``, or ``"linear"`` (not logged)."""
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


class Look:
    """A look at a matrix, block by block."""

    def __init__(self) -> None:
        self.minimum, self.maximum = np.inf, -np.inf
        self.integers, self.n_bad_cells = True, 0

    def add(self, block: Matrix) -> None:
        """Look at one block of rows, dense or CSR."""
        is_sparse = bool(sparse.issparse(block))
        values = block.data if is_sparse else block.ravel()
        finite = np.isfinite(values)
        if not finite.all():
            self.n_bad_cells += _bad_rows(block)
            values = values[finite]
        if is_sparse and block.nnz < block.shape[0] * block.shape[1]:
            self.minimum, self.maximum = min(self.minimum, 0.0), max(self.maximum, 0.0)
        if values.size:
            self.minimum = min(self.minimum, float(values.min()))
            self.maximum = max(self.maximum, float(values.max()))
            self.integers = self.integers and bool((values == np.rint(values)).all())

    @property
    def scale(self) -> Scale:
        """The scale of all blocks; of a matrix without a finite value, that of zeros."""
        none = self.minimum > self.maximum
        return Scale(
            minimum=0.0 if none else self.minimum,
            maximum=0.0 if none else self.maximum,
            integers=self.integers,
            n_bad_cells=self.n_bad_cells,
        )


def look(rows: Rows) -> Scale:
    """Read a matrix once, block by block, and say what scale it is on."""
    found = Look()
    for _, block in rows.blocks():
        found.add(block)
    return found.scale


def _bad_rows(block: Matrix) -> int:
    if bool(sparse.issparse(block)):
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        return len(np.unique(row[~np.isfinite(block.data)]))
    return int((~np.isfinite(block)).any(axis=1).sum())
