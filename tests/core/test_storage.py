"""One form for values: sorted, summed, without stored zeros, of a type that can be computed with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.core._storage import canonical, working_dtype


@pytest.fixture
def x(rng):
    return sparse.csr_matrix(
        rng.integers(-3, 4, (30, 8)) * (rng.random((30, 8)) < 0.4), dtype=float
    )


def messy(x):
    """Return the same values with reversed rows, halves of every entry, and a stored zero."""
    coo = x.tocoo()
    row, col = (np.concatenate([part[::-1], part, [0]]) for part in (coo.row, coo.col))
    data = np.concatenate([coo.data[::-1] / 2, coo.data / 2, [0.0]])
    order = np.argsort(row, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=x.shape[0]))])
    return sparse.csr_matrix((data[order], col[order], ends), shape=x.shape)


@pytest.mark.parametrize("stale", [False, True])
def test_any_csr_becomes_the_one_form_and_stays_as_it_was(x, stale):
    given = messy(x)
    if stale:  # what scipy believes of a matrix that was changed in place
        given.has_sorted_indices = given.has_canonical_format = True
    before = [part.copy() for part in (given.data, given.indices, given.indptr)]
    found = canonical(given)
    for one, other in zip(
        (found.data, found.indices, found.indptr), (x.data, x.indices, x.indptr), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    for part, old in zip((given.data, given.indices, given.indptr), before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_values_that_cancel_leave_no_entry():
    given = sparse.csr_matrix(([2.0, -2.0, 1.0], [1, 1, 0], [0, 2, 3]), shape=(2, 3))
    assert canonical(given).nnz == 1


def test_what_has_the_form_is_not_copied(x):
    for given in (x, x.astype(np.float32), sparse.csr_array(x)):
        found = canonical(given)
        assert isinstance(found, sparse.csr_matrix)
        assert np.shares_memory(found.data, given.data)
        assert np.shares_memory(found.indices, given.indices)
        assert np.shares_memory(as_rows(given).matrix.data, given.data)


def test_numbers_are_kept_in_single_or_double_precision():
    for dtype in ("f4", ">f4"):
        assert working_dtype(dtype) == np.float32
        assert working_dtype(dtype).isnative
    for dtype in ("f2", "f8", ">f8", "longdouble", "i1", "u8", "?"):
        assert working_dtype(dtype) == np.float64


def test_columns_in_another_order_leave_rows_sorted(x):
    taken = as_rows(x, np.array([5, 0, 3])).take(np.arange(30))
    assert sparse.csr_matrix(
        (taken.data, taken.indices, taken.indptr), taken.shape
    ).has_canonical_format
    np.testing.assert_array_equal(taken.toarray(), x.toarray()[:, [5, 0, 3]])
