"""What mean shrinkage takes back of the change of a population's mean."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.models.post._mean_shrinkage import MOST, shrink_mean_change

population = np.array([1, 0, 1, 0, 1, 0])


def means(values):
    return np.stack([values[population == code].mean(axis=0) for code in (0, 1)])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_share_of_the_change_of_every_mean_is_taken_back(rng, share, nonnegative):
    start, values = rng.uniform(1, 2, size=(2, 6, 3))
    expected = means(values) + share * (means(start) - means(values))
    found = shrink_mean_change(values.copy(), start, population, share, nonnegative=nonnegative)
    np.testing.assert_allclose(means(found), expected)


def test_signed_values_are_shifted(rng):
    start, values = rng.normal(size=(2, 6, 3))
    found = shrink_mean_change(values.copy(), start, population, 0.5, nonnegative=False)
    change = found - values
    for code in (0, 1):
        np.testing.assert_allclose(
            change[population == code], np.tile(change[population == code][0], (3, 1))
        )
    assert np.abs(change).min() > 0


def test_zeros_stay_zeros_and_no_mean_is_more_than_doubled():
    values = np.array([[0.0, 0.0, 1.0], [0.0, 0.2, 1.0]])
    start = np.array([[3.0, 3.0, 0.0], [3.0, 3.0, 0.0]])
    found = shrink_mean_change(values.copy(), start, np.zeros(2, dtype=int), 1.0, nonnegative=True)
    np.testing.assert_allclose(found, [[0, 0, 0], [0, MOST * 0.2, 0]])
