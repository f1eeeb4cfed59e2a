"""Do vectors say which responses are alike: closed forms, the null, and power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from shoal.metrics._kernel_ridge import RIDGES, CentredRidge, scale_of
from shoal.metrics._vector_information import vector_information


def linear(x):
    kernel = x @ x.T
    return kernel / scale_of(kernel)


def informed(x, y, seed=0, n_perms=99):
    return vector_information([linear(x)], y, n_perms=n_perms, rng=np.random.default_rng(seed))


def test_permuted_errors_are_those_of_permuted_vectors(rng):
    x, y = rng.normal(size=(7, 2)), rng.normal(size=(7, 3))
    found = informed(x, y, n_perms=5)
    of_mean = (((y - (y.sum(axis=0) - y) / 6) ** 2).sum(axis=1)).mean()

    def least(vectors):
        fit = CentredRidge(linear(vectors))
        return fit.left_out(y @ y.T, RIDGES).mean(axis=1).min() / of_mean

    assert found.error == pytest.approx(least(x))
    draws = np.random.default_rng(0)
    for error in found.permuted:
        order = draws.permutation(7)
        dealt = np.empty_like(x)
        dealt[order] = x  # responses in this order, or vectors in the inverse one
        assert error == pytest.approx(least(dealt))
    assert found.pvalue == (1 + (found.permuted <= found.error).sum()) / 6


def test_vectors_that_say_everything(rng):
    x = rng.normal(size=(30, 3))
    found = informed(x, x @ rng.normal(size=(3, 8)) + 5)
    assert found.error < 1e-3
    assert found.pvalue == 0.01


def test_nothing_to_say(rng):
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 4))
    assert informed(np.eye(8), y).pvalue == 1, "all vectors are equally far apart"
    alike = informed(x, np.ones((8, 4)))
    assert (alike.pvalue, alike.error) == (1, 1)
    assert informed(x, y).error <= 1.001, "the mean is among the predictions that are tried"


def test_order_and_scale_do_not_matter(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 4))
    one = informed(x, y)
    order = rng.permutation(9)
    again = informed(x[order], 1e6 * y[order])
    assert again.error == pytest.approx(one.error)
    assert informed(x, y).pvalue == one.pvalue


@pytest.mark.slow
@pytest.mark.parametrize("n_sources", [1, 2])
def test_p_is_uniform_where_vectors_are_random(n_sources):
    """Also with skewed responses, unequal noise and a choice among ridges and weights."""
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        y = rng.exponential(size=(10, 6)) * rng.uniform(0.1, 3, (10, 1))
        kernels = [linear(rng.normal(size=(10, 4))) for _ in range(n_sources)]
        found.append(vector_information(kernels, y, n_perms=39, rng=rng).pvalue)
    p = np.array(found)
    assert 0.02 < (p <= 0.05).mean() < 0.09
    assert stats.kstest(p - 1 / 80, "uniform").pvalue > 0.01  # steps of 1/40, in the middle of each


def test_power_grows_with_what_vectors_say():
    shares = []
    for strength in (0.0, 1.0, 3.0):
        below = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(20, 3))
            y = strength * x @ rng.normal(size=(3, 10)) / np.sqrt(3) + rng.normal(size=(20, 10))
            below += informed(x, y, seed).pvalue <= 0.05
        shares.append(below / 40)
    assert shares[0] < 0.2
    assert shares[1] > 0.7
    assert shares[2] == 1


def test_the_source_that_says_something_is_named(rng):
    x = rng.normal(size=(40, 3))
    y = x @ rng.normal(size=(3, 10)) + 0.2 * rng.normal(size=(40, 10))
    kernels = [linear(rng.normal(size=(40, 30))), linear(x)]
    found = vector_information(kernels, y, n_perms=19, rng=rng)
    assert found.weights[1] >= 0.75
    assert found.pvalue == 0.05
