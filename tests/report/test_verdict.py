"""The verdict in words: what it claims follows from intervals, and from nothing else."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal._verdict import verdict
from shoal.core._results import write_table
from shoal.report._verdict import in_words

NAMES = ["A", "B", "C", "D"]


def measured(q=(0.001, 0.001, 0.5, np.nan), **more):
    n = len(q)
    return {
        "table": pd.DataFrame(
            {
                "qvalue": q,
                "magnitude": np.linspace(1, 2, n),
                "ci_low": 0.1,
                "residual": -0.1,
                "residual_qvalue": [0.01, *[0.5] * (n - 1)],
                **more,
            },
            index=NAMES[:n],
        ),
        "params": {"replicate_key": "guide"},
    }


def judged(
    low, high, *, score=0.3, skills=((0.1, 0.4), (-0.4, -0.1), (-0.1, 0.2)), energies=None, **params
):
    """An evaluation of which the interval of the score and those of three metrics are given."""
    summary = pd.DataFrame(skills, ["energy", "mae", "nir"], ["skill_low", "skill_high"])
    summary["discriminates"] = True
    energies = energies or {
        "prediction": [0.1, 0.2, 0.9],
        "mean_shift": [0.2, 0.3, 0.4],
        "control copy": [0.5, 0.5, 0.5],
        "positive control": [0.0, 0.0, 0.0],
    }
    n = len(energies["prediction"])
    rows = [
        {"contender": who, "condition": NAMES[i], "metric": "energy", "value": value}
        for who, values in energies.items()
        for i, value in enumerate(values)
    ]
    about = pd.DataFrame({"perturbation": NAMES[:n], "silent": False}, index=NAMES[:n])
    return {
        "summary": summary,
        "scores": pd.DataFrame(rows),
        "conditions": about,
        "contenders": pd.DataFrame({"score": [score, 0.0]}, ["prediction", "mean_shift"]),
        "params": {
            "prediction": "flow",
            "reference": "mean_shift",
            "suite": "calibrated",
            "split": "test",
            "responds": True,
            "verdict": "what evaluate says",
            "score": score,
            "score_low": low,
            "score_high": high,
            **params,
        },
    }


def said(coherence=None, evaluation=None):
    """The verdict on an AnnData that holds these results."""
    adata = ad.AnnData(np.zeros((2, 2)))
    for name, result in (("coherence", coherence), ("evaluation", evaluation)):
        if result is not None:
            own = {"table": pd.DataFrame(index=["x"])} | result
            write_table(adata, name, schema=f"{name}/1", **own)
    return verdict(adata)


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (0.01, 0.5, "'flow' predicts 3 held-out conditions better than the baseline mean_shift."),
        (-0.5, -0.01, "'flow' predicts 3 held-out conditions worse than the baseline mean_shift."),
        (-0.1, 0.5, "'flow' cannot be told from the baseline mean_shift on 3 held-out conditions."),
        (0.0, 0.5, "'flow' cannot be told from the baseline mean_shift on 3 held-out conditions."),
    ],
)
def test_it_claims_what_the_interval_of_the_score_says(low, high, claim):
    assert said(evaluation=judged(low, high)).headline == claim


def test_a_metric_is_named_only_where_its_interval_leaves_out_0():
    lines = said(evaluation=judged(0.1, 0.5)).lines
    assert "Better on one metric: energy." in lines
    assert "Worse on one metric: mae." in lines
    assert not any("nir" in line for line in lines)
    none = said(evaluation=judged(0.1, 0.5, skills=[(np.nan, np.nan)] * 3)).lines
    assert not any(line.startswith(("Better on", "Worse on")) for line in none)


def test_the_sentence_of_evaluate_stands_once_and_unchanged():
    assert str(said(evaluation=judged(0.1, 0.5))).count("What evaluate says.") == 1


def test_conditions_are_counted_and_those_further_than_controls_are_named():
    text = str(said(evaluation=judged(0.1, 0.5)))
    assert "than the baseline mean_shift in 2 of 3 conditions that respond" in text
    assert "Further from the real cells than unchanged controls: C." in text


def test_silent_conditions_are_neither_won_nor_lost():
    evaluation = judged(0.1, 0.5)
    evaluation["conditions"]["silent"] = [True, False, False]
    text = str(said(evaluation=evaluation))
    assert "in 1 of 2 conditions that respond" in text
    assert "there is nothing to say: A." in text


def test_where_nothing_responds_evaluate_has_the_word():
    nothing = "nothing to predict here: unchanged controls are the right answer; 'flow' is no worse"
    found = said(evaluation=judged(-0.1, 0.1, responds=False, verdict=nothing))
    assert found.headline == f"3 held-out conditions: {nothing}."
    assert nothing[10:] not in "".join(found.lines)


def test_one_perturbation_has_no_interval_and_no_winner():
    one = judged(np.nan, np.nan, skills=[(np.nan, np.nan)] * 3)
    one["conditions"]["perturbation"] = "A"
    found = said(measured(q=(0.001,)), one)
    assert found.headline.startswith("A responds (q < 0.05). There is no verdict on 'flow'")
    assert "no interval" in found.headline
    assert "better" not in str(found).lower()


def test_without_a_score_or_a_reference_there_is_no_verdict():
    assert (
        "no score could be made" in said(evaluation=judged(np.nan, np.nan, score=np.nan)).headline
    )
    other = judged(np.nan, np.nan, score=0.4, verdict="", reference="", suite="vcc")
    assert "The suite vcc has no reference" in said(evaluation=other).headline
    assert "Score of the suite vcc: 0.400." in said(evaluation=other).lines


def test_a_suite_without_intervals_has_no_winner():
    """The suite of the 2026 challenge has a reference and a sentence, and no intervals."""
    other = judged(np.nan, np.nan, suite="vcc2026", skills=[(np.nan, np.nan)] * 3)
    found = said(evaluation=other)
    assert "in the suite vcc2026 scores have no interval" in found.headline
    assert "What evaluate says." in found.lines


def test_a_measurement_alone_and_a_prediction_alone():
    alone = said(measured())
    assert alone.headline == "2 of 4 perturbations respond (q < 0.05)."
    assert "No prediction was evaluated." in alone.lines
    assert "Not tested, for too few cells: D." in alone.lines
    assert "respond" not in said(evaluation=judged(0.1, 0.5)).headline


def test_a_name_that_holds_a_comma_is_one_name():
    table = measured()
    table["table"] = table["table"].rename(index={"D": "D, mixed"})
    assert "Not tested, for too few cells: 'D, mixed'." in said(table).lines


def test_replicates_decide_where_they_were_tested():
    text = str(said(measured(qvalue_replicate=[0.01, 0.4, 0.9, np.nan])))
    assert "1 of 4 perturbations responds (q < 0.05 by guide), 1 more by cells alone." in text
    assert "not beyond what guide differs by" in text


def test_no_response_at_all():
    assert said(measured(q=(0.5,) * 4)).headline == "None of 4 perturbations responds (q < 0.05)."


def test_of_a_benchmark_the_highest_score_is_told_with_its_interval():
    board = pd.DataFrame(
        {"score": [0.3, 1.0, np.nan], "score_low": [-0.1, 1, np.nan], "score_high": [0.6, 1, 1]},
        ["flow", "positive control", "failed"],
    )
    found = in_words(None, None, None, {"table": board})
    assert found.headline == "No prediction was evaluated."
    assert found.lines == ["Highest score in the benchmark, of 1: flow, 0.30 (−0.10 to 0.60)."]


def test_controls_that_score_higher_are_in_the_first_sentence():
    evaluation = judged(0.1, 0.5)
    evaluation["contenders"].loc["control copy", "score"] = 0.41
    head = said(evaluation=evaluation).headline
    assert head.endswith("and unchanged controls score higher (0.41 against 0.30).")


def test_nothing_to_judge_is_refused_with_the_calls_to_make():
    with pytest.raises(KeyError, match="sh.tl.coherence.*sh.tl.evaluate"):
        verdict(ad.AnnData(np.zeros((2, 2))))
    with pytest.raises(KeyError, match="'nope' is not in adata.uns"):
        verdict(ad.AnnData(np.zeros((2, 2))), "nope")


@pytest.mark.slow
def test_a_screen_from_start_to_verdict(tmp_path):
    adata = sh.ds.simulate(n_perturbations=12, n_cells=60, n_genes=100, effect_size=5.0, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10)
    sh.tl.coherence(adata)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="own", subset="test")
    sh.tl.evaluate(
        adata, prediction="own", metrics=["energy", "mae"], baselines=["mean_shift"], n_draws=2
    )
    found = verdict(adata)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    assert verdict(ad.read_h5ad(tmp_path / "screen.h5ad")) == found
    assert "cannot be told from the baseline mean_shift" in found.headline
