"""Copies of rows: found in every kind of matrix, and not confused with rows that are alike by chance."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.pp._split_rows import identical_groups, row_keys

RENGE, NORMAN, PAPALEXI = (
    "renge23_hipsc_ko.h5ad",
    "norman19_perturbench.h5ad",
    "papalexi21_sceptre_lowmoi.h5ad",
)


@pytest.fixture
def counts(rng):
    """300 rows of counts, with rows 0, 100 and 200 alike and 1 and 101 alike; row 2 and 102 empty."""
    x = rng.poisson(1.0, size=(300, 80)).astype(np.float32)
    x[[100, 200]], x[101], x[[2, 102]] = x[0], x[1], 0
    return x


def groups(x):
    code = identical_groups(as_rows(x))
    return sorted(np.flatnonzero(code == c).tolist() for c in np.unique(code[code >= 0]))


@pytest.mark.parametrize(
    "kind",
    [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.float64, np.int32],
)
def test_copies_are_found_in_every_kind_of_matrix(counts, kind):
    assert groups(kind(counts)) == [[0, 100, 200], [1, 101]]


def test_files_dask_and_small_blocks(counts, tmp_path, monkeypatch):
    array = pytest.importorskip("dask.array")
    ad.AnnData(sparse.csr_matrix(counts)).write_h5ad(tmp_path / "x.h5ad")
    monkeypatch.setattr("shoal._settings.settings.block_bytes", 2000)
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    for x in (counts, backed.X, array.from_array(counts, chunks=(70, 40))):
        assert groups(x) == [[0, 100, 200], [1, 101]]
    backed.file.close()


def test_keys_do_not_depend_on_neighbours_or_stored_zeros(counts):
    x = sparse.csr_matrix(counts)
    keys = np.array(row_keys(as_rows(x)))
    order = np.random.default_rng(1).permutation(len(counts))
    np.testing.assert_array_equal(np.array(row_keys(as_rows(x[order]))), keys[:, order])
    stored = sparse.csr_matrix(np.ones_like(counts))
    stored.data[:] = counts.ravel()
    assert stored.nnz > x.nnz
    np.testing.assert_array_equal(np.array(row_keys(as_rows(stored))), keys)
    np.testing.assert_array_equal(np.array(row_keys(as_rows(-0.0 * counts))), 0)


def test_one_different_value_is_enough(counts):
    counts[101, 7] += 1
    assert groups(counts) == [[0, 100, 200]]


def test_a_third_row_that_agrees_in_half_of_the_columns_casts_doubt(counts):
    counts[200, 7] += 1
    assert groups(counts) == [[1, 101]]


@pytest.mark.parametrize("n_genes", [3, 6, 10, 20, 40])
def test_rows_alike_by_chance_are_passed_over(n_genes):
    x = np.random.default_rng(0).poisson(0.15, size=(5000, n_genes)).astype(float)
    _, count = np.unique(x, axis=0, return_counts=True)
    assert count.max() > 5
    assert groups(x) == []


@pytest.mark.parametrize(("name", "least"), [(PAPALEXI, 1.0), (RENGE, 1.0), (NORMAN, 0.9)])
def test_copies_among_real_cells(read_real, name, least):
    x = sparse.csr_matrix(read_real(name).X)
    assert groups(x) == []
    again = np.random.default_rng(0).choice(x.shape[0], 100, replace=False)
    code = identical_groups(as_rows(sparse.vstack([x, x[again]]).tocsr()))
    found = code[x.shape[0] :] >= 0
    assert found.mean() >= least
    np.testing.assert_array_equal(code[x.shape[0] :][found], code[again][found])
    assert (code >= 0).sum() == 2 * found.sum()


@pytest.mark.parametrize("name", [PAPALEXI, RENGE, NORMAN])
def test_small_panels_of_real_genes_raise_no_alarm(read_real, name):
    x = read_real(name).X.tocsc()
    for n_genes in (5, 15, 40, 100):
        genes = np.random.default_rng(n_genes).choice(x.shape[1], n_genes, replace=False)
        assert groups(x[:, genes]) == []
