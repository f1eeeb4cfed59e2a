"""Sums of the training cells: equal to those of a plain loop, for every kind of matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.core._scale import look
from shoal.core._training_values import read_values


@pytest.fixture
def counts(rng):
    made = rng.poisson(0.6, (50, 8)).astype(float)
    made[3] = 0
    made[:, 2] = 0
    return made


def expected(x, train):
    total = np.expm1(x[train]).sum(axis=1)
    total = total[total > 0]
    return x[train].sum(axis=0), (x[train] > 0).sum(axis=0), (total.min(), total.max())


@pytest.mark.parametrize("kind", ["dense", "csr", "dask"])
def test_sums_are_those_of_the_training_cells_alone(kind, counts, rng, monkeypatch):
    monkeypatch.setattr("shoal._settings.settings.block_bytes", 700)  # several blocks
    x, train = np.log1p(counts), rng.random(50) < 0.6
    train[3] = True
    given = x if kind == "dense" else sparse.csr_matrix(x)
    if kind == "dask":
        given = pytest.importorskip("dask.array").from_array(x, chunks=(7, 8))
    scale, found = read_values(as_rows(given), train)
    sums, on, totals = expected(x, train)
    assert scale == look(as_rows(given))
    assert (found.n, found.lowest) == (train.sum(), 0)
    np.testing.assert_allclose(found.sums, sums)
    np.testing.assert_array_equal(found.on, on)
    assert found.totals == pytest.approx(totals)


def test_values_that_are_no_logarithms_have_no_totals(counts, rng):
    train = rng.random(50) < 0.6
    for x in (counts * 30, counts - 1, np.zeros((50, 8))):
        assert np.isnan(read_values(as_rows(x), train)[1].totals).all()
    assert read_values(as_rows(counts - 1), train)[1].lowest == -1
    other = counts.copy()
    other[~train] = -3
    assert read_values(as_rows(other), train)[1].lowest == 0


def test_no_training_cell_and_images(counts):
    nothing = read_values(as_rows(np.log1p(counts)), np.zeros(50, dtype=bool))[1]
    assert nothing.n == 0
    assert not nothing.on.any()
    assert np.isnan(nothing.totals).all()
    images = np.arange(48.0).reshape(3, 4, 2, 2) - 20
    found = read_values(as_rows(images), np.array([False, True, True]))[1]
    assert (found.n, found.lowest, found.sums.shape) == (2, -4, (0,))
