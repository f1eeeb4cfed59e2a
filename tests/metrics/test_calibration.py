from __future__ import annotations

import numpy as np
import pytest

from shoal.metrics._calibration import bds, best_baseline, ceiling, discriminates, drf, loss

NAN = np.nan


# -- losses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "direction", "perfect", "expected"),
    [
        ([1, 0.25, -1, NAN], "higher", 1, [0, 0.75, 2, NAN]),
        ([0, 3, -0.5, NAN], "lower", 0, [0, 3, -0.5, NAN]),
        ([0, -2, 2, NAN], "target", 0, [0, 2, 2, NAN]),
        ([1, 3, 1 / 3, 0, -4, NAN], "target", 1, [0, 0.5, 0.5, 1, 1, NAN]),
        ([4, 8, 2], "target", 4, [0, 1 / 3, 1 / 3]),
    ],
)
def test_losses(values, direction, perfect, expected):
    np.testing.assert_allclose(loss(values, direction, perfect=perfect), expected)


def test_the_loss_of_a_ratio_is_a_bounded_log_ratio(rng):
    ratio = np.sort(rng.lognormal(0, 2, 300))
    found = loss(ratio, "target", perfect=1)
    np.testing.assert_allclose(found, np.tanh(np.abs(np.log(ratio)) / 2))
    np.testing.assert_allclose(found, loss(1 / ratio, "target", perfect=1))
    assert (np.diff(found[ratio < 1]) < 0).all()
    assert (np.diff(found[ratio > 1]) > 0).all()
    assert (
        found.max() < loss(0.0, "target", perfect=1) == 1
    )  # collapse is never better than a small ratio


def test_bad_losses_are_refused():
    with pytest.raises(ValueError, match=r"direction='up' is not known; choose one of 'higher'"):
        loss([1.0], "up", perfect=1)
    with pytest.raises(ValueError, match="2 of 3 values are infinite"):
        loss([np.inf, -np.inf, 1], "lower", perfect=0)
    for direction, perfect in (("target", -1), ("higher", np.inf), ("lower", NAN)):
        with pytest.raises(ValueError, match="must be finite, and at least 0 for a target"):
            loss([1.0], direction, perfect=perfect)


# -- range and rank of the controls ------------------------------------------------------------------------------------


def test_drf_is_the_published_fraction_on_the_scale_of_the_metric(rng):
    above, below = rng.uniform(-1, 1, (2, 50))
    expected = np.clip((above - below) / (1 - below), -1, 1).mean()
    controls = [loss(values, "higher", perfect=1) for values in (above, below)]
    assert drf(*controls) == pytest.approx(expected)
    assert drf(*(7 * one for one in controls)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([0, 0], [1, 2], 1),
        ([1, 2], [1, 2], 0),
        ([1, 1], [1e-9, 1e-9], -1),  # clipped
        ([0.5, -0.5], [1, 1], 0.75),  # an unbiased distance below 0 is no better than perfect
        ([0.5, 0.3], [1, -0.2], 0.25),  # no range: 0
        ([0.5, NAN, 1], [1, 1, NAN], 0.5),
        ([NAN], [1], NAN),
        ([], [], NAN),
    ],
)
def test_drf(good, bad, expected):
    assert drf(good, bad) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([1, 1, 1, 1], [2, 2, 2, 0], 0.75),
        ([1, 1], [1, 1], 0.5),
        ([1, NAN, 3], [2, 2, NAN], 1),
        ([NAN], [1], NAN),
    ],
)
def test_bds(good, bad, expected):
    assert bds(good, bad) == pytest.approx(expected, nan_ok=True)


def test_a_metric_of_noise_does_not_discriminate(rng):
    noise = rng.exponential(size=(2, 4000))
    assert bds(*noise) == pytest.approx(0.5, abs=0.03)
    assert not discriminates(drf(*noise), bds(*noise))
    assert discriminates(drf(0.3 * noise[0], noise[1]), bds(0.3 * noise[0], noise[1]))


@pytest.mark.parametrize(
    ("fraction", "score", "expected"),
    [
        (0.1, 0.51, True),
        (0.09, 0.9, False),
        (0.5, 0.5, False),
        (NAN, 0.9, False),
        (0.5, NAN, False),
    ],
)
def test_discriminates_asks_for_both(fraction, score, expected):
    assert discriminates(fraction, score) is expected


# -- ceiling -----------------------------------------------------------------------------------------------------------


def test_ceilings_are_what_a_second_experiment_and_the_truth_score(rng):
    """A profile of 50,000 genes, measured in two experiments of two halves each."""
    truth = rng.normal(size=50_000)
    halves = truth + 1.5 * rng.normal(size=(4, 50_000))
    first, second = halves[:2].mean(axis=0), halves[2:].mean(axis=0)
    r = np.corrcoef(halves[0], halves[1])[0, 1]
    assert ceiling(r) == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.02)
    assert ceiling(r, noise_free=True) == pytest.approx(np.corrcoef(first, truth)[0, 1], abs=0.02)


def test_no_signal_is_not_extrapolated():
    r = np.array([1, 0, -0.5, NAN])
    np.testing.assert_allclose(ceiling(r), r)
    np.testing.assert_allclose(ceiling(r, noise_free=True), [1, 0, 0, NAN])
    with pytest.raises(ValueError, match="halves must be correlations, -1 to 1, not up to 1.2"):
        ceiling([0.5, 1.2, NAN])


# -- the best baseline -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([[2, 2], [1, 1], [3, 0]], 1),
        ([[1, 1], [1, 1]], 0),
        ([[1] * 9 + [NAN], [0] * 9 + [99]], 1),  # compared where both have a value
        ([[0] + [NAN] * 9, [1] * 10], 1),  # too few values to take part
        ([[NAN] * 3, [1] * 3], 1),
        ([[NAN, NAN]], None),
        (np.empty((0, 4)), None),
        (np.empty((2, 0)), None),
    ],
)
def test_best_baseline(losses, expected):
    assert best_baseline(losses) == expected


def test_baselines_without_a_shared_condition_cannot_be_compared():
    assert best_baseline([[1, NAN], [NAN, 2]]) is None


@pytest.mark.parametrize("function", [drf, bds])
@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [1.0]), ([[1.0]], [[1.0]])])
def test_losses_of_unlike_shapes_are_refused(function, a, b):
    with pytest.raises(ValueError, match="1-D arrays of one length"):
        function(a, b)


def test_a_single_baseline_comes_as_a_table():
    with pytest.raises(
        ValueError, match=r"losses must be \(baselines, conditions\), not of shape \(3,\)"
    ):
        best_baseline([1.0, 2.0, 3.0])
