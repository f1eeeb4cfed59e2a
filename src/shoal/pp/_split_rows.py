"""Identical rows of a matrix, without those that are alike by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._typing import Bools, Ints
    from ..core._matrix import Rows

SEED = 20190213  # of the columns' keys; a constant, because the answer must not depend on the call


def identical_groups(rows: Rows) -> Ints:
    """Return (n,) the group of copies that a row belongs to, -1 for rows without a copy.

    Rows are copies if they agree in every column while no further row agrees with them in a random
    half of the columns. In small or shallow panels cells agree by chance; then many agree in half
    of the genes, and such rows are passed over, as are empty ones (and, rarely, true copies of a
    cell that a third one resembles). Columns and values are hashed to 64 bits, so the matrix is
    read once, by blocks.
    """
    first, second = row_keys(rows)
    whole, size = _groups(first + second)
    copies = (size > 1) & ((first != 0) | (second != 0))
    for half in (first, second):
        copies &= _groups(half)[1] == size
    return np.where(copies, whole, -1)


def row_keys(rows: Rows) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the (n,) hashes of each row in two random halves of the columns; 0 if empty."""
    n, d = rows.shape
    rng = np.random.default_rng(SEED)
    column = rng.integers(0, 2**64, d, dtype=np.uint64)
    in_first: Bools = rng.permutation(d) % 2 == 0
    first, total = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.uint64)
    for where, block in rows.blocks():
        values = block if sparse.issparse(block) else sparse.csr_matrix(block)
        filled = np.diff(values.indptr) > 0
        if not filled.any():
            continue
        at, start = np.flatnonzero(filled) + where.start, values.indptr[:-1][filled]
        mixed = _mix(values.data, column[values.indices])
        total[at] = np.add.reduceat(mixed, start)
        mixed[~in_first[values.indices]] = 0
        first[at] = np.add.reduceat(mixed, start)
    return first, total - first


def _mix(values: NDArray[np.floating], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash values with the keys of their columns (the finaliser of splitmix64); 0 gives 0."""
    x = values.astype(np.float64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    x[values == 0] = 0
    return x


def _groups(keys: NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Return the (n,) group of equal keys of each row, and its size."""
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    return group, size[group]
