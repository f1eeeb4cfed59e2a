"""Populations as views of one matrix: the same as copies, whatever is computed from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from shoal.metrics import _kernels
from shoal.metrics._cells import Cells, dtypes_of, parts_of, repeated, sizes_of, stored
from shoal.metrics._comparison import means_of
from shoal.metrics._ranksum import sums_against

from ..helpers import dense

ROWS = (
    np.array([4, 1, 1]),
    np.array([0, 7]),
    np.array([6, 2, 3, 5]),
)  # in any order, with a repeat and shared ones


@pytest.fixture
def x(rng):
    return (rng.poisson(0.7, (8, 30)) * rng.random((8, 30))).astype(np.float32)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csr_array])
def test_a_view_gives_the_rows(form, x):
    cells = Cells(form(x), ROWS)
    assert len(cells) == 3
    for found, kept, rows in zip(cells, stored(cells), ROWS, strict=True):
        np.testing.assert_array_equal(dense(found), x[rows])
        assert found.dtype == (np.float32 if sparse.issparse(found) else np.float64)
        assert kept.dtype == np.float32
    assert dtypes_of(cells) == [np.float32]
    np.testing.assert_array_equal(sizes_of(cells), sizes_of(list(cells)))
    np.testing.assert_allclose(
        means_of(cells), [x[rows].astype(np.float64).mean(axis=0) for rows in ROWS]
    )
    with pytest.raises(IndexError):
        cells[3]


def test_whole_numbers_become_floating():
    for form in (np.asarray, sparse.csr_matrix):
        assert Cells(form(np.eye(3, dtype=int)), (np.array([1, 0]),))[0].dtype == np.float64


def test_rank_sums_of_views_are_those_of_copies(x, rng):
    control = (np.array([0, 3, 5, 7]), np.array([1, 2, 4]))
    group = np.array([0, 1, 0])
    predicted = rng.normal(size=(9, 30))  # another matrix, of other precision
    for values in (x, sparse.csr_matrix(x), predicted):
        cells, controls = Cells(values, ROWS), Cells(sparse.csr_matrix(x), control)
        found = sums_against(cells, controls, group).standardised()
        for i, at in enumerate(group):
            test = stats.mannwhitneyu(
                dense(cells[i]).astype(float),
                x[control[at]].astype(float),
                use_continuity=False,
                method="asymptotic",
            )
            expected = np.where(np.isnan(test.pvalue), 1, test.pvalue)  # where all are equal
            np.testing.assert_allclose(found.pvalue[i], expected, rtol=1e-9)
        copies = sums_against(list(cells), list(controls), group)
        np.testing.assert_array_equal(copies.u, sums_against(cells, controls, group).u)
    assert len(parts_of(list(Cells(x, ROWS)))) == 3
    assert len(parts_of(Cells(x, ROWS))) == 1


def test_repeated_means_take_the_memory_of_one_cell(x):
    first, second = repeated(x[:2].astype(np.float64), [1000, 3], np.float32)
    assert (first.shape, first.dtype, first.strides[0]) == ((1000, 30), np.float32, 0)
    np.testing.assert_array_equal(second, np.tile(x[1], (3, 1)))


def test_where_nothing_can_be_kept_on_disk_a_loop_is_compiled_anew(monkeypatch):
    import numba

    asked = []

    def njit(function, *, cache=False, **options):
        asked.append(cache)
        if cache:
            msg = "cannot cache function: no locator available"
            raise RuntimeError(msg)
        return function

    monkeypatch.setattr(numba, "njit", njit)
    twice = _kernels.compiled(lambda x: 2 * x)
    assert asked == []  # not before it is called
    assert (twice(3), twice(4), asked) == (6, 8, [True, False])
