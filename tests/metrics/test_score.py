"""The score: closed forms, bounds, weights, harm, and where there is no score."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.metrics._harm import HARM
from shoal.metrics._responds import SILENT
from shoal.metrics._score import Judge, achieved, interval

N = 24
CONTENDERS = ["positive", "negative", "copy", "reference", "own"]
POSITIVE, NEGATIVE, COPY, REFERENCE, OWN = range(5)


def judge(
    losses, *, family=None, harmful=(), tells=None, draws=5, responds=True, owner=None, silent=0
):
    """A judge of metrics with these losses: metric -> contender -> loss, or (P,) losses; the first conditions are silent."""
    n = len(losses)
    conditions = np.array(
        [[np.broadcast_to(own[i], N) for own in losses.values()] for i in range(5)], dtype=float
    )
    return Judge(
        conditions=conditions,
        draws=np.zeros((5, n, draws)),
        owner=np.arange(N) if owner is None else owner,
        family=tuple(losses) if family is None else family,
        tells=np.ones(n, dtype=bool) if tells is None else np.array(tells),
        harmful=np.array([name in harmful for name in losses]),
        positive=POSITIVE,
        copy=COPY,
        negative=np.full(n, NEGATIVE),
        silent=np.arange(N) < silent,
        responds=responds,
    )


def test_achieved_is_the_part_of_the_range_and_ends_below_only():
    found = achieved([0.1, 0.4, 0.7, 9.0, -0.2], positive=0.1, negative=0.7)
    np.testing.assert_allclose(found, [1, 0.5, 0, -1, 1.5])
    assert np.isnan(achieved(0.3, positive=0.5, negative=0.5))


def test_closed_form_of_one_metric():
    judged = judge({"m": [0.2, 1.0, 1.0, 0.8, 0.4]}).judge(REFERENCE)
    np.testing.assert_allclose(judged.achieved[0], [1, 0, 0, 0.25, 0.75])
    np.testing.assert_allclose(judged.score[0], [1, -1 / 3, -1 / 3, 0, 2 / 3])
    assert (judged.harm == 0).all()
    assert judged.reason == ""


def test_metrics_count_by_their_range_in_families_that_count_by_theirs():
    """Relative ranges are .8, .2 and .5, so the families weigh .5 (mean of .8 and .2) and .5."""
    losses = {
        "wide": [0.2, 1.0, 1.0, 1.0, 0.2],  # own: as a second experiment
        "narrow": [0.8, 1.0, 1.0, 1.0, 1.2],  # own: as far below ignorance
        "alone": [0.5, 1.0, 1.0, 1.0, 1.0],  # own: knows nothing
    }
    found = judge(losses, family=("a", "a", "b")).judge(REFERENCE).achieved[0, OWN]
    assert found == pytest.approx(((0.8 * 1 + 0.2 * -1) / 1.0 + 0) / 2)
    deaf = judge(losses, family=("a", "a", "b"), tells=[True, False, True])
    assert deaf.judge(REFERENCE).achieved[0, OWN] == pytest.approx(0.8 / (0.8 + 0.5))


def test_a_narrow_metric_does_not_decide():
    """Half the distance of the reference on a wide metric outweighs the end of the scale on two narrow ones."""
    shape = [0.2, 0.22, 0.22, 0.22, 0.9]
    losses = {"energy": [0.0, 4.0, 4.0, 3.16, 1.54], "correlation": shape, "bimodality": shape}
    assert judge(losses, family=("p",) * 3).judge(REFERENCE).score[0, OWN] > 0.2


def test_a_second_experiment_has_one_and_the_reference_zero_in_every_resample(rng):
    centre = np.array([0, 1, 1, 0.7, 0.5])[:, None]
    losses = {name: rng.uniform(0, 1, (5, N)) + centre for name in "abc"}
    several = judge(losses, family=("f", "f", "g"))
    judged = several.judge(REFERENCE, weights=several.resampled(200, rng))
    np.testing.assert_allclose(judged.score[:, POSITIVE], 1)
    np.testing.assert_allclose(judged.score[:, REFERENCE], 0)
    assert np.ptp(judged.score[:, OWN]) > 0


def test_a_fresh_second_experiment_is_not_biased_and_its_interval_holds_one(rng):
    """What is better than the positive control by chance is not cut off, so the mean is 1."""
    scores, held = [], 0
    for _ in range(200):
        noise = rng.normal(0, 0.2, (5, N))
        one = judge({"m": noise + np.array([0.3, 1.0, 1.0, 0.8, 0.3])[:, None]})
        drawn = one.judge(REFERENCE, weights=one.resampled(300, rng)).score[:, OWN]
        found = interval(drawn, n_owners=N)
        scores.append(found.value)
        held += found.low <= 1 <= found.high
    assert np.mean(scores) == pytest.approx(1, abs=3 * np.std(scores) / np.sqrt(200) + 0.01)
    assert held >= 180


def test_draws_widen_the_interval(rng):
    one = judge({"m": [0.2, 1.0, 1.0, 0.8, 0.4]})
    one.draws[OWN] = [-0.2, -0.1, 0, 0.1, 0.2]
    drawn = one.judge(REFERENCE, weights=one.resampled(2000, rng)).score[:, OWN]
    assert drawn[0] == pytest.approx(2 / 3)
    assert drawn.std() == pytest.approx(np.sqrt(0.02 / 5) / 0.6, rel=0.1)


def test_conditions_of_a_perturbation_are_drawn_together(rng):
    one = judge({"m": [0.2, 1.0, 1.0, 0.8, np.tile([0.2, 0.6], N // 2)]}, owner=np.arange(N) // 2)
    drawn = one.judge(REFERENCE, weights=one.resampled(100, rng)).score[:, OWN]
    np.testing.assert_allclose(drawn, 2 / 3)  # every pair of conditions has the same mean
    alone = judge({"m": [0.2, 1.0, 1.0, 0.8, 0.4]}, owner=np.zeros(N))
    found = interval(alone.judge(REFERENCE).score[:, OWN], n_owners=alone.n_owners)
    assert np.isnan([found.low, found.high]).all()


# -- where there is no score -----------------------------------------------------------------------


def test_a_reference_that_leaves_no_room():
    judged = judge({"m": [0.2, 1.0, 1.0, 0.3, 0.4]}).judge(REFERENCE)
    assert np.isnan(judged.score).all()
    assert "too little is left to gain" in judged.reason
    assert judged.achieved[0, OWN] == pytest.approx(0.75)


def test_no_metric_that_tells_and_no_reference():
    losses = {"m": [0.2, 1.0, 1.0, 0.8, 0.4]}
    deaf = judge(losses, tells=[False]).judge(REFERENCE)
    assert np.isnan(deaf.score).all()
    assert np.isnan(deaf.achieved).all()
    lost = judge(losses).judge(None)
    assert np.isnan(lost.score).all()
    assert lost.reason == "there is no reference"


# -- harm ------------------------------------------------------------------------------------------


def invented(rng, copy, own, spread=0.02):
    """Losses of an energy distance: the controls and the copy near one another, an invention apart."""
    centre = np.array([0, copy, copy, copy, own])[:, None]
    return {"energy": centre + rng.normal(0, spread, (5, N))}


def test_an_invention_is_harm_though_the_metric_cannot_tell(rng):
    one = judge(invented(rng, 0, 1.46), harmful=("energy",), tells=[False])
    judged = one.judge(REFERENCE)
    assert judged.score[0, COPY] == 0
    assert judged.score[0, OWN] == pytest.approx(-HARM, abs=0.02)


def test_harm_is_the_part_of_the_loss_beyond_that_of_the_copy(rng):
    one = judge(invented(rng, 0.5, 1.0, spread=1e-6), harmful=("energy",))
    np.testing.assert_allclose(one.judge(REFERENCE).harm[0, [0, 4]], [0, 0.5 * HARM], atol=1e-5)


def test_chance_is_rarely_harm(rng):
    n = 0
    for _ in range(200):
        one = judge(invented(rng, 0.5, 0.5, spread=0.2), harmful=("energy",))
        n += one.judge(REFERENCE).harm[0, OWN] > 0.05 * HARM
    assert n <= 12  # one side of an interval of 95 %


def test_where_nothing_responds_the_copy_is_first_and_inventions_are_below(rng):
    losses = invented(rng, 0, 0.05) | {"m": [0.2, 1.0, 1.0, 0.8, 0.1]}
    one = judge(losses, harmful=("energy",), responds=False)
    judged = one.judge(REFERENCE)
    assert (judged.achieved == 0).all()
    assert judged.score[0, COPY] == 0
    assert (judged.score <= 0).all()
    assert judged.score[0, OWN] < -0.3
    assert judged.reason == "nothing responds"


def test_harm_with_one_perturbation_is_told_by_the_draws():
    one = judge({"energy": [0, 0.5, 0.5, 0.5, 1.0]}, harmful=("energy",), owner=np.zeros(N))
    one.draws[OWN] = [-0.02, -0.01, 0, 0.01, 0.02]
    assert one.judge(REFERENCE).harm[0, OWN] > 0.4
    single = judge(
        {"energy": [0, 0.5, 0.5, 0.5, 1.0]}, harmful=("energy",), owner=np.zeros(N), draws=1
    )
    assert single.judge(REFERENCE).harm[0, OWN] == 0


# -- harm in silent conditions ---------------------------------------------------------------------

SOME = 12  # silent conditions, half of all


def responding(own_silent, own_rest, rng, spread=1e-6):
    """Energy of conditions of which half respond: the copy loses 1 in these and nothing in the silent ones."""
    half = np.arange(N) < SOME
    rest = [0, 1, 1, 1, own_rest]
    centre = np.where(half, np.array([0, 0, 0, 0, own_silent])[:, None], np.array(rest)[:, None])
    return {"energy": centre + rng.normal(0, spread, (5, N))}


def test_a_gain_elsewhere_does_not_make_up_for_an_invention(rng):
    """The excess .5 in the silent half, by the loss .5 of the copy in all: 1.5 x share x .5."""
    losses = responding(0.5, 0.0, rng)
    overlooked = judge(losses, harmful=("energy",)).judge(REFERENCE)
    assert overlooked.harm[0, OWN] == 0  # a mean loss of .25 beside .5
    one = judge(losses, harmful=("energy",), silent=SOME)
    judged = one.judge(REFERENCE)
    share = SOME / N / (1 - SILENT)
    assert judged.harm[0, OWN] == pytest.approx(HARM * share * 0.5 / (0.5 + 0.5), abs=1e-4)
    np.testing.assert_allclose(judged.harm[0, [POSITIVE, COPY]], 0, atol=1e-6)
    assert judged.score[0, OWN] < overlooked.score[0, OWN]


def test_what_is_small_beside_real_responses_is_little_harm(rng):
    one = judge(responding(0.01, 0.0, rng), harmful=("energy",), silent=SOME)
    assert 0 < one.judge(REFERENCE).harm[0, OWN] < 0.02


def test_the_larger_harm_counts_once(rng):
    """Worse everywhere: no more than by all conditions together, where these decide."""
    losses = responding(0.2, 9.0, rng)
    all_together = judge(losses, harmful=("energy",)).judge(REFERENCE).harm[0, OWN]
    with_silent = judge(losses, harmful=("energy",), silent=SOME).judge(REFERENCE).harm[0, OWN]
    assert all_together == pytest.approx(with_silent)
    assert all_together > 1


@pytest.mark.parametrize("silent", [2, 4, SOME])
def test_chance_in_silent_conditions_is_rarely_harm(rng, silent):
    n = 0
    for _ in range(200):
        losses = responding(0.0, 0.0, rng, spread=0.2)
        one = judge(losses, harmful=("energy",), silent=silent)
        n += one.judge(REFERENCE).harm[0, OWN] > 0.05 * HARM
    assert n <= 14  # one side of an interval of 95 %


def test_a_single_silent_perturbation_tells_nothing(rng):
    one = judge(responding(0.5, 0.0, rng), harmful=("energy",), silent=1)
    assert one.judge(REFERENCE).harm[0, OWN] == 0


def test_resamples_without_a_silent_condition_have_no_harm_there(rng):
    one = judge(responding(0.5, 0.0, rng), harmful=("energy",), silent=2)
    judged = one.judge(REFERENCE, weights=one.resampled(300, rng))
    assert np.isfinite(judged.score).all()
    assert (judged.harm[:, OWN] == 0).any()
    assert (judged.harm[:, OWN] > 0).any()
