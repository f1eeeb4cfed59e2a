"""The probability of a response: the null of the test, closed forms, and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from shoal.metrics._probability import FOUND, fit_probability, shift_pvalues


def test_p_values_of_shifts_that_are_noise_are_uniform(rng):
    mix = rng.normal(size=(6, 6))
    spread, factor = mix @ mix.T, rng.uniform(0.01, 0.1, 4000)
    shift = rng.normal(size=(4000, 6)) @ mix.T * np.sqrt(factor)[:, None]
    p = shift_pvalues(shift, spread, factor)
    for level in (0.01, 0.1, 0.5):
        assert np.mean(p < level) == pytest.approx(level, abs=0.02)


def test_a_shift_is_found_and_axes_that_do_not_vary_do_not_count():
    spread, factor = np.diag([1.0, 4.0, 0.0]), np.array([0.01, 0.01])
    shift = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    small, large = shift_pvalues(shift, spread, factor)
    assert small < FOUND < large == 1
    np.testing.assert_array_equal(shift_pvalues(shift, np.zeros((3, 3)), factor), 1)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 10), (7, 7)])
def test_where_all_predictions_are_alike_it_is_the_share(k, n):
    found = fit_probability(np.full(n, 2.0), np.arange(n) < k)
    assert found(np.array([2.0]))[0] == pytest.approx((k + 1) / (n + 2), abs=1e-4)
    assert found(np.array([5.0]))[0] == found(np.array([2.0]))[0]


def test_it_finds_the_curve(rng):
    size = np.exp(rng.normal(size=4000))
    truth = expit(0.5 + 1.5 * np.log(size))
    found = fit_probability(size, rng.random(4000) < truth)
    assert np.abs(found(size) - truth).max() < 0.05


def test_larger_predictions_are_never_less_probable(rng):
    size = np.exp(rng.normal(size=60))
    found = fit_probability(size, size < 1)  # the small ones respond: against all sense
    assert found.slope == 0
    assert found(np.array([1.0]))[0] == pytest.approx((np.sum(size < 1) + 1) / 62, abs=1e-3)
