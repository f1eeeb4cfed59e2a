"""Conformal intervals: the guarantee over exchangeable conditions, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.metrics._conformal import GRID, excess_variance, quantiles, radius


def test_excess_variance_is_what_squares_exceed_the_noise_by(rng):
    residual = rng.normal(0, np.sqrt(2.5), (4000, 3))
    np.testing.assert_allclose(excess_variance(residual, np.ones((4000, 3))), 1.5, atol=0.25)
    np.testing.assert_array_equal(excess_variance(residual, np.full((4000, 3), 9.0)), 0)


def test_quantiles_over_genes_in_units_of_their_scale():
    residual = np.array([[-3.0, 1, 2, 0, 7]])
    found = quantiles(residual, np.array([[1.0, 1, 1, 1, 0]]))  # the last gene never varies
    np.testing.assert_allclose(
        np.interp([0, 1 / 3, 2 / 3, 1], GRID, found[0]), [0, 1, 2, 3], atol=0.02
    )
    np.testing.assert_array_equal(quantiles(residual, np.zeros((1, 5))), 0)


def test_the_radius_is_an_order_statistic():
    grid = np.tile(np.arange(1.0, 20)[:, None], (1, len(GRID)))  # 19 conditions, scores 1 to 19
    assert radius(grid, 0.9) == (18, True)
    assert radius(grid, 0.95) == (19, True)
    assert radius(grid, 0.96) == (19, False)
    assert radius(grid[:8], 0.9) == (8, False)
    assert radius(grid, 0.95, pooled=True) == (19, True)
    assert radius(grid[:8], 0.9, pooled=True) == (8, False)


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_of_the_next_condition(rng, level):
    """At least `level` of the genes are covered in at least `level` of next conditions, up to 1 / (C + 1) more."""
    n, covered, pooled = 39, [], []
    for _ in range(400):
        size = rng.gamma(2, 1, (n + 1, 1))  # conditions differ in how wrong the prediction is
        residual = size * rng.normal(size=(n + 1, 30))
        grid = quantiles(residual, np.ones_like(residual))
        wide, _ = radius(grid[:n], level)
        covered.append(np.quantile(np.abs(residual[n]), level) <= wide)
        pooled.append(np.abs(residual[n]) <= radius(grid[:n], level, pooled=True)[0])
    assert level - 0.04 < np.mean(covered) < level + 1 / (n + 1) + 0.04
    assert level - 0.03 < np.mean(pooled) < level + 0.04
