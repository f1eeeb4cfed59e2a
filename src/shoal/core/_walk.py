"""One walk through a matrix: every block becomes small arrays, and these are added up.

All grouped statistics are made of such walks. A matrix in memory or in a file is walked block by
block. The blocks of a dask array are computed together, on all workers, and added up there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from . import _dask
from ._block_sums import add_to_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._typing import Floats, Ints, Matrix
    from ._matrix import Rows

Totals: TypeAlias = "dict[str, Any]"
Values: TypeAlias = "Mapping[str, Any]"


class Visit(Protocol):
    """What is done with a block of rows."""

    def __call__(self, where: slice, block: Matrix, totals: Totals, /) -> Values:
        """Add a block to the totals, in place, and return its own values.

        Parameters
        ----------
        where
            Rows of the matrix that the block holds.
        block
            Dense or CSR matrix.
        totals
            Arrays to add to. They hold other blocks already, or zeros.

        Returns
        -------
        Name -> array or CSR matrix, such as one value for each row of the block.
        """


def walk(rows: Rows, visit: Visit, totals: Callable[[], Totals] = dict) -> tuple[Totals, Values]:
    """Visit every block once; return sums over blocks, and the values that each block gave.

    Parameters
    ----------
    rows
        (n_obs, d) matrix of any kind.
    visit
        What is done with a block. It must not change anything but the totals: blocks may be visited
        in another process, at the same time, and in any order.
    totals
        Makes the arrays that blocks are added to, all zero.

    Returns
    -------
    totals
        Name -> sum over all blocks. The order of the sum is that of the rows, except for dask
        arrays.
    values
        Name -> what `visit` returned, concatenated in the order of the rows.
    """
    if _dask.is_dask(rows.matrix):
        task = partial(_visit_block, rows.without_matrix(), visit, totals)
        sums, values = _dask.map_reduce(rows.matrix, task, _merge)
        return _as_own(sums), _as_own(values)
    sums = totals()
    return sums, _concatenate([visit(where, block, sums) for where, block in rows.blocks()])


def group_sums(rows: Rows, code: Ints, n_groups: int) -> Floats:
    """Return (n_groups, d) sums of the rows of each group; rows with code -1 are left out."""

    def add(where: slice, block: Matrix, totals: Totals) -> Values:
        add_to_groups(totals["sums"], block, code[where])
        return {}

    sums: Floats = walk(rows, add, lambda: {"sums": np.zeros((n_groups, rows.shape[1]))})[0]["sums"]
    return sums


def _visit_block(
    like: Rows, visit: Visit, totals: Callable[[], Totals], start: int, block: Any
) -> tuple[Totals, Values]:
    """Visit one block of a dask array, with totals of its own."""
    own = totals()
    values = visit(slice(start, start + block.shape[0]), like.finish(block), own)
    return own, values


def _merge(parts: Sequence[tuple[Totals, Values]]) -> tuple[Totals, Values]:
    sums = {name: _sum([part[0][name] for part in parts]) for name in parts[0][0]}
    return sums, _concatenate([part[1] for part in parts])


def _as_own(arrays: Values) -> Totals:
    """Return arrays that can be changed and are aligned.

    What comes over a network is neither. Products of arrays at odd addresses are slow, and rounded
    in another order.
    """
    return {name: _aligned(array) for name, array in arrays.items()}


def _aligned(array: Any) -> Any:
    if sparse.issparse(array):
        parts = (_aligned(part) for part in (array.data, array.indices, array.indptr))
        return type(array)(tuple(parts), shape=array.shape, copy=False)
    return np.require(array, requirements=["A", "W"])


def _sum(arrays: Sequence[Any]) -> Any:
    total = arrays[0].copy(order="K")
    for array in arrays[1:]:
        total += array
    return total


def _concatenate(parts: Sequence[Values]) -> Values:
    if not parts:
        return {}
    return {name: _stacked([part[name] for part in parts]) for name in parts[0]}


def _stacked(arrays: Sequence[Any]) -> Any:
    """Return arrays, or CSR matrices, one below the other."""
    if sparse.issparse(arrays[0]):
        return sparse.vstack(arrays, format="csr")
    return np.concatenate(arrays)
