"""Draws of halves and controls, values that are missing, harm, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.evaluation._scores import Drawn, by_condition_and_draw, mean_over_draws

from ..helpers import dense
from .tasks import FEW, TWINS, evaluated, give, held_out, screen


def test_the_first_draw_is_the_same_whatever_their_number():
    from shoal.core._population import population
    from shoal.core._screen import resolve
    from shoal.evaluation._task import evaluation_tasks

    adata = screen(sizes=(40,) * 6)
    options = {"split": "test", "halves": True, "n_comps": 5, "min_cells": 20, "seed": 3}
    cells = population(adata, resolve(adata))
    (alone,), several = (evaluation_tasks(cells, n_draws=n, **options) for n in (1, 3))
    for kind in ("predicted", "real", "controls", "others", "copies"):
        for one, other in zip(getattr(alone, kind), getattr(several[0], kind), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len({tuple(np.concatenate(task.predicted)) for task in several}) == 3
    for task in several:  # halves are halves of the same conditions
        whole = [sorted([*a, *b]) for a, b in zip(task.predicted, task.real, strict=True)]
        first = [sorted([*a, *b]) for a, b in zip(alone.predicted, alone.real, strict=True)]
        assert whole == first
        assert task.truth.names == alone.truth.names


def test_values_are_means_over_draws():
    one = Drawn(np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]]), {})
    np.testing.assert_array_equal(one.values, [2, 4, np.nan])
    means, effects = by_condition_and_draw(np.array([[1.0, 2.0], [3.0, 6.0]]))
    np.testing.assert_array_equal(means, [2, 4])
    np.testing.assert_array_equal(effects, [-1.5, 1.5])
    assert mean_over_draws(np.full((2, 1), np.nan)).tolist() == pytest.approx([np.nan], nan_ok=True)


def test_baselines_are_fitted_once_for_all_draws(monkeypatch):
    from shoal.evaluation import _baseline_predictions

    calls, real = [], _baseline_predictions.fit_baseline
    monkeypatch.setattr(
        _baseline_predictions,
        "fit_baseline",
        lambda cells, name, **kw: (calls.append(name), real(cells, name, **kw))[1],
    )
    evaluated(screen(), baselines=["mean_shift", "perturbed_mean"], n_draws=3)
    assert calls == ["mean_shift", "perturbed_mean"]


def test_more_draws_make_the_score_steadier():
    adata = screen(sizes=(30,) * 6)
    scores = {
        n: [
            evaluated(adata, baselines=["perturbed_mean"], n_draws=n, rng=seed, metrics=FEW[:3])[
                "contenders"
            ].loc["perturbed_mean", "achieved"]
            for seed in range(6)
        ]
        for n in (1, 8)
    }
    assert np.std(scores[8]) < 0.7 * np.std(scores[1])


def test_no_draw_is_refused():
    with pytest.raises(ValueError, match="n_draws must be a whole number"):
        evaluated(screen(), n_draws=0)


# -- missing values --------------------------------------------------------------------------------


def test_the_control_copy_is_not_credited_with_a_correlation():
    """Its shift is 0, so it has none; before, it had that of the negative control, and was the best baseline."""
    entry = evaluated(
        screen(),
        metrics=["pearson_delta", "cosine_delta", "energy"],
        baselines=["context_mean"],
    )
    summary, contenders = entry["summary"], entry["contenders"]
    assert np.isnan(contenders.loc["control copy", "pearson_delta"])
    assert (summary.loc[["pearson_delta", "cosine_delta"], "best_baseline"] != "control copy").all()


def test_a_prediction_without_a_value_is_at_most_one_of_no_agreement():
    """Copies of the mean control have no correlation. They achieve no more than a correlation of 0 would."""
    adata = screen()
    control = dense(adata.X)[adata.obs["perturbation"] == "control"].mean(axis=0)
    give(adata, np.tile(control, (adata.n_obs, 1)))
    entry = evaluated(adata, metrics=["similarity_structure", "pearson_delta"], n_draws=2)
    if np.isnan(entry["summary"].loc["pearson_delta", "value"]):
        assert entry["contenders"].loc["prediction", "achieved"] <= 0


# -- where nothing responds ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def null():
    """A screen without effects; its predictions move 15 genes up."""
    adata = sh.ds.simulate(
        n_perturbations=10, n_cells=40, n_control=200, n_genes=60, effects="null", rng=1
    )
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    sh.tl.predict(adata, sh.tl.fit(adata, "control"), key_added=TWINS, subset="test")
    return adata


def test_the_copy_is_first_where_nothing_responds(null):
    adata = null.copy()
    moved = dense(adata.layers[TWINS])
    moved[np.ix_(held_out(adata), np.arange(15))] += 1
    adata.layers[TWINS] = moved.astype(np.float32)
    entry = evaluated(adata, metrics=[*FEW, "de_wrong"], baselines=["mean_shift"], n_draws=2)
    scores, params = entry["contenders"]["score"], entry["params"]
    assert not params["responds"]
    assert params["verdict"].startswith(
        "nothing to predict here: unchanged controls are the right answer; 'twins' invents a response"
    )
    assert scores["control copy"] == 0 == scores.max()
    assert scores["prediction"] < -1
    assert (entry["contenders"]["achieved"] == 0).all()


def test_who_changes_nothing_is_right_there(null):
    entry = evaluated(null.copy(), metrics=["energy", "de_wrong"], baselines=["mean_shift"])
    assert entry["params"]["score"] > -0.5
    assert not entry["params"]["responds"]


# -- the verdict -----------------------------------------------------------------------------------


def test_the_verdict_counts_wins_losses_and_ties_and_is_logged(caplog):
    adata = screen()
    give(adata, dense(adata.X))
    with caplog.at_level("INFO", logger="shoal"):
        entry = evaluated(adata, baselines=["mean_shift"], n_draws=2)
    summary, params = entry["summary"], entry["params"]
    known = summary[summary["discriminates"] & summary["skill_low"].notna()]
    wins = int((known["skill_low"] > 0).sum())
    assert params["verdict"].startswith(f"'twins' wins on {wins}, loses on 0 and ties on ")
    assert (
        f"of {len(known)} metrics against the baseline mean_shift (1 more has no interval); "
        "score 1.0" in params["verdict"]
    )
    assert params["verdict"] in caplog.text
    assert params["responds"]


def test_the_verdict_on_the_reference_itself():
    entry = evaluated(screen(), baselines=["perturbed_mean"], n_draws=2)
    assert entry["params"]["reference"] == "mean_shift"
    give_back = screen()
    sh.tl.predict(
        give_back, sh.tl.fit(give_back, "control"), key_added=TWINS, subset="test", overwrite=True
    )
    assert "the control copy" in evaluated(give_back, n_draws=2)["params"]["verdict"]


def test_one_perturbation_has_no_interval_and_that_is_said():
    adata = screen(sizes=(60, 60))
    entry = evaluated(adata, baselines=["perturbed_mean"], n_draws=3)
    params = entry["params"]
    assert len(entry["conditions"]) == 1
    assert np.isnan([params["score_low"], params["score_high"]]).all()
    assert "wins on" not in params["verdict"]
    assert "no metric has an interval" in params["verdict"]
    assert "without an interval: there is one perturbation" in params["verdict"] or np.isnan(
        params["score"]
    )
