"""Populations of cells as rows of one matrix, which is not copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .._typing import Floats, Ints, Matrix

    Part = tuple[Matrix, Ints]


BLOCK = 256  # number of cells in a block


@dataclass(frozen=True, eq=False)
class Cells(Sequence[Any]):
    """Populations of cells that are rows of one matrix.

    Taking a population out copies its rows only: dense ones in double precision, CSR ones as
    stored.

    Attributes
    ----------
    values
        (n_obs, G) matrix in memory, dense or CSR.
    members
        Rows of each population, in any order. A row may occur several times.
    """

    values: Matrix
    members: tuple[Ints, ...]

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, i: Any) -> Any:
        cells = self.stored(i)
        if sparse.issparse(cells):
            return cells if np.issubdtype(cells.dtype, np.floating) else cells.astype(np.float64)
        return cells.astype(np.float64, copy=False)

    def stored(self, i: int) -> Matrix:
        """Return population i in the precision of the matrix."""
        return self.values[self.members[i]]


def densify(values: Matrix) -> NDArray[Any]:
    """Return a matrix as a dense array of the same dtype; an array is passed through."""
    return np.asarray(values.toarray() if sparse.issparse(values) else values)


def sum_of(cells: Matrix) -> Floats:
    """Return the sum of the cells in double precision; scipy sums single precision in single."""
    if sparse.issparse(cells):
        return np.asarray(np.ones(cells.shape[0]) @ cells, dtype=np.float64)
    return np.asarray(np.sum(cells, axis=0, dtype=np.float64))


def stored(several: Sequence[Matrix]) -> Iterator[Matrix]:
    """Yield populations in the precision in which they are kept."""
    return (
        (several.stored(i) for i in range(len(several)))
        if isinstance(several, Cells)
        else iter(several)
    )


def sizes_of(several: Sequence[Matrix]) -> Ints:
    """Return the number of cells of each population."""
    each = (
        several.members
        if isinstance(several, Cells)
        else [range(cells.shape[0]) for cells in several]
    )
    return np.array([len(rows) for rows in each], dtype=np.int64)


def dtypes_of(several: Sequence[Matrix]) -> list[Any]:
    """Return the number types in which populations are kept."""
    return (
        [several.values.dtype] if isinstance(several, Cells) else [cells.dtype for cells in several]
    )


def each_of(several: Sequence[Matrix]) -> list[Part]:
    """Return (matrix, rows) of each population, without copying cells."""
    if isinstance(several, Cells):
        return [(several.values, rows) for rows in several.members]
    return [(cells, np.arange(cells.shape[0])) for cells in several]


def blocks_of(cells: Part) -> Iterator[Matrix]:
    """Yield the cells of a population, `BLOCK` at a time; an empty population as one block."""
    values, rows = cells
    return (values[rows[i : i + BLOCK]] for i in range(0, max(len(rows), 1), BLOCK))


def parts_of(several: Sequence[Matrix]) -> list[Part]:
    """Return pairs (matrix, rows) that together are all populations, one after another."""
    if isinstance(several, Cells):
        return [(several.values, np.concatenate([np.empty(0, dtype=np.int64), *several.members]))]
    return each_of(several)


def repeated(means: Any, sizes: Sequence[int], dtype: Any) -> tuple[Any, ...]:
    """Return populations in which every cell is the mean; each takes the memory of one cell."""
    return tuple(
        np.broadcast_to(mean.astype(dtype), (n, len(mean)))
        for mean, n in zip(means, sizes, strict=True)
    )
