"""Kernel ridge regression: leave-one-out errors, and weights of several kernels."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.metrics._kernel_ridge import (
    RIDGES,
    CentredRidge,
    gaussian_width,
    kernel_weights,
    scale_of,
    weight_grid,
)


def linear(x):
    kernel = x @ x.T
    return kernel / scale_of(kernel)


def left_out(x, y, penalty):
    """Squared errors of refits without each observation: least squares with a penalty on slopes."""
    errors = []
    for i in range(len(x)):
        rest = np.delete(np.arange(len(x)), i)
        centred = x[rest] - x[rest].mean(axis=0)
        slopes = np.linalg.solve(
            centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T @ y[rest]
        )
        guess = y[rest].mean(axis=0) + (x[i] - x[rest].mean(axis=0)) @ slopes
        errors.append(((y[i] - guess) ** 2).sum())
    return np.array(errors)


def test_errors_are_those_of_refits(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 5))
    fit = CentredRidge(x @ x.T)
    ridges = np.array([1e-3, 0.5, 20.0])
    found = fit.left_out(y @ y.T, ridges)
    for ridge, errors in zip(ridges, found, strict=True):
        np.testing.assert_allclose(errors, left_out(x, y, ridge * fit.unit), rtol=1e-8)


def test_a_sum_of_kernels_is_a_regression_on_scaled_vectors_side_by_side(rng):
    x, z, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2)), rng.normal(size=(9, 4))
    both = np.hstack([np.sqrt(0.25 / scale_of(x @ x.T)) * x, np.sqrt(0.75 / scale_of(z @ z.T)) * z])
    summed = 0.25 * linear(x) + 0.75 * linear(z)
    assert scale_of(summed) == pytest.approx(1)
    fit = CentredRidge(summed)
    expected = left_out(both, y, 0.3 * fit.unit)
    np.testing.assert_allclose(fit.left_out(y @ y.T, np.array([0.3]))[0], expected, rtol=1e-8)


def test_a_large_ridge_is_the_mean_of_the_others(rng):
    y = rng.normal(size=(6, 4))
    found = CentredRidge(linear(rng.normal(size=(6, 2)))).left_out(y @ y.T, np.array([1e12]))[0]
    means = (y.sum(axis=0) - y) / 5
    np.testing.assert_allclose(found, ((y - means) ** 2).sum(axis=1), rtol=1e-6)


def test_the_grid():
    for n in range(1, 8):
        grid = weight_grid(n)
        np.testing.assert_allclose(grid.sum(axis=1), 1)
        assert (grid >= 0).all()
        assert len(np.unique(grid, axis=0)) == len(grid)
        assert (np.abs(grid - 1 / n).max(axis=1) < 1e-9).sum() == 1, "equal weights are tried"
        assert all((np.abs(grid - own).max(axis=1) < 1e-9).any() for own in np.eye(n))
    assert len(weight_grid(2)) == 5
    assert len(weight_grid(7)) == 15


def test_weights_stay_equal_where_there_is_nothing_to_learn(rng):
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 4))
    same = linear(x)
    np.testing.assert_allclose(kernel_weights([same, same, same], y @ y.T), 1 / 3)
    flat = np.zeros((12, 12))
    np.testing.assert_allclose(kernel_weights([flat, flat], y @ y.T), 0.5)
    np.testing.assert_allclose(kernel_weights([linear(x[:2])] * 2, y[:2] @ y[:2].T), 0.5)
    np.testing.assert_allclose(kernel_weights([same], y @ y.T), 1)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_kernel_that_says_something_gets_the_weight(rng, place):
    n = 60
    x = rng.normal(size=(n, 4))
    y = x @ rng.normal(size=(4, 20)) + 0.3 * rng.normal(size=(n, 20))
    kernels = [linear(rng.normal(size=(n, 40))) for _ in range(3)]
    kernels[place] = linear(x)
    weights = kernel_weights(kernels, y @ y.T)
    assert weights[place] == 1


def test_two_kernels_that_say_a_half_each_are_summed(rng):
    n = 60
    x, z = rng.normal(size=(2, n, 4))
    y = np.hstack([x, z]) @ rng.normal(size=(8, 20)) + 0.3 * rng.normal(size=(n, 20))
    noise = linear(rng.normal(size=(n, 40)))
    weights = kernel_weights([linear(x), noise, linear(z)], y @ y.T)
    assert weights[1] < 0.3
    assert min(weights[0], weights[2]) >= 0.25


def test_weights_of_noise_are_seldom_far_from_equal():
    """Of sources that say nothing, no one is taken alone but by rare chance."""
    alone = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(15, 10))
        kernels = [linear(rng.normal(size=(15, 6))) for _ in range(2)]
        alone += kernel_weights(kernels, y @ y.T, RIDGES).max() == 1
    assert alone <= 12


def test_the_width_is_the_median_distance():
    assert gaussian_width(np.array([[0.0], [1.0], [3.0]])) == 2
    assert gaussian_width(np.zeros((4, 2))) == 1
