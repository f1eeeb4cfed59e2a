"""The scale of a matrix, whatever kind of matrix holds it."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._matrix import as_rows
from shoal.core._scale import look

COUNTS = np.array([[0, 3, 0], [1, 0, 250]])
MATRICES = {
    "counts": COUNTS,
    "log": np.log1p(COUNTS),
    "linear": COUNTS * 1.5,
    "signed": COUNTS - 1.0,
    "empty": COUNTS * 0,
}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.csr_array,
        lambda x: da.from_array(x, chunks=(1, 2)),
    ],
    ids=["dense", "csr", "csc", "csr_array", "dask"],
)
def test_kind(kind, dtype, make):
    x = MATRICES[kind].astype(dtype)
    scale = look(as_rows(make(x)))
    assert scale.kind == kind
    assert (scale.minimum, scale.maximum) == (x.min(), x.max())
    assert scale.n_bad_cells == 0


def test_integers_stored_as_integers():
    assert look(as_rows(COUNTS)).kind == look(as_rows(sparse.csr_matrix(COUNTS))).kind == "counts"


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_bad_cells_are_counted_once(make):
    x = np.log1p(COUNTS)
    x[0, :2] = np.nan, np.inf
    scale = look(as_rows(make(x)))
    assert scale.n_bad_cells == 1
    assert np.isfinite([scale.minimum, scale.maximum]).all()
    assert look(as_rows(make(np.full((2, 2), np.nan)))).n_bad_cells == 2


def test_all_blocks_are_seen(monkeypatch):
    monkeypatch.setattr(sh.settings, "block_bytes", 24)
    x = np.zeros((50, 3))
    x[-1, -1] = 0.5
    assert look(as_rows(x)).kind == "log"
    x[-1, -1] = -1
    assert look(as_rows(sparse.csr_matrix(x))).kind == "signed"


def test_words_tell_the_range():
    assert look(as_rows(COUNTS)).words == "whole numbers (0 to 250): raw counts"
