"""Sums and products of the rows of one block, dense or sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._typing import Floats, Ints, Matrix

PIECE = 2**16  # entries of a sparse block that are looked at together


def row_dot(block: Matrix, table: Floats, index: Ints) -> Floats:
    """Return ``block[i] @ table[index[i]]`` for every row; sparse blocks stay sparse."""
    if len(table) == 1:
        return np.asarray(block @ table[0], dtype=np.float64)
    if sparse.issparse(block):
        flat = np.ascontiguousarray(table).ravel()
        first = index * np.int64(
            table.shape[1]
        )  # where the table's row of each row of the block begins
        return _row_sums(
            block, lambda at, row: block.data[at] * flat[first[row] + block.indices[at]]
        )
    return np.einsum("ij,ij->i", block, table.take(index, axis=0))


def row_squares(block: Matrix) -> Floats:
    """Return the squared Euclidean norm of every row in float64."""
    if sparse.issparse(block):
        return _row_sums(block, lambda at, row: np.square(block.data[at], dtype=np.float64))
    return np.einsum("ij,ij->i", block, block)


def _pieces(block: Matrix) -> Iterator[tuple[slice, Ints]]:
    """Yield the entries of a sparse block, a few whole rows at a time, with the row of each."""
    step = max(1, int(PIECE * block.shape[0] / max(block.nnz, 1)))
    for start in range(0, block.shape[0], step):
        ends = block.indptr[start : start + step + 1]
        yield (
            slice(ends[0], ends[-1]),
            np.repeat(np.arange(start, start + len(ends) - 1), np.diff(ends)),
        )


def _row_sums(block: Matrix, value: Callable[[slice, Ints], Floats]) -> Floats:
    """Return the sum over each row of a sparse block of ``value(entries, their rows)``."""
    out, filled = np.zeros(block.shape[0]), np.diff(block.indptr) > 0
    for at, row in _pieces(block):
        if len(row):
            rows = row[0] + np.flatnonzero(filled[row[0] : row[-1] + 1])
            out[rows] = np.add.reduceat(value(at, row), block.indptr[rows] - at.start)
    return out


def group_sum(block: Matrix, code: Ints, n_groups: int, weight: Floats | None = None) -> Floats:
    """Return (n_groups, n_columns) sums of the rows of each group; code -1 is no group."""
    sums = np.zeros((n_groups, block.shape[1]))
    add_to_groups(sums, block, code, weight)
    return sums


def add_to_groups(sums: Floats, block: Matrix, code: Ints, weight: Floats | None = None) -> None:
    """Add every row, times its weight, to the row ``code`` of C-contiguous ``sums``; -1 is none."""
    keep = np.flatnonzero(code >= 0)
    values = np.ones(len(keep)) if weight is None else weight[keep]
    if sparse.issparse(block):
        kept = block if len(keep) == len(code) else block[keep]
        flat, first = sums.reshape(-1), code[keep] * np.int64(sums.shape[1])
        for at, row in _pieces(kept):
            np.add.at(flat, first[row] + kept.indices[at], kept.data[at] * values[row])
    elif len(sums) <= len(block):
        sums += (
            sparse.csr_matrix((values, (code[keep], keep)), shape=(len(sums), len(block))) @ block
        )
    else:  # more groups than rows: only those that the block holds
        present, own = np.unique(code[keep], return_inverse=True)
        sums[present] += (
            sparse.csr_matrix((values, (own, keep)), shape=(len(present), len(block))) @ block
        )
