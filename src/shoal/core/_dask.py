"""Blocks of dask arrays: computed together, on the active scheduler, and added up where they are.

On a `distributed` cluster the workers hold the blocks. Only sums, and values of single cells, come
back to the client. Without a cluster the threads of this process do the work. Nothing here imports
dask before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._typing import Bools, Ints, Matrix

FAN_IN = 8  # partial results that are added up in one task


def is_dask(source: Any) -> bool:
    """Return whether a matrix is a dask array, without importing dask."""
    return type(source).__module__.partition(".")[0] == "dask"


def whole_rows(array: Any) -> Any:
    """Return a dask array whose blocks hold whole rows."""
    cut = {axis: -1 for axis, n in enumerate(array.numblocks) if axis and n > 1}
    return array.rechunk(cut, method="tasks") if cut else array  # "p2p" cannot move sparse blocks


def cluster() -> Any:
    """Return the client of the cluster that dask would compute on, ``None`` for this process."""
    from dask.base import get_scheduler

    client = getattr(get_scheduler(), "__self__", None)
    return client if hasattr(client, "scatter") else None


def held(array: Any) -> Any:
    """Return a dask array whose blocks are computed only once, while somebody refers to it.

    The workers of a cluster keep the blocks (and write them to disk if their memory is short). In
    this process the blocks are kept only where all of them together are no larger than
    ``settings.block_bytes``; larger arrays are returned as they are, and computed at every walk.
    """
    small = array.nbytes <= settings.block_bytes
    return array.persist() if small or cluster() is not None else array


def columns_of(array: Any, columns: Ints) -> Any:
    """Return some columns of a dask array, lazily."""
    array = whole_rows(array)
    chunks = (array.chunks[0], (len(columns),), *array.chunks[2:])
    return array.map_blocks(
        _take_columns, columns, dtype=array.dtype, chunks=chunks, meta=array._meta
    )


def take(array: Any, index: Ints) -> list[Matrix]:
    """Return the rows at sorted positions, one matrix for each block that holds any.

    Only these blocks are computed, all of them together.
    """
    import dask

    parts = _parts(whole_rows(array), index)
    return list(
        dask.compute(*[dask.delayed(_take_rows, pure=False)(block, own) for block, own in parts])
    )


def map_reduce(array: Any, function: Callable[[int, Any], Any], merge: Callable[..., Any]) -> Any:
    """Apply a function to every block and merge the results, in order, as a tree; one computation.

    Parameters
    ----------
    array
        Dask array.
    function
        Takes the number of a block's first row, and the block. It runs on the workers, once a
        block.
    merge
        Takes a list of results and returns one; it must leave those that it is given unchanged.
    """
    from dask import delayed

    array = whole_rows(array)
    client = cluster()
    # a function that holds an array for every cell goes to each worker once, not with every task
    sent = (
        delayed(function, traverse=False)
        if client is None
        else client.scatter(function, broadcast=True, hash=False)
    )
    starts = np.cumsum((0, *array.chunks[0]))
    level = [
        delayed(_call, pure=False)(sent, int(start), block)
        for start, n, block in zip(
            starts[:-1], array.chunks[0], array.to_delayed().ravel(), strict=True
        )
        if n or array.shape[0] == 0
    ]
    while len(level) > 1:
        level = [
            delayed(merge, pure=False)(level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)
        ]
    return level[0].compute()


def _parts(array: Any, index: Ints) -> Sequence[tuple[Any, Ints | Bools]]:
    """Return the blocks that hold rows of `index`, or one, each with positions within it."""
    blocks, ends = array.to_delayed().ravel(), np.cumsum(array.chunks[0])
    number = np.searchsorted(ends, index, side="right")
    wanted = np.unique(number) if len(index) else np.zeros(1, dtype=np.int64)
    return [(blocks[i], index[number == i] - (ends[i] - array.chunks[0][i])) for i in wanted]


def _call(function: Callable[[int, Any], Any], start: int, block: Any) -> Any:
    return function(start, block)


def _take_rows(block: Any, index: Ints) -> Any:
    return _indexable(block)[index]


def _take_columns(block: Any, columns: Ints) -> Any:
    return _indexable(block)[:, columns]


def _indexable(block: Any) -> Any:
    """Return a block that takes positions: some sparse formats, such as COO, take none."""
    return block.tocsr() if getattr(block, "format", "csr") not in ("csr", "csc") else block
