"""The one place that decides between dense, CSR, CSC, backed, dask and zarr.

Everything above sees `Rows`: cells that can be walked through in blocks, each block a dense array
or a CSR matrix in memory. Nothing is ever densified as a whole. A cell is a row of features, or an
array of any shape, such as an image (C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._settings import settings
from . import _dask
from ._choose import refuse_images
from ._storage import canonical, check_numbers, from_group, working_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Bools, Ints, Matrix


GAP_BYTES = 2**15  # what a file gives in the time that one more call takes


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows of a file or a dask array that were read before and stay in memory.

    Attributes
    ----------
    at
        (n,) sorted positions of the rows.
    values
        (n, n_columns) their values, dense or CSR.
    """

    at: Ints
    values: Matrix

    def places(self, index: Ints) -> Ints | None:
        """Return where rows are in `values`, or ``None`` if one of them was not kept."""
        place = np.searchsorted(self.at, index)
        known = bool((place < len(self.at)).all()) and np.array_equal(self.at[place], index)
        return place if known else None


@dataclass(frozen=True)
class Rows:
    """Cells read by blocks of rows.

    Attributes
    ----------
    matrix
        Dense array, CSR matrix, h5py or zarr array, AnnData's backed sparse dataset, or dask array.
    columns
        Positions of the columns to keep, or ``None`` for all. Images have no columns.
    slot
        Name of the slot of an AnnData that the values come from, for messages.
    kept
        Rows, with the kept columns only, that `take` does not read again.
    """

    matrix: Any
    columns: Ints | None = None
    slot: str = "the matrix"
    kept: KeptRows | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells, then the shape of one: ``(n, d)``, or ``(n, C, H, W)`` of images."""
        return (int(self.matrix.shape[0]), *self.cell_shape)

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """Shape of one cell: ``(d,)`` with d kept columns, or ``(C, H, W)`` of images."""
        if self.columns is not None:
            return (len(self.columns),)
        return tuple(int(size) for size in self.matrix.shape[1:])

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield (rows, block) in order.

        A block of rows of features is a 2-D float64 array or a CSR matrix in the form of
        `canonical`. A block of images has the shape (n, *cell_shape) and the dtype of the matrix.

        Statistics call :func:`shoal.core._walk.walk` instead, which computes the blocks of a dask
        array together. Here they are computed one after another.
        """
        if _dask.is_dask(self.matrix):
            yield from self._dask_blocks()
            return
        n = self.shape[0]
        step = self.step
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            yield rows, self.finish(_read(self.matrix, rows))

    def take(self, index: Ints) -> Matrix:
        """Return the cells at the (sorted, unique) positions `index`, in memory, as a block is.

        Of a file no more is read than these rows, the rows between two that are near each other,
        and the rows that share a chunk with them. Of a dask array the chunks that hold these rows
        are computed, together.
        """
        if self.in_memory:
            return self.finish(self.matrix[index])
        places = None if self.kept is None else self.kept.places(index)
        if self.kept is not None and places is not None:
            return Rows(self.kept.values, slot=self.slot).take(places)
        chosen = (
            _dask.take(self.matrix, index) if _dask.is_dask(self.matrix) else self._file_rows(index)
        )
        parts = [self.finish(part) for part in chosen]
        if len(parts) == 1:
            return parts[0]
        return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.vstack(parts)

    def _file_rows(self, index: Ints) -> Iterator[Matrix]:
        """Read the rows at `index` from a file, a block at a time; near rows are read together."""
        apart = np.flatnonzero(np.diff(index) > self._gap) + 1
        runs = [np.arange(run[0], run[-1] + 1) for run in np.split(index, apart) if len(run)]
        if _is_backed_sparse(self.matrix) or not runs:  # one call reads many runs
            runs = [np.concatenate([np.empty(0, dtype=np.int64), *runs])]
        step = self.step
        for run in runs:
            for start in range(0, max(len(run), 1), step):
                read = run[start : start + step]
                wanted = np.isin(read, index, assume_unique=True)
                block = self.matrix[_as_slice_or_mask(read, self.shape[0])]
                yield block if wanted.all() else block[wanted]

    def keeping(self, index: Ints) -> Rows:
        """Return the same rows, of which those at the (sorted, unique) positions are read now.

        `take` does not read them again. A matrix that is in memory is returned as it is.
        """
        if self.in_memory:
            return self
        read = self.take(index)
        if len(self.cell_shape) == 1:
            read = read.astype(working_dtype(self.matrix.dtype), copy=False)
        return replace(self, kept=KeptRows(index, read))

    def held(self) -> Rows:
        """Return the same rows for several walks: blocks of a dask array are computed once.

        See :func:`shoal.core._dask.held` for what is kept where. Any other matrix is returned as it
        is.
        """
        if not _dask.is_dask(self.matrix):
            return self
        array = (
            _dask.whole_rows(self.matrix)
            if self.columns is None
            else _dask.columns_of(self.matrix, self.columns)
        )
        return Rows(_dask.held(array), slot=self.slot)

    def head(self) -> Rows:
        """Return the first block alone; nothing is computed yet of a dask array."""
        if _dask.is_dask(self.matrix):
            first = next((i for i, n in enumerate(self.matrix.chunks[0]) if n), 0)
            return Rows(_dask.whole_rows(self.matrix).blocks[first], self.columns)
        return as_rows(_read(self.matrix, slice(0, min(self.step, self.shape[0]))), self.columns)

    def is_same_file(self, other: Rows) -> bool:
        """Return whether both are the same array of a file, or the same dask array.

        Of matrices in memory it is False: they may have been changed in place.
        """
        one, two = self.matrix, other.matrix
        if _dask.is_dask(one) and _dask.is_dask(two):
            return bool(one.name == two.name)
        if _is_backed_sparse(one) and _is_backed_sparse(two):
            one, two = one.group, two.group
        return hasattr(one, "id") and hasattr(two, "id") and bool(one == two)

    @property
    def in_memory(self) -> bool:
        """Whether rows can be had without reading a file or computing anything."""
        return isinstance(self.matrix, np.ndarray) or bool(sparse.issparse(self.matrix))

    @property
    def step(self) -> int:
        """Rows of one block: what the settings allow of a file, what fits a cache in memory."""
        budget = settings.block_bytes / (8 if self.in_memory else 1)
        return max(1, int(budget / self._row_bytes))

    @property
    def batch(self) -> int:
        """Rows that may be taken at once, when rows are taken in several turns.

        A file is read from end to end at every turn, so that it is several blocks. Of a dask array
        it is a quarter of a block: the rows of each block and all of them together are in memory at
        the same time.
        """
        if _dask.is_dask(self.matrix):
            return max(1, max(self.matrix.chunks[0], default=1) // 4)
        return self.step if self.in_memory else 8 * self.step

    @property
    def _row_bytes(self) -> float:
        """Bytes of one row in memory, on average."""
        n = self.matrix.shape[0]
        if sparse.issparse(self.matrix):
            return 12.0 * max(self.matrix.nnz / max(n, 1), 1)
        if _is_backed_sparse(self.matrix):
            return 12.0 * max(float(self.matrix.group["indptr"][-1]) / max(n, 1), 1)
        per_value = 8.0 if len(self.matrix.shape) == 2 else np.dtype(self.matrix.dtype).itemsize
        return per_value * prod(self.matrix.shape[1:])

    @property
    def _gap(self) -> int:
        """Most rows between two chosen ones that are read rather than skipped.

        These are as many as a file gives in the time of one more call, or as share a chunk.
        """
        per_row, is_sparse = self._row_bytes, _is_backed_sparse(self.matrix)
        chunks = getattr(self.matrix.group["data"] if is_sparse else self.matrix, "chunks", None)
        in_chunk = 0.0 if chunks is None else chunks[0] * (12.0 / per_row if is_sparse else 1)
        return max(1, int(in_chunk), int(GAP_BYTES / per_row))

    def _dask_blocks(self) -> Iterator[tuple[slice, Matrix]]:
        array = _dask.whole_rows(self.matrix)
        start = 0
        for i in range(array.numblocks[0]):
            block = self.finish(array.blocks[i].compute())
            yield slice(start, start + block.shape[0]), block
            start += block.shape[0]

    def without_matrix(self) -> Rows:
        """Return what :meth:`finish` needs, to be sent to where a block is computed."""
        return Rows(None, self.columns)

    def finish(self, block: Any) -> Matrix:
        """Return a block in the form that :meth:`blocks` promises, with the kept columns only."""
        check_numbers(block, self.slot)
        if sparse.issparse(self.matrix):
            pass  # `as_rows` gave it that form
        elif sparse.issparse(block):
            block = canonical(block)
        elif np.ndim(block) > 2:
            block = np.require(block, requirements=["A", "E"])
            block = block.astype(block.dtype.newbyteorder("="), copy=False)
        else:  # aligned, also if it came over a network
            block = np.require(block, np.float64, ["A", "E"])
        if self.columns is None:
            return block
        block = block[:, self.columns]
        if sparse.issparse(block):
            block.sort_indices()  # columns that are not in order leave them unsorted
        return block


def as_rows(matrix: Any, columns: Ints | None = None, *, slot: str = "the matrix") -> Rows:
    """Wrap the values of cells.

    Rows are what is read, so any sparse matrix in memory becomes a CSR matrix once. The matrix that
    is given stays as it is.

    Parameters
    ----------
    matrix
        (n, d) matrix of any kind, or (n, *F) dense, h5py, zarr or dask array of images.
    columns
        Positions of the columns to keep; ``None`` keeps all.
    slot
        Name of the slot that the values come from, for messages.

    Raises
    ------
    TypeError
        If the matrix is of a kind that is not known.
    ValueError
        If it has one axis only, does not hold real numbers, some are masked, or columns of images
        are asked for.
    """
    check_numbers(matrix, slot)
    if len(matrix.shape) < 2:
        msg = f"expected the values of cells, (n, d) or (n, C, H, W), not {len(matrix.shape)}-D"
        raise ValueError(msg)
    if isinstance(matrix, np.ndarray):
        matrix = np.asarray(matrix)
    elif sparse.issparse(matrix):
        matrix = canonical(matrix)
    elif _dask.is_dask(matrix):
        if any(np.isnan(n) for n in matrix.shape):
            matrix = matrix.compute_chunk_sizes()
    elif _is_backed_sparse(matrix) and (matrix.format != "csr" or not matrix.dtype.isnative):
        matrix = canonical(from_group(matrix))
    if columns is not None:
        refuse_images(matrix.shape, slot)
    return Rows(matrix, columns, slot)


def _read(matrix: Any, rows: slice) -> Any:
    """Read a block of rows; in-memory CSR is sliced without copying its values."""
    if isinstance(matrix, sparse.csr_matrix):
        lo, hi = matrix.indptr[rows.start], matrix.indptr[rows.stop]
        parts = (
            matrix.data[lo:hi],
            matrix.indices[lo:hi],
            matrix.indptr[rows.start : rows.stop + 1] - lo,
        )
        return sparse.csr_matrix(parts, shape=(rows.stop - rows.start, matrix.shape[1]), copy=False)
    return matrix[rows]


def _as_slice_or_mask(read: Ints, n: int) -> slice | Bools:
    """Return sorted positions as a slice if they have no holes, else as a mask over `n` rows."""
    if not len(read) or read[-1] - read[0] + 1 == len(read):
        return slice(int(read[0]), int(read[-1]) + 1) if len(read) else slice(0, 0)
    mask = np.zeros(n, dtype=bool)
    mask[read] = True
    return mask


def _is_backed_sparse(matrix: Any) -> bool:
    return hasattr(matrix, "to_memory") and hasattr(matrix, "format") and hasattr(matrix, "group")
