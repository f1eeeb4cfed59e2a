"""Maps in closed form: the way, the cost, and cycles that would gain by swapping their images."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from shoal.metrics import energy_distance, sliced_wasserstein
from shoal.metrics._maps import costs, displacement, excess, swaps


@pytest.fixture
def x(rng):
    return rng.normal(size=(60, 4))


@pytest.fixture
def convex(rng):
    """Return a symmetric positive definite matrix: the gradient of a convex function."""
    a = rng.normal(size=(4, 4))
    return a @ a.T + np.eye(4)


def test_displacement_begins_at_the_cells_and_ends_at_their_images(x, rng):
    x = x.astype(np.float32)
    y = rng.normal(size=x.shape).astype(np.float32)
    way = displacement(x, y, [0, 0.25, 1])
    assert way.shape == (3, 60, 4)
    assert way.dtype == np.float32
    np.testing.assert_array_equal(way[0], x)
    np.testing.assert_array_equal(way[2], y)
    np.testing.assert_allclose(way[1], x + (y - x) / 4, rtol=1e-5, atol=1e-6)


def test_a_population_on_its_way_is_as_far_as_the_time_says(x):
    y = x @ np.diag([3.0, 1.0, 1.0, 1.0]) + [
        5.0,
        0,
        0,
        0,
    ]  # optimal: a geodesic of Wasserstein space
    way = displacement(x, y, [0, 0.25, 0.5, 1])
    whole = sliced_wasserstein(x, y)
    for t, z in zip([0, 0.25, 0.5, 1], way, strict=True):
        assert sliced_wasserstein(x[:, :1], z[:, :1]) == pytest.approx(
            t * sliced_wasserstein(x[:, :1], y[:, :1])
        )
        assert sliced_wasserstein(x, z) <= whole + 1e-9
    energies = [energy_distance(z, y) for z in way]
    assert energies[0] > energies[1] > energies[2] > energies[3]
    assert energies[3] == pytest.approx(energy_distance(y, y))


@pytest.mark.parametrize("times", [[], [0.5, 1.1], [-0.1], [0.5, 0.5], [float("nan")]])
def test_times_are_different_numbers_within_0_and_1(x, times):
    with pytest.raises(ValueError, match="times must be different numbers within 0"):
        displacement(x, x, times)


def test_costs_of_a_translation(x):
    y = x + np.array([3.0, 4.0, 0.0, 0.0])
    np.testing.assert_allclose(costs(x, y), 5)
    np.testing.assert_allclose(costs(x, y, power=2), 25)


@pytest.mark.parametrize("power", [1, 2])
def test_translations_are_optimal_at_both_costs(x, power):
    for shift in (0.0, 1e-6, 2.0, 1e3):
        assert excess(x, x + shift, power=power) == 0
        assert swaps(x, x + shift, power=power) == 0


def test_gradients_of_convex_functions_are_cyclically_monotone(x, convex):
    y = x @ convex + 1
    assert excess(x, y) == 0
    assert swaps(x, y) == 0
    assert excess(x, x**3) == swaps(x, x**3) == 0  # of a sum of fourth powers


@pytest.mark.parametrize("power", [1, 2])
def test_increasing_maps_of_the_line_are_optimal_and_decreasing_ones_are_the_worst(rng, power):
    x = np.sort(rng.normal(size=(40, 1)), axis=0)
    y = np.sort(rng.gamma(2, size=(40, 1)), axis=0) - 2
    assert excess(x, y, power=power) == swaps(x, y, power=power) == 0
    assert swaps(x, y[::-1]) == 1
    expected = ((x - y[::-1]) ** 2).sum() / ((x - y) ** 2).sum() - 1
    assert excess(x, y[::-1]) == pytest.approx(expected)


def test_a_random_permutation_swaps_half_of_the_pairs(rng):
    x = rng.normal(size=(100, 5))
    for power in (1, 2):
        shares = [swaps(x, (x + 7)[rng.permutation(100)], power=power) for _ in range(60)]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
        assert 0.02 < np.std(shares) < 0.1


def test_images_that_do_not_depend_on_the_cell(rng):
    x, y = rng.normal(size=(400, 3)), rng.gamma(1.0, size=(400, 3))
    assert swaps(x, y) == pytest.approx(0.5, abs=0.1)
    assert excess(x, y) > 1


def test_excess_is_that_over_the_best_of_all_assignments(rng):
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    for power in (1, 2):
        best = min(costs(x, y[list(order)], power=power).mean() for order in permutations(range(6)))
        assert excess(x, y, power=power) == pytest.approx(
            costs(x, y, power=power).mean() / best - 1
        )
        pairs = [
            costs(x[[i, j]], y[[j, i]], power=power).sum()
            < costs(x[[i, j]], y[[i, j]], power=power).sum()
            for i in range(6)
            for j in range(i)
        ]
        assert swaps(x, y, power=power) == pytest.approx(np.mean(pairs))


def test_a_cycle_of_three_that_no_swap_betters():
    """Cells on a circle, turned by a little less than a quarter: no pair gains, all three do."""
    angle = 2 * np.pi / 3 * np.arange(3)
    x, y = (np.column_stack([np.cos(a), np.sin(a)]) for a in (angle, angle + 0.45 * np.pi))
    assert swaps(x, y) == 0
    turned = np.sin((2 / 3 - 0.45) * np.pi / 2) / np.sin(
        0.45 * np.pi / 2
    )  # of the chords, if each takes the next image
    assert excess(x, y) == pytest.approx(1 / turned**2 - 1)
    assert excess(x, y, power=1) == pytest.approx(1 / turned - 1)


def test_free_assignments_and_single_cells(x):
    assert excess(x, x) == 0
    assert excess(x, x[::-1]) == np.inf
    assert excess(x[:1], x[:1] + 3) == 0
    assert np.isnan(swaps(x[:1], x[:1] + 3))


def test_what_makes_no_sense(x):
    for function in (costs, excess, swaps):
        with pytest.raises(
            ValueError, match=r"\(60, 4\) and their images \(59, 4\) must have the same shape"
        ):
            function(x, x[1:])
        with pytest.raises(ValueError, match="power=3 is not known; choose one of 1, 2"):
            function(x, x, power=3)
    with pytest.raises(ValueError, match="must have the same shape"):
        displacement(x, x[:, :2], [0.5])
