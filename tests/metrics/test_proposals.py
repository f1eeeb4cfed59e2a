"""Rules that choose what to measure, where the best choice is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from shoal.metrics._proposals import hit_probability, order_by_coverage, order_by_reduction


def test_unrelated_candidates_are_in_the_order_of_what_they_take():
    variance = np.array([1.0, 4.0, 2.0])
    order, score = order_by_reduction(np.diag(variance), 0.5, 3)
    assert order.tolist() == [1, 2, 0]
    expected = variance**2 / (variance + 0.5) / variance.sum()
    np.testing.assert_allclose(score, expected[order])


def test_two_of_a_kind_are_counted_once():
    alike = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    order, score = order_by_reduction(alike, 0.0, 3)
    assert order.tolist() == [0, 2, 1]
    np.testing.assert_allclose(score, [4 / 5, 1 / 5, 0.0], atol=1e-12)


def test_what_is_left_is_the_conditional_variance(rng):
    a = rng.normal(size=(6, 9))
    covariance, noise = a @ a.T, 0.7
    order, score = order_by_reduction(covariance, noise, 3)
    inner = covariance[np.ix_(order, order)] + noise * np.eye(3)
    across = covariance[:, order]
    taken = np.trace(across @ np.linalg.solve(inner, across.T))
    assert score.sum() == pytest.approx(taken / np.trace(covariance))


def test_the_first_is_the_best_of_all_single_ones(rng):
    a = rng.normal(size=(8, 3))
    covariance = a @ a.T
    taken = [(covariance[:, i] ** 2).sum() / (covariance[i, i] + 1.0) for i in range(8)]
    assert order_by_reduction(covariance, 1.0, 1)[0][0] == int(np.argmax(taken))


def test_coverage_takes_the_median_first():
    place = np.array([0.0, 1.0, 2.0, 100.0, 101.0])
    far = np.abs(place[:, None] - place)
    order, score = order_by_coverage(far, np.full(5, np.inf), 5)
    assert order[0] == 2
    assert order[1] in (3, 4)
    assert score.sum() == pytest.approx(1.0)


def test_what_is_measured_is_covered_already():
    place = np.array([0.0, 10.0, 11.0])
    order, score = order_by_coverage(np.abs(place[:, None] - place), np.array([0.0, 10.0, 11.0]), 1)
    assert order.tolist() == [1]
    assert score[0] == pytest.approx((10 + 10) / 21)


def test_the_greedy_cover_is_near_the_best_one(rng):
    points = rng.normal(size=(9, 2))
    far = np.linalg.norm(points[:, None] - points, axis=2)
    nearest = np.linalg.norm(points - 3.0, axis=1)
    order, _ = order_by_coverage(far, nearest, 3)

    def fall(some):
        return (nearest - np.minimum(nearest, far[:, list(some)].min(axis=1))).sum()

    best = max(fall(some) for some in combinations(range(9), 3))
    assert fall(order) >= (1 - 1 / np.e) * best


def test_the_probability_of_a_hit_is_that_of_the_group():
    """Two groups far apart, of which one responds."""
    place = np.array([0.0] * 8 + [50.0] * 8)
    responds = place == 0
    among = np.abs(place[:, None] - place)
    found, width = hit_probability(np.abs(np.array([[0.0], [50.0]]) - place), responds, among)
    assert width > 0
    kernel = np.exp(-(50.0**2) / (2 * width**2))
    mean = 8.5 / 17
    expected = (mean + 8) / (1 + 8 + 8 * kernel)
    np.testing.assert_allclose(found, [expected, (mean + 8 * kernel) / (1 + 8 + 8 * kernel)])


def test_vectors_that_tell_nothing_give_all_the_same_probability():
    rng = np.random.default_rng(0)
    constant = 0
    for _ in range(40):
        points = rng.normal(size=(20, 5))
        among = np.linalg.norm(points[:, None] - points, axis=2)
        found, width = hit_probability(among[:6], rng.random(20) < 0.5, among)
        assert ((found > 0) & (found < 1)).all()
        constant += width == 0
    assert constant > 20
