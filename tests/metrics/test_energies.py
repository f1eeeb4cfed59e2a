"""Energy distances of many populations at a time, against those of one pair."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.metrics import _cells, _energies
from shoal.metrics._cells import Cells
from shoal.metrics._distance import energy_distance
from shoal.metrics._energies import energies

GROUP = np.array([0, 1, 0, 1])
SIZES = (5, 17, 40, 2)


def make(rng, share, *, genes=60, controls=(50, 33)):
    """Return populations and controls in which a gene is expressed by about a share of the cells, or by all."""
    rates = np.clip(rng.uniform(0, 2 * share, genes), 0, 1)
    draw = [
        (rng.random((n, genes)) < rates) * rng.lognormal(0.2, 0.5, (n, genes))
        for n in (*SIZES, *controls)
    ]
    return draw[: len(SIZES)], draw[len(SIZES) :]


def expected(cells, controls, *, biased):
    return [
        energy_distance(x, controls[at], biased=biased) for x, at in zip(cells, GROUP, strict=True)
    ]


@pytest.mark.parametrize(("share", "biased"), [(0.05, True), (0.3, False), (1.0, True)])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_equals_the_distance_of_a_pair(share, biased, form, rng, monkeypatch):
    cells, controls = make(rng, share)
    found = energies([form(x) for x in cells], [form(c) for c in controls], GROUP, biased=biased)
    np.testing.assert_allclose(
        found, expected(cells, controls, biased=biased), rtol=1e-12, atol=1e-12
    )
    monkeypatch.setattr(_cells, "BLOCK", 8)
    monkeypatch.setattr(_energies, "BLOCK", 8)
    monkeypatch.setattr(_energies, "CONTROLS", 9)
    apart = energies([form(x) for x in cells], [form(c) for c in controls], GROUP, biased=biased)
    np.testing.assert_allclose(apart, found, rtol=1e-12, atol=1e-12)


def test_in_single_precision_the_error_is_that_of_rounding(rng):
    cells, controls = make(rng, 0.3)
    single = [[x.astype(np.float32) for x in several] for several in (cells, controls)]
    found = energies(*single, GROUP, biased=True)
    exact = np.array(expected(*single, biased=True))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    mixed = energies(single[0], controls, GROUP, biased=True)  # double as soon as one side is
    np.testing.assert_allclose(mixed, expected(single[0], controls, biased=True), rtol=1e-12)


def test_views_of_a_matrix_are_not_copied_into_another_precision(rng):
    x = make(rng, 0.3)[0][2].astype(np.float32)
    rows = (np.arange(10), np.arange(20, 30), np.arange(5), np.array([1, 1, 2]))
    found = energies(Cells(x, rows), Cells(x, (np.arange(40), np.arange(30))), GROUP, biased=True)
    exact = [
        energy_distance(x[r], x[: (40, 30)[at]], biased=True)
        for r, at in zip(rows, GROUP, strict=True)
    ]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_cells_are_at_distance_zero(dtype, rng):
    cell = rng.lognormal(1, 1, (1, 60)).astype(dtype)
    collapsed, controls = np.repeat(cell, 9, axis=0), np.repeat(cell + dtype(1), 7, axis=0)
    far = np.sqrt(60)
    found = energies([collapsed] * 2, [controls, collapsed], np.array([0, 1]))
    np.testing.assert_allclose(found, [2 * far, 0], rtol=1e-6, atol=0)


def test_a_single_cell_has_a_biased_distance_only(rng):
    _, controls = make(rng, 0.3)
    lone = [controls[0][:1]]
    assert np.isnan(energies(lone, controls, np.array([1]))).all()
    found = energies(lone, controls, np.array([1]), biased=True)
    assert found[0] == pytest.approx(energy_distance(lone[0], controls[1], biased=True))
