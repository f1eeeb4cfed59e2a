from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import stats

from shoal.metrics import sinkhorn, sliced_wasserstein


@pytest.fixture
def ot():
    return pytest.importorskip("ot", reason="POT is not installed: pip install 'shoal[ot]'")


@pytest.fixture
def cells(rng):
    """Two populations of unequal sizes and spreads, in 6 columns of falling spread."""
    spread = np.linspace(3, 0.5, 6)
    return 1.3 * rng.normal(size=(47, 6)) * spread + 1, rng.standard_t(5, size=(60, 6)) * spread


def divergence(ot, x, y, epsilon):
    """The divergence by POT's general solver in the log domain."""
    strength = epsilon * np.median(np.sqrt(ot.dist(y, y))[np.triu_indices(len(y), 1)]) ** 2

    def cost(a, b):
        weights = [np.full(len(c), 1 / len(c)) for c in (a, b)]
        plan, log = ot.bregman.sinkhorn_log(
            *weights, ot.dist(a, b), strength, stopThr=1e-11, numItermax=10**5, log=True
        )
        assert log["err"][-1] < 1e-10
        entropy = np.sum(plan[plan > 0] * np.log((plan / np.outer(*weights))[plan > 0]))
        return np.sum(plan * ot.dist(a, b)) + strength * entropy

    return cost(x, y) - cost(x, x) / 2 - cost(y, y) / 2


# -- sliced ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3])
def test_on_a_line_it_is_scipys_and_the_quantile_coupling(p, rng):
    x, y = rng.normal(size=(30, 1)), rng.exponential(size=(45, 1))
    pairs = np.sort(np.repeat(x, 3, axis=0), axis=0) - np.sort(np.repeat(y, 2, axis=0), axis=0)
    expected = np.mean(np.abs(pairs) ** p) ** (1 / p)
    assert sliced_wasserstein(x, y, p=p, n_directions=3) == pytest.approx(expected)
    if p == 1:
        assert expected == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]))


@pytest.mark.parametrize("d", [1, 4, 10])
def test_whole_bases_measure_a_translation_exactly(d, rng):
    x, shift = rng.standard_t(3, size=(33, d)), rng.normal(size=d)
    found = sliced_wasserstein(x + shift + 1e6, x + 1e6, n_directions=2 * d, rng=rng)
    assert found == pytest.approx(np.linalg.norm(shift) / np.sqrt(d), rel=1e-6)


def test_gaussians_of_two_spreads(rng):
    """N(0, s^2) against N(0, t^2) on every line: |s - t|."""
    x, y = 2 * rng.normal(size=(20_000, 5)), 0.5 * rng.normal(size=(15_000, 5))
    assert sliced_wasserstein(x, y, n_directions=20) == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize("p", [1, 2])
def test_sliced_is_pots_on_the_same_directions(ot, cells, p):
    from shoal.metrics._transport import _directions

    directions = _directions(6, 15, np.random.default_rng(4))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
    expected = ot.sliced_wasserstein_distance(*cells, projections=directions, p=p)
    assert sliced_wasserstein(*cells, n_directions=15, p=p, rng=4) == pytest.approx(expected)


def test_more_directions_agree_with_independent_ones(cells, rng):
    directions = rng.normal(size=(6, 4000))
    directions /= np.linalg.norm(directions, axis=0)
    lines = [stats.wasserstein_distance(*(c @ one for c in cells)) for one in directions.T]
    found = [sliced_wasserstein(*cells, n_directions=60, p=1, rng=seed) for seed in range(30)]
    assert np.mean(found) == pytest.approx(
        np.mean(lines), abs=4 * (stats.sem(lines) + stats.sem(found))
    )


def test_sliced_is_a_distance_that_order_and_copies_do_not_change(cells, rng):
    x, y = cells
    found = sliced_wasserstein(x, y)
    assert sliced_wasserstein(y, x) == pytest.approx(found)
    assert sliced_wasserstein(rng.permutation(x), rng.permutation(y)) == pytest.approx(
        found, rel=1e-12
    )
    assert sliced_wasserstein(np.tile(x, (2, 1)), np.tile(y, (3, 1))) == pytest.approx(found)
    assert sliced_wasserstein(3 - 2 * x, 3 - 2 * y) == pytest.approx(2 * found)
    assert sliced_wasserstein(x, np.tile(x, (3, 1))) == pytest.approx(0, abs=1e-12)
    third = rng.normal(size=(21, 6))
    assert found <= sliced_wasserstein(x, third) + sliced_wasserstein(third, y) + 1e-12


def test_a_second_sample_beats_narrow_wide_and_collapsed_ones(rng):
    spread = np.linspace(5, 0.5, 30)
    x, y = rng.normal(size=(2, 200, 30)) * spread
    second = sliced_wasserstein(x, y)
    assert second < 0.9 * min(sliced_wasserstein(scale * x, y) for scale in (0, 0.5, 0.8, 1.25, 2))
    assert 0.3 < second < 1


def test_sliced_takes_single_cells():
    assert sliced_wasserstein(np.zeros((1, 4)), np.ones((1, 4)), n_directions=4) == pytest.approx(1)


# -- Sinkhorn ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 10.0])
def test_sinkhorn_is_pots(ot, cells, epsilon):
    expected = divergence(ot, *cells, epsilon)
    assert sinkhorn(*cells, epsilon=epsilon) == pytest.approx(expected, rel=1e-5)


def test_limits_of_the_regularisation(ot, cells):
    x, y = cells
    means = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    assert sinkhorn(x, y, epsilon=1e4) == pytest.approx(means, rel=1e-3)
    unregularised = ot.emd2([], [], ot.dist(x, y))
    assert sinkhorn(x, y, epsilon=0.005, max_iter=50_000) == pytest.approx(unregularised, rel=0.02)


@pytest.mark.parametrize("epsilon", [0.05, 1.0])
def test_a_translation_costs_its_square(ot, cells, epsilon):
    x, y = cells
    assert sinkhorn(y + 1e3, y, epsilon=epsilon) == pytest.approx(6e6)
    apart = sinkhorn(x - x.mean(axis=0), y - y.mean(axis=0), epsilon=epsilon)
    assert sinkhorn(x - x.mean(axis=0) + 2, y - y.mean(axis=0), epsilon=epsilon) == pytest.approx(
        apart + 24
    )


def test_sinkhorn_is_0_only_for_equal_populations(ot, cells, rng):
    x, y = cells
    found = sinkhorn(x, y)
    assert sinkhorn(y, rng.permutation(y)) == pytest.approx(0, abs=1e-6)
    assert sinkhorn(rng.permutation(x), rng.permutation(y)) == pytest.approx(found)
    assert sinkhorn(3 - 2 * x, 3 - 2 * y) == pytest.approx(4 * found)
    spread_only = sinkhorn(2 * (y - y.mean(axis=0)), y - y.mean(axis=0))
    assert found > 1
    assert spread_only > 1


def test_far_and_degenerate_predictions_have_a_value(ot, cells):
    x, y = cells
    outlier = x.copy()
    outlier[0] += 500
    found = [
        sinkhorn(cells, y) for cells in (100 * x, outlier, np.tile(x[:1], (9, 1)), np.zeros((2, 6)))
    ]
    assert np.isfinite(found).all()
    assert min(found) > sinkhorn(y[::2], y[1::2])


def test_a_second_sample_beats_narrow_and_wide_ones_unless_epsilon_is_small(ot, rng):
    spread = np.linspace(5, 0.5, 30)
    x, y = rng.normal(size=(2, 200, 30)) * spread
    assert sinkhorn(x, y) < 0.8 * min(sinkhorn(scale * x, y) for scale in (0.0, 0.5, 1.25, 2))
    assert sinkhorn(0.5 * x, y, epsilon=0.05, tolerance=1e-5) < 0.8 * sinkhorn(
        x, y, epsilon=0.05, tolerance=1e-5
    )


def test_sinkhorn_says_that_it_did_not_converge(ot, cells):
    with pytest.raises(
        ValueError,
        match=r"Sinkhorn stopped after 1 steps at an error of .*raise epsilon or max_iter",
    ):
        sinkhorn(*cells, epsilon=0.01, max_iter=1)


def test_without_pot_the_error_names_the_extra(cells, monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(ImportError, match=r"pip install 'shoal\[ot\]'"):
        sinkhorn(*cells)


# -- input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [sliced_wasserstein, sinkhorn])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), "equal columns"),
        (np.ones((0, 2)), np.ones((3, 2)), "at least . cells"),
        (np.array([[1, np.nan], [1, 2]]), np.ones((3, 2)), "1 of 2 rows of X hold NaN"),
    ],
)
def test_bad_populations_are_refused(metric, x, y, message):
    with pytest.raises(ValueError, match=message):
        metric(x, y)


@pytest.mark.parametrize("unit", [1e-150, 1.0, 1e150])
def test_a_high_order_is_the_largest_gap_in_any_unit(unit):
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = x + np.array([2.0, 0, 0])
    largest = sliced_wasserstein(unit * x, unit * y, n_directions=3, p=5000)
    exact = sliced_wasserstein(x, y, n_directions=3, p=60)
    assert largest == pytest.approx(unit * exact, rel=0.05)


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        (sliced_wasserstein, {"n_directions": 0}, "n_directions must be a whole number"),
        (sliced_wasserstein, {"p": 0.5}, "p must be a finite order of at least 1, not 0.5"),
        (sinkhorn, {"epsilon": 0}, "epsilon must be above 0"),
        (sinkhorn, {"max_iter": 0}, "max_iter must be a whole number"),
        (sinkhorn, {"tolerance": -1}, "tolerance must be a finite number of at least 0"),
    ],
)
def test_bad_options_are_refused(metric, options, message, cells):
    with pytest.raises(ValueError, match=message):
        metric(*cells, **options)


def test_equal_real_cells_give_no_scale(cells):
    with pytest.raises(ValueError, match="median distance between the 5 rows is 0"):
        sinkhorn(cells[0], np.ones((5, 6)))
