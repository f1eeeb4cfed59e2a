"""The score: closed form, bounds, symmetry, units, and why it is no mean of skills."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.metrics._score import WORST, overall, shortfall
from shoal.metrics._skill import skill


@pytest.fixture
def losses(rng):
    """Positive control, negative control and a contender between them."""
    good = rng.uniform(0.1, 0.3, 20)
    return good, good + 1.0, good + 0.25


def test_closed_form(losses):
    good, bad, own = losses
    assert shortfall(own, positive_control=good, negative_control=bad) == pytest.approx(0.25)
    assert shortfall(good, positive_control=good, negative_control=bad) == 0
    assert shortfall(bad, positive_control=good, negative_control=bad) == pytest.approx(1)


def test_it_ends_at_a_second_experiment_and_at_the_worst(losses):
    good, bad, _ = losses
    assert shortfall(good - 5, positive_control=good, negative_control=bad) == 0
    assert shortfall(bad + 50, positive_control=good, negative_control=bad) == WORST


def test_a_metric_without_a_range_or_without_values_has_none(losses):
    good, bad, own = losses
    assert np.isnan(shortfall(own, positive_control=bad, negative_control=good))
    assert np.isnan(shortfall(own, positive_control=good, negative_control=good))
    assert np.isnan(shortfall(own * np.nan, positive_control=good, negative_control=bad))
    with pytest.raises(ValueError, match="of one length"):
        shortfall(own[1:], positive_control=good, negative_control=bad)


def test_it_is_blind_to_units_and_to_an_offset(losses):
    good, bad, own = losses
    for change in (lambda x: 1000 * x, lambda x: x + 7):
        found = shortfall(change(own), positive_control=change(good), negative_control=change(bad))
        assert found == pytest.approx(0.25)


def test_only_conditions_that_all_have_count(losses):
    good, bad, own = (one.copy() for one in losses)
    own[0], own[3], bad[3] = np.nan, 99.0, np.nan
    assert shortfall(own, positive_control=good, negative_control=bad) == pytest.approx(0.25)


def test_the_score_is_antisymmetric_bounded_and_falls_with_the_shortfall(rng):
    reference = rng.uniform(0.2, 0.6, 9)
    assert overall(np.zeros(9), reference) == 1
    assert overall(reference, np.zeros(9)) == -1
    assert overall(reference, reference) == 0
    assert overall(np.zeros(9), np.zeros(9)) == 0
    several = [overall(reference * factor, reference) for factor in np.linspace(0, 5, 11)]
    assert (np.diff(several) < 0).all()
    assert min(several) > -1
    other = rng.uniform(0, 2, 9)
    assert overall(other, reference) == pytest.approx(-overall(reference, other))


def test_only_metrics_that_both_have_count():
    assert overall([0.1, np.nan, 0.1], [0.2, 0.9, np.nan]) == pytest.approx(0.5)
    assert np.isnan(overall([np.nan], [0.2]))


def test_a_metric_on_which_a_baseline_equals_a_second_experiment_does_not_decide(rng):
    """Skill is noise there; the score of a prediction that is better elsewhere and alike here stays near what it should be."""
    scores, skills = [], []
    for _ in range(200):
        noise = rng.normal(0, 0.01, (3, 12))
        good, best, own = 0.3 + noise  # all three are alike
        bad = np.full(12, 0.9)
        here = {"positive_control": good, "negative_control": bad}
        alike = [shortfall(own, **here), shortfall(best, **here)]
        scores.append(
            overall([0.2, alike[0]], [0.4, alike[1]])
        )  # elsewhere half of what is to be gained was gained
        skills.append((0.5 + skill(own, best, positive_control=good, n_boot=2).value) / 2)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)
    assert np.std(scores) < 0.02
    assert np.std(skills) > 2 * np.std(scores)
