"""The scale of a matrix, whatever kind of matrix holds it."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._matrix import as_rows
from shoal.core._scale import look
from shoal.core._scale_check import require, require_kind

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


# -- values below 20 that are not logged -------------------------------------------------------------

RNG = np.random.default_rng(0)
PANEL = np.minimum(RNG.poisson(RNG.gamma(1.0, 2.0, 60), (300, 60)), 19).astype(float)
TOTAL = PANEL.sum(axis=1, keepdims=True)
NOT_LOGGED = {
    "spread": PANEL * RNG.uniform(0.9, 1, PANEL.shape),
    "totals": PANEL / TOTAL * 40,
    "wholes": np.where(RNG.random(PANEL.shape) < 0.2, PANEL * RNG.random(PANEL.shape), PANEL),
}
LOGGED = {
    "log1p of counts": np.log1p(PANEL),
    "log1p of the median": np.log1p(PANEL / TOTAL * np.median(TOTAL)),
    "log1p of 10,000": np.log1p(PANEL / TOTAL * 1e4),
    "log2 of counts": np.log2(1 + PANEL),
    "log2 of 10,000": np.log2(1 + PANEL / TOTAL * 1e4),
    "roots of counts": np.sqrt(PANEL),
    "arcsinh": np.arcsinh(PANEL),
    "without zeros": RNG.gamma(1.0, 2.0, (300, 60)).clip(1e-3, 19),
    "proportions": PANEL / TOTAL,
    "all cells alike": np.tile(np.log1p(PANEL[:1]), (300, 1)),
    "log-normalised, one more": np.log1p(PANEL) + 1,
    "decoded": np.log1p(PANEL) @ np.linalg.qr(RNG.random((60, 5)))[0] @ RNG.random((5, 60)) ** 2,
}


@pytest.mark.parametrize("name", NOT_LOGGED)
@pytest.mark.parametrize(
    "make",
    [np.asarray, sparse.csr_matrix, sparse.csc_array, lambda x: da.from_array(x, chunks=(150, 7))],
    ids=["dense", "csr", "csc_array", "dask"],
)
def test_small_values_that_are_not_logged_are_told_by_a_sign(name, make):
    scale = look(as_rows(make(NOT_LOGGED[name])))
    assert (scale.kind, scale.sign) == ("linear", name)
    assert "not logged" in scale.words


@pytest.mark.parametrize("name", LOGGED)
def test_logarithms_and_other_small_values_show_no_sign(name):
    assert look(as_rows(np.abs(LOGGED[name]))).kind == "log"


def test_few_cells_or_features_show_no_sign():
    x = NOT_LOGGED["spread"]
    assert look(as_rows(x[:19])).kind == look(as_rows(x[:, :7])).kind == "log"


# -- the check ---------------------------------------------------------------------------------------


def test_require_names_the_values_what_is_taken_and_what_to_do():
    scale = look(as_rows(COUNTS))
    words = r"X holds whole numbers \(0 to 250\): raw counts; a test takes log-normalised values or"
    with pytest.raises(ValueError, match=rf"{words} signed features: call sh\.pp\.prepare"):
        require(scale, slot="X", what="a test")
    with pytest.raises(ValueError, match="takes log-normalised values: do this$"):
        require(scale, slot="X", what="a test", accept=("log",), fixes={"counts": "do this"})
    assert require(scale, slot="X", what="a test", accept=("counts",)) is scale


def test_require_names_a_cell_that_holds_nan():
    x = np.log1p(PANEL)
    x[[70, 71], 3] = np.nan, np.inf
    scale = look(as_rows(da.from_array(x, chunks=(50, 60))))
    assert (scale.n_cells, scale.n_bad_cells, scale.first_bad) == (300, 2, 70)
    names = [f"cell{i}" for i in range(300)]
    with pytest.raises(ValueError, match="in 2 of 300 cells, such as 'cell70'; drop or fill"):
        require(scale, slot="X", what="a test", cells=names)
    assert require_kind(scale, slot="X", what="a test").kind == "log"
