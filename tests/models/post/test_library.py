"""Library sizes: the wanted total in every moved cell, zeros as they were, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.models.post._library import renew_total


@pytest.fixture
def values(rng):
    x = np.log1p(rng.poisson(0.8, (30, 12)) * rng.uniform(0.5, 2, (30, 1))).astype(np.float32)
    x[4] = 0
    return x


def test_every_moved_cell_has_the_total_and_its_zeros(values):
    moved = np.arange(30) % 3 > 0
    moved[4] = True
    made = renew_total(values.copy(), moved, 50.0)
    full = moved & (np.arange(30) != 4)
    np.testing.assert_allclose(np.expm1(made[full]).sum(axis=1), 50, rtol=1e-5)
    np.testing.assert_array_equal(made[~full], values[~full])  # not moved, or without counts
    np.testing.assert_array_equal(made == 0, values == 0)
    shares = [
        np.expm1(x[full]) / np.expm1(x[full]).sum(axis=1, keepdims=True) for x in (made, values)
    ]
    np.testing.assert_allclose(*shares, atol=1e-6)


def test_cells_with_the_total_stay(values):
    moved = np.arange(30) != 4
    once = renew_total(values.copy(), moved, 50.0)
    np.testing.assert_allclose(renew_total(once.copy(), moved, 50.0), once, rtol=1e-5)
