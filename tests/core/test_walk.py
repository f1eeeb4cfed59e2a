"""A walk gives the same sums and values for every kind of matrix, and a held dask array is computed once."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from shoal import settings
from shoal.core._matrix import as_rows
from shoal.core._walk import group_sums, walk

N, D = 230, 6


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.5)


def visit(where, block, totals):
    """Sum the columns, and return each row's sum and number."""
    totals["sum"] += np.asarray(block.sum(axis=0)).ravel()
    rows = np.arange(where.start, where.stop)
    return {"row": rows, "sum": np.asarray(block.sum(axis=1)).ravel()}


def lazy(x, chunks, form=np.asarray, noted=None):
    def read(block):
        if noted is not None and block.size:
            noted.append(1)
        return form(block)

    return da.from_array(x, chunks=chunks).map_blocks(read, dtype=x.dtype, meta=form(x[:0]))


KINDS = {
    "dense": lambda x: x,
    "csr": sparse.csr_matrix,
    "dask": lambda x: lazy(x, (20, 4)),
    "dask csr": lambda x: lazy(x, (20, D), sparse.csr_matrix),
    "dask with empty chunks": lambda x: lazy(x, ((0, 100, 0, 130, 0), (D,))),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("columns", [None, np.array([1, 4])])
@pytest.mark.parametrize("block_bytes", [500, 2**25])
def test_sums_and_values_of_every_kind(x, kind, columns, block_bytes, monkeypatch):
    monkeypatch.setattr(settings, "block_bytes", block_bytes)
    rows = as_rows(KINDS[kind](x), columns)
    expected = x if columns is None else x[:, columns]
    for each in (rows, rows.held()):
        assert each.shape == expected.shape
        totals, values = walk(each, visit, lambda: {"sum": np.zeros(expected.shape[1])})
        np.testing.assert_allclose(totals["sum"], expected.sum(axis=0))
        np.testing.assert_array_equal(values["row"], np.arange(N))
        np.testing.assert_allclose(values["sum"], expected.sum(axis=1), atol=1e-12)


@pytest.mark.parametrize("kind", ["csr", "dask csr"])
def test_values_may_be_sparse(x, kind):
    matrix = sparse.csr_matrix(x) if kind == "csr" else lazy(x, (60, D), sparse.csr_matrix)
    _, values = walk(as_rows(matrix), lambda where, block, totals: {"kept": block[::2]})
    np.testing.assert_array_equal(values["kept"].toarray(), x[::2])  # all blocks begin at even rows
    assert values["kept"].data.flags.writeable


def test_group_sums_leave_cells_out(x, rng):
    code = rng.integers(-1, 3, N)
    expected = [x[code == g].sum(axis=0) for g in range(3)]
    for kind in KINDS.values():
        np.testing.assert_allclose(group_sums(as_rows(kind(x)), code, 3), expected)


@pytest.mark.parametrize(("block_bytes", "times"), [(2**25, 1), (500, 3)])
def test_small_arrays_are_held_in_this_process(x, block_bytes, times, monkeypatch):
    monkeypatch.setattr(settings, "block_bytes", block_bytes)
    noted = []
    rows = as_rows(lazy(x, (50, D), noted=noted)).held()
    for _ in range(3):
        walk(rows, visit, lambda: {"sum": np.zeros(D)})
    assert len(noted) == 5 * times


def test_take_computes_only_the_chunks_concerned(x):
    noted = []
    rows = as_rows(lazy(x, (50, D), noted=noted))
    index = np.array([3, 4, 49, 120])
    np.testing.assert_array_equal(rows.take(index), x[index])
    assert len(noted) == 2


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_head_is_the_first_block(x, kind):
    head = as_rows(KINDS[kind](x)).head()
    totals, values = walk(head, visit, lambda: {"sum": np.zeros(D)})
    n = len(values["row"])
    assert n == {"dense": N, "csr": N, "dask with empty chunks": 100}.get(kind, 20)
    np.testing.assert_allclose(totals["sum"], x[:n].sum(axis=0), atol=1e-12)
