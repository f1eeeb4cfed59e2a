"""What rank sums are made of, one gene at a time: the values that are not 0, sorted once for all groups."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._marginals import _by_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Floats, Ints, Matrix

COLUMNS = 64  # columns of a dense matrix that are transposed together


def columns(X: Matrix, rows: Ints) -> Iterator[tuple[Floats, Ints]]:
    """Yield, for every column of ``X[rows]``, the values that are not 0 and their places in `rows`."""
    everything = len(rows) == X.shape[0]
    if sparse.issparse(X):
        table = _by_column(X if everything else X.tocsr()[rows])
        for begin, end in pairwise(table.indptr):
            stored = np.flatnonzero(table.data[begin:end])
            yield table.data[begin:end][stored], table.indices[begin:end][stored]
    else:
        X = np.asarray(X)
        for start in range(0, X.shape[1], COLUMNS):
            block = X[:, start : start + COLUMNS]
            for column in np.ascontiguousarray((block if everything else block[rows]).T):
                stored = np.flatnonzero(column)
                yield column[stored], stored


def _runs(values: Floats) -> tuple[Ints, Ints, int]:
    """Return the bounds of the sets of ties in sorted values, their sizes, and how many sets are below 0."""
    if not len(values):
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), 0
    bounds = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    return bounds, np.diff(bounds), int(np.searchsorted(values[bounds[:-1]], 0))


def against_controls(values: Floats, group: Ints, sizes: Ints) -> tuple[Floats, Floats]:
    """Return U and the sum of t³ - t of every group with the controls, the last of `sizes`, in one gene."""
    k = len(sizes) - 1
    order = np.argsort(values)
    values, group = values[order], group[order]
    zeros = sizes - np.bincount(group, minlength=k + 1)
    bounds, size, negative = _runs(values)
    below = np.concatenate([[0], np.cumsum(group == k)])[bounds]  # controls below each set of ties
    tied = np.diff(below)
    middle = below[:-1] + tied / 2
    middle[negative:] += zeros[k]
    u = np.bincount(group, weights=np.repeat(middle, size), minlength=k + 1)[:k].astype(np.float64)
    u += zeros[:k] * (below[negative] + zeros[k] / 2)
    ties = _cubes(zeros[:k] + zeros[k]) + _cubes(tied).sum()
    within = np.repeat(size > 1, size) & (group < k)
    if within.any():  # what the cells of a group add to the controls that they are tied with
        key = np.sort(np.repeat(np.arange(len(size)), size)[within] * k + group[within])
        at, count, _ = _runs(key)
        run, own = np.divmod(key[at[:-1]], k)
        ties += np.bincount(own, weights=_cubes(tied[run] + count) - _cubes(tied[run]), minlength=k)
    return u, ties


def against_rest(values: Floats, group: Ints, sizes: Ints) -> tuple[Floats, Floats]:
    """Return U of every group against all others and the sum of t³ - t, the same for all, in one gene."""
    k = len(sizes) - 1
    order = np.argsort(values)
    values, group = values[order], group[order]
    zeros = sizes[:k] - np.bincount(group, minlength=k)
    bounds, size, negative = _runs(values)
    rank = bounds[:-1] + (size + 1) / 2
    rank[negative:] += zeros.sum()
    total = np.bincount(group, weights=np.repeat(rank, size), minlength=k).astype(np.float64)
    total += zeros * (bounds[negative] + (zeros.sum() + 1) / 2)
    ties = _cubes(size).sum() + _cubes(zeros.sum())
    return total - sizes[:k] * (sizes[:k] + 1) / 2, np.full(k, ties)


def _cubes(count: Ints) -> Floats:
    """Return t³ - t, in float64 because integers overflow at two million cells."""
    t = np.asarray(count, dtype=np.float64)
    return t * (t * t - 1)
