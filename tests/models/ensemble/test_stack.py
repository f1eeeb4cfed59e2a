"""The weights of several predictions: closed forms, the constraints, and the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from shoal.models.ensemble._stack import PRIOR, gain, stacked


def fit(predicted, real, rule, **options):
    n = len(real)
    return stacked(
        predicted,
        real,
        np.asarray(rule, float),
        **{"unit": np.arange(n), "weight": np.ones(n), **options},
    )


def test_a_member_that_is_right_gets_all(rng):
    predicted = rng.normal(size=(30, 3, 10))
    weights = fit(predicted, predicted[:, 1], [1, 0, 0], prior=0.001)
    np.testing.assert_allclose(weights, [0, 1, 0], atol=1e-3)


@pytest.mark.parametrize("n", [1, 4, 20])
def test_without_any_response_the_rule_is_shrunk_by_what_it_is_worth(rng, n):
    predicted = rng.normal(size=(n, 1, 10))
    weights = fit(predicted, np.zeros((n, 10)), [1])
    np.testing.assert_allclose(weights, [PRIOR / (n + PRIOR)])


def test_orthogonal_members_have_a_closed_form():
    predicted = np.zeros((8, 2, 2))
    predicted[:, 0, 0], predicted[:, 1, 1] = 1, 1
    weights = fit(predicted, np.tile([0.5, 0.2], (8, 1)), [1, 0])
    expected = (8 * np.array([0.5, 0.2]) + PRIOR * np.array([1, 0])) / (8 + PRIOR)
    np.testing.assert_allclose(weights, expected)


def test_it_is_the_constrained_minimum(rng):
    predicted, real = rng.normal(size=(12, 4, 6)), rng.normal(size=(12, 6))
    real += 0.9 * predicted[:, 0] + 0.8 * predicted[:, 1] - 0.5 * predicted[:, 2]
    weight, rule = rng.uniform(0.5, 1, 12), np.array([0, 0, 0, 1.0])
    gram = np.einsum("c,ckp,clp->kl", weight, predicted, predicted)
    penalty = PRIOR * np.trace(gram) / (4 * 12)

    def loss(w):
        gap = real - np.einsum("ckp,k->cp", predicted, w)
        return weight @ (gap**2).sum(axis=1) + penalty * ((w - rule) ** 2).sum()

    at_most_one = {"type": "ineq", "fun": lambda w: 1 - w.sum()}
    best = minimize(loss, rule, bounds=[(0, None)] * 4, constraints=[at_most_one], tol=1e-12)
    found = fit(predicted, real, rule, weight=weight)
    np.testing.assert_allclose(found, best.x, atol=1e-5)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)


def test_equal_members_share_and_none_is_asked_for_more_than_all(rng):
    one = rng.normal(size=(10, 1, 5))
    np.testing.assert_allclose(fit(one.repeat(2, axis=1), 3 * one[:, 0], [1, 0]).sum(), 1)
    even = fit(one.repeat(2, axis=1), 0.6 * one[:, 0], [0, 0])
    np.testing.assert_allclose(even[0], even[1])


def test_members_that_predict_nothing_leave_the_rule():
    np.testing.assert_array_equal(fit(np.zeros((5, 2, 3)), np.ones((5, 3)), [0, 1]), [0, 1])


def test_conditions_of_one_unit_count_as_one_against_the_prior(rng):
    predicted = rng.normal(size=(1, 1, 10)).repeat(20, axis=0)
    weights = fit(predicted, np.zeros((20, 10)), [1], unit=np.zeros(20, int))
    np.testing.assert_allclose(weights, [PRIOR / (1 + PRIOR)])


def test_gain_is_the_difference_of_squares(rng):
    truth, made = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3))
    noisy = truth + rng.normal(size=truth.shape)
    found = gain(made, noisy, np.arange(4000), weight=np.ones(4000))
    expected = (2 * truth * made - made**2).sum(axis=1).mean()
    assert abs(found.mean - expected) < 3 * found.error
    zero = gain(made, np.zeros_like(made), np.arange(4000), weight=np.ones(4000))
    np.testing.assert_allclose(zero.mean, -(made**2).sum(axis=1).mean())


def test_gain_beside_other_predictions(rng):
    real, one, two = rng.normal(size=(3, 6, 4))
    unit, weight = np.arange(6), np.ones(6)
    found = gain(one, real, unit, weight=weight, beside=two)
    each = ((real - two) ** 2).sum(axis=1) - ((real - one) ** 2).sum(axis=1)
    assert found.mean == pytest.approx(each.mean())
    assert found.error == pytest.approx(each.std(ddof=1) / np.sqrt(6))


def test_repeated_conditions_of_a_unit_are_no_further_witnesses(rng):
    made, real = rng.normal(size=(10, 3)), rng.normal(size=(10, 3))
    once = gain(made, real, np.arange(10), weight=np.ones(10))
    again = gain(
        made.repeat(5, axis=0), real.repeat(5, axis=0), np.arange(10).repeat(5), weight=np.ones(50)
    )
    assert again.error == pytest.approx(once.error)
    assert gain(made[:1], real[:1], np.zeros(1, int), weight=np.ones(1)).error == np.inf
