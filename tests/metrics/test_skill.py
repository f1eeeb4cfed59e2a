from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

from shoal.metrics._calibration import best_baseline
from shoal.metrics._skill import paired_difference, skill

NAN = np.nan


def value(prediction, best, second):
    """Skill of constant losses."""
    losses = [np.full(3, float(one)) for one in (prediction, best, second)]
    return skill(losses[0], losses[1], positive_control=losses[2], n_boot=10).value


@pytest.fixture
def losses(rng):
    """Losses of a prediction, of a baseline and of a second experiment in 40 conditions of unequal difficulty."""
    hard = rng.lognormal(0, 0.7, 40)
    return hard * rng.uniform(0.5, 1, 40), hard, 0.3 * hard


# -- value -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "best", "second", "expected"),
    [
        (5, 5, 1, 0),
        (1, 5, 1, 1),
        (3, 5, 1, 0.5),
        (0, 5, 1, 1),  # beyond a second experiment: no more than 1
        (9, 5, 1, -0.5),
        (1e9, 5, 1, -1),
        (4.5, 5, -0.5, 0.5 / 5.5),  # an unbiased distance of the second experiment
    ],
)
def test_closed_form(prediction, best, second, expected):
    assert value(prediction, best, second) == pytest.approx(expected)


@pytest.mark.parametrize("second", [9.5, 10, 12, 1e6])
def test_with_next_to_nothing_to_gain_a_tenth_of_the_loss_is_a_full_mark(second):
    assert value(9, 10, second) == pytest.approx(1)
    assert value(9.5, 10, second) == pytest.approx(0.5)
    assert value(9.9999, 10, second) == pytest.approx(0, abs=1e-3)
    assert value(100, 10, second) == pytest.approx(-90 / 91)


def test_skill_falls_steadily_with_the_loss_and_stays_within_bounds():
    for second in (0, 5, 9.9, 11):
        found = np.array([value(one, 10, second) for one in np.geomspace(0.001, 1e6, 60)])
        assert (np.diff(found) <= 0).all()
        assert 0.999 < found.max() <= 1
        assert -1 <= found.min() < -0.99


def test_skill_is_antisymmetric_and_blind_to_units(losses):
    prediction, best, second = losses
    forth = skill(prediction, best, positive_control=second)
    back = skill(best, prediction, positive_control=second)
    assert forth.value == pytest.approx(-back.value)
    scaled = skill(1e3 * prediction, 1e3 * best, positive_control=1e3 * second)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx(
        (forth.value, forth.low, forth.high)
    )


def test_skill_is_a_ratio_of_means_over_shared_conditions(losses):
    prediction, best, second = (one.copy() for one in losses)
    prediction[:3], best[3:5], second[5] = NAN, NAN, NAN
    means = [one[6:].mean() for one in (prediction, best, second)]
    found = skill(prediction, best, positive_control=second)
    assert found.value == pytest.approx((means[1] - means[0]) / (means[1] - means[2]))
    assert found.n == 34
    assert found.reason == ""
    complete = skill(prediction[6:], best[6:], positive_control=second[6:])
    assert (found.low, found.high) == (complete.low, complete.high)


def test_no_value_comes_with_its_reason(losses):
    prediction, best, second = losses
    nothing = skill(np.full(40, NAN), best, positive_control=second)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert "no condition has a value" in nothing.reason
    for perfect in (np.zeros(40), best - 10):
        assert (
            "nothing is left to gain" in skill(prediction, perfect, positive_control=second).reason
        )
    assert "both" in paired_difference(prediction, np.full(40, NAN)).reason


def test_choosing_the_best_of_many_equals_errs_on_the_side_of_the_baselines(rng):
    """The winner's curse: a model no better or worse than twelve baselines gets a skill below 0, and not by much."""
    found = []
    for _ in range(200):
        table = rng.normal(1, 0.3, (13, 20))
        best = table[best_baseline(table[:12])]
        found.append(skill(table[12], best, positive_control=np.full(20, 0.2), n_boot=1).value)
    assert -0.2 < np.mean(found) < -4 * stats.sem(found)


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("n", "kind"), [(12, "better"), (40, "better"), (40, "worse")])
def test_the_interval_of_skill_covers(n, kind, rng):
    better = kind == "better"

    def draw(size):
        best = rng.lognormal(0, 0.5, size)
        prediction = (0.75 if better else 1.5) * best * rng.lognormal(0, 0.3, size)
        return prediction, best, 0.4 * best * rng.lognormal(0, 0.2, size)

    means = [one.mean() for one in draw(1_000_000)]
    truth = (means[1] - means[0]) / (max(means[:2]) - means[2])
    hits = []
    for _ in range(300):
        prediction, best, second = draw(n)
        found = skill(prediction, best, positive_control=second, n_boot=400, rng=rng)
        hits.append(found.low <= truth <= found.high)
    assert 0.89 <= np.mean(hits) <= 0.985


@pytest.mark.slow
def test_the_interval_covers_where_perturbations_have_several_conditions(rng):
    """Doses of one perturbation share its effect: drawn one by one, they promise too much."""
    owner = np.repeat(np.arange(15), 6)
    hits = np.zeros((300, 2))
    for k in range(300):
        a = 0.3 + np.repeat(rng.normal(size=15), 6) + 0.3 * rng.normal(size=90)
        for how, who in enumerate((owner, None)):
            found = paired_difference(a, np.zeros(90), owner=who, n_boot=400, rng=rng)
            hits[k, how] = found.low <= 0.3 <= found.high
    together, apart = hits.mean(axis=0)
    assert 0.89 <= together <= 0.985
    assert apart < 0.75


def test_the_interval_is_that_of_scipy_at_the_widened_level(losses):
    prediction, best, _ = losses
    tail = stats.norm.sf(np.sqrt(40 / 39) * stats.t.ppf(0.975, 39))
    expected = stats.bootstrap(
        (prediction - best,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        confidence_level=1 - 2 * tail,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    found = paired_difference(prediction, best, n_boot=20_000)
    width = found.high - found.low
    assert found.value == pytest.approx(np.mean(prediction - best))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03 * width)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_of_few_perturbations_seldom_misses_a_true_zero(n, rng):
    """Two perturbations agree in sign by chance half of the time, which shows nothing."""
    missed = 0
    for _ in range(400):
        found = paired_difference(rng.normal(size=n), np.zeros(n), n_boot=200, rng=rng)
        missed += not found.low <= 0 <= found.high
    assert missed <= 400 * 0.08


def test_the_interval_of_two_perturbations_is_that_of_student():
    found = paired_difference(np.array([0.1, 0.3]), np.zeros(2), n_boot=40_000)
    half = stats.t.ppf(0.975, 1) * 0.1  # the standard error of the mean is half the distance
    assert (found.low, found.high) == pytest.approx((0.2 - half, 0.2 + half), rel=0.02)


def test_owners_are_names_and_their_order_does_not_matter(losses):
    prediction, best, second = losses
    owner = np.array(["b", "a", "c", "d"]).repeat(10)
    found = skill(prediction, best, positive_control=second, owner=owner)
    again = skill(prediction[::-1], best[::-1], positive_control=second[::-1], owner=owner[::-1])
    assert (found.value, found.low, found.high) == pytest.approx(
        (again.value, again.low, again.high)
    )
    assert found.low < found.value < found.high


def test_a_pair_is_compared_as_a_pair(rng):
    """A small steady advantage among conditions of very unequal difficulty."""
    hard = rng.lognormal(0, 1, 30)
    found = paired_difference(hard - 0.05 + 0.01 * rng.normal(size=30), hard)
    assert found.high < 0
    assert found.high - found.low < 0.02
    swapped = paired_difference(hard, hard - 0.05)
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((0.05, 0.05, 0.05))


def test_draws_do_not_depend_on_the_memory_they_are_made_in(losses, monkeypatch):
    prediction, best, second = losses
    expected = skill(prediction, best, positive_control=second, rng=3)
    monkeypatch.setattr("shoal.metrics._skill.CHUNK", 100)
    assert skill(prediction, best, positive_control=second, rng=3) == expected
    assert skill(prediction, best, positive_control=second, rng=4) != expected


def test_one_perturbation_has_no_interval(losses):
    prediction, best, second = losses
    found = skill(prediction, best, positive_control=second, owner=np.zeros(40))
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"owner": np.zeros(3)},
            r"owner must name the perturbation of each of 40 conditions, not be of shape \(3,\)",
        ),
        ({"n_boot": 0}, "n_boot must be a whole number"),
        ({"level": 1}, "level must be between 0 and 1, not 1"),
    ],
)
@pytest.mark.parametrize("kind", ["skill", "difference"])
def test_bad_options_are_refused(kind, options, message, losses):
    prediction, best, second = losses
    function = partial(skill, positive_control=second) if kind == "skill" else paired_difference
    with pytest.raises(ValueError, match=message):
        function(prediction, best, **options)


def test_losses_of_unlike_lengths_are_refused(losses):
    with pytest.raises(ValueError, match="1-D arrays of one length"):
        skill(losses[0], losses[1], positive_control=losses[2][:5])
    with pytest.raises(ValueError, match="1-D arrays of one length"):
        paired_difference(losses[0], losses[1][:5])
