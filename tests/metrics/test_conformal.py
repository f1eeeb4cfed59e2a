"""Conformal intervals: the guarantee over exchangeable conditions, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from shoal.metrics._conformal import (
    GRID,
    LEAST_GROWTH,
    PRIOR,
    gene_variances,
    growth,
    one_of_each,
    quantiles,
    radius,
    ranked,
    reached,
    variances_of_others,
    widened,
)


def test_the_variance_of_errors_is_what_squares_exceed_the_noise_by(rng):
    residual = rng.normal(0, np.sqrt(2.5), (4000, 3))
    np.testing.assert_allclose(gene_variances(residual**2 - 1), 1.5, atol=0.25)
    np.testing.assert_array_equal(gene_variances(residual**2 - 9), 0)


def test_the_errors_of_a_unit_have_no_part_in_its_scale(rng):
    excess, unit = rng.gamma(2, 1, (6, 4)), np.array([0, 0, 1, 2, 2, 2])
    found = variances_of_others(excess, unit)
    np.testing.assert_allclose(found[0], excess[2:].mean(axis=0))
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[2], excess[[0, 1, 3, 4, 5]].mean(axis=0))
    alone = variances_of_others(excess, np.zeros(6, int))
    np.testing.assert_allclose(alone, np.tile(excess.mean(axis=0), (6, 1)))


def test_quantiles_over_genes_in_units_of_their_scale():
    residual = np.array([[-3.0, 1, 2, 0, 7]])
    found = quantiles(residual, np.array([[1.0, 1, 1, 1, 0]]))  # the last gene never varies
    np.testing.assert_allclose(
        np.interp([0, 1 / 3, 2 / 3, 1], GRID, found[0]), [0, 1, 2, 3], atol=0.02
    )
    np.testing.assert_array_equal(quantiles(residual, np.zeros((1, 5))), 0)


def test_the_radius_is_an_order_statistic():
    grid = np.tile(np.arange(1.0, 20)[:, None], (1, len(GRID)))  # 19 conditions, scores 1 to 19
    unit = np.arange(19)
    assert reached(unit) == 0.95
    assert radius(grid, unit, 0.9) == pytest.approx(18)
    assert radius(grid, unit, 0.95) == pytest.approx(19)
    assert radius(grid, unit, 0.99) > 19  # above what is reached: more than the largest
    assert radius(grid, unit, 18 / 19, pooled=True) == 18
    assert radius(grid, unit, 0.5, pooled=True) == 10


def test_between_two_ranks_scores_are_interpolated():
    score, unit = np.arange(1.0, 19) ** 2, np.arange(18)  # the rank of .9 is 17.1
    assert ranked(score, unit, 0.9) == pytest.approx(17**2 + 0.1 * (18**2 - 17**2))
    assert ranked(score, unit, 0.01) == 1


def test_conditions_of_one_unit_are_no_further_witnesses():
    score, unit = np.arange(1.0, 20), np.arange(19)
    again = ranked(np.repeat(score, 4), np.repeat(unit, 4), 0.9)
    assert again == pytest.approx(ranked(score, unit, 0.9))
    assert reached(np.repeat(unit, 4)) == reached(unit)
    one_big = np.array([0] * 70 + [1, 2, 3])  # a unit of 70 conditions counts as one of four
    assert ranked(np.append(np.ones(70), [2.0, 3.0, 4.0]), one_big, 0.5) == pytest.approx(2.5)


def test_one_condition_of_each_unit_is_drawn_in_all_ways(rng):
    score, unit = rng.gamma(2, 1, 11), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4])
    own = [score[unit == i] for i in range(5)]
    draws = np.sort(np.stack([one.ravel() for one in np.meshgrid(*own)], axis=1), axis=1)
    found = [one_of_each(score, unit, rank / 6) for rank in (1, 2.5, 4, 4.4, 5)]
    mean = draws.mean(axis=0)
    np.testing.assert_allclose(found, np.interp([1, 2.5, 4, 4.4, 5], np.arange(1, 6), mean))
    assert one_of_each(score, np.zeros(11, int), 0.5) == pytest.approx(score.mean())
    many = np.arange(900.0)  # counts far from the rank are left out of the sum
    assert one_of_each(many, np.arange(900), 0.9) == pytest.approx(809.9)


@pytest.mark.parametrize("between", [0.0, 0.2])
@pytest.mark.parametrize("n", [9, 18])
def test_the_level_is_met_also_where_units_have_several_conditions(rng, n, between):
    """All conditions of all units but the last vouch for too much: .98 for 9 units of 4 without scatter between."""
    level, k = 0.9, 4
    unit = np.repeat(np.arange(n), k)
    logs = between * rng.normal(size=(600, n + 1, 1)) + 0.2 * rng.normal(size=(600, n + 1, k))
    inside = [np.exp(own[n]) <= ranked(np.exp(own[:n]).ravel(), unit, level) for own in logs]
    assert level - 0.02 < np.mean(inside) < level + 0.045


@pytest.mark.parametrize("n", [2, 5])
def test_of_few_units_the_next_score_is_students(rng, n):
    """Without a prior the level is exact where logarithms of scores are normally distributed."""
    level, unit = 0.9, np.arange(n)
    scores = np.exp(0.2 * rng.normal(size=(4000, n + 1)))
    wide = [widened(own[:n], unit, level, spread=0.3, worth=0.0) for own in scores]
    assert np.mean(scores[:, n] <= wide) == pytest.approx(level, abs=0.015)


def test_one_unit_is_widened_by_what_other_screens_scatter():
    found = widened(np.array([2.0]), np.array([0]), 0.9, spread=0.3)
    assert found == pytest.approx(2 * np.exp(student.ppf(0.9, 3) * 0.3 * np.sqrt(2)))
    one = np.array([2.0, 2.0 * np.e])  # of one unit: the scatter within it counts as it is
    between = 2 * 0.3**2
    degrees = (between + 0.25) ** 2 / (between**2 / 3 + 0.25**2 / 1)
    within = np.exp(student.ppf(0.9, degrees) * np.sqrt(between + 0.25))
    assert widened(one, np.array([0, 0]), 0.9, spread=0.3) == pytest.approx(
        2 * np.exp(0.5) * within
    )
    assert widened(np.zeros(3), np.arange(3), 0.9, spread=0.3) == 0


def test_units_enough_need_no_distribution(rng):
    score = rng.gamma(2, 1, 9)
    assert ranked(score, np.arange(9), 0.9) == pytest.approx(score.max())
    assert ranked(score[:8], np.arange(8), 0.9) >= score[:8].max() * (1 - 1e-9)


def test_growth_is_a_line_that_is_shrunk_and_1_in_the_mean(rng):
    size = rng.gamma(2, 1, 5000)
    found = growth(size, 3 + 2 * size)
    np.testing.assert_allclose(found(size).mean(), 1, atol=0.01)
    np.testing.assert_allclose(found.slope / found.at_zero, 2 / 3, atol=0.02)
    # one condition and a prior of three: at_zero and slope in closed form
    one = growth(np.array([1.0]), np.array([1.0]))
    normal = np.array([[1 + PRIOR, 1], [1, 1 + PRIOR]])
    at_zero, slope = np.linalg.solve(normal, [1 + PRIOR, 1])
    assert one.at_zero == pytest.approx(at_zero / (at_zero + slope))
    assert growth(np.zeros(4), np.ones(4))(np.zeros(4)) == pytest.approx(1)  # the controls copied
    assert growth(size, -np.ones(5000))(size) == pytest.approx(1)  # nothing but noise
    assert found(np.array([-100.0])) == LEAST_GROWTH


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_of_the_next_condition(rng, level):
    """`level` of the genes are covered in `level` of next conditions."""
    n, covered, pooled = 39, [], []
    for _ in range(200):
        size = rng.gamma(2, 1, (n + 1, 1))  # conditions differ in how wrong the prediction is
        residual = size * rng.normal(size=(n + 1, 30))
        grid = quantiles(residual, np.ones_like(residual))
        wide = radius(grid[:n], np.arange(n), level)
        covered.append(np.quantile(np.abs(residual[n]), level) <= wide)
        pooled.append(np.abs(residual[n]) <= radius(grid[:n], np.arange(n), level, pooled=True))
    assert level - 0.04 < np.mean(covered) < level + 0.04
    assert level - 0.03 < np.mean(pooled) < level + 0.03
