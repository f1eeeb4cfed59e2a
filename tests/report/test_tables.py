from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from shoal.report._panel import coherence_panel, evaluation_panel
from shoal.report._tables import (
    coherence_tables,
    conditions,
    evaluation_tables,
    leaderboard_table,
    metrics,
    plain,
    table,
    unfit,
)


def test_numbers_are_rounded_to_four_digits_and_missing_ones_are_none():
    values = pd.Series([1234567.0, 0.000123456, -2.0, 0.0, np.nan, np.inf, -np.inf])
    assert plain(values) == [1235000.0, 0.0001235, -2.0, 0.0, None, None, None]
    assert plain(pd.Series([1, 123456])) == [1, 123456]
    assert plain(pd.Series([1, None], dtype="Int64")) == [1, None]
    assert plain(pd.Series([True, False])) == ["yes", "no"]
    assert plain(pd.Series(["a", None, np.nan], dtype="category")) == ["a", "", ""]


def test_rounding_is_that_of_the_formatter(rng):
    values = rng.normal(size=500) * 10.0 ** rng.integers(-200, 200, 500)
    assert plain(pd.Series(values)) == pytest.approx([float(f"{v:.3e}") for v in values], rel=1e-12)


def test_a_table_knows_its_columns():
    frame = pd.DataFrame(
        {"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]},
        index=pd.Index(["r/1", "<r2>"], name="name"),
    )
    made = table(frame, link="name", hidden=["b"], muted=["<r2>"])
    assert made["rows"] == [["r/1", 1, "x", 0.5], ["<r2>", 2, "y", 1.5]]
    assert made["muted"] == [1]
    assert [
        (c["title"], c["numeric"], c["whole"], c["hidden"], c["link"]) for c in made["columns"]
    ] == [
        ("name", False, False, False, True),
        ("a", True, True, False, False),
        ("b", False, False, True, False),
        ("c", True, False, False, False),
    ]


def test_metrics_that_do_not_discriminate_are_grey(judged):
    result = judged.uns["evaluation"]
    made = evaluation_tables(result)
    assert (
        {made["metrics"]["rows"][i][0] for i in made["metrics"]["muted"]}
        == unfit(result)
        == set(result["summary"].index[~result["summary"]["discriminates"]])
    )
    assert set(made) == {"metrics", "contenders", "conditions", "strata", "missing"}
    scores = ["score", "score_low", "score_high", "achieved", "harm", "score_best"]
    assert [row[0] for row in made["contenders"]["rows"]] == [*scores, *metrics(result)]
    condition = result["conditions"].index[0]
    assert made["missing"]["rows"] == [
        ["flow", "pearson_delta_perturbed", condition, "no variance"]
    ]


def test_the_strata_are_spread_over_columns(judged):
    result = judged.uns["evaluation"]
    made = evaluation_tables(result)["strata"]
    titles = [c["title"] for c in made["columns"]]
    assert titles == [
        "metric",
        "stratum",
        "n",
        "flow",
        "positive control",
        "negative control",
        "control copy",
    ]
    long = result["strata"]
    row = made["rows"][5]
    for contender, value in zip(["prediction", *titles[4:]], row[3:], strict=True):
        same = (
            (long["metric"] == row[0])
            & (long["stratum"] == row[1])
            & (long["contender"] == contender)
        )
        assert value == pytest.approx(long.loc[same, "value"].item(), rel=1e-3)


def test_one_metric_of_each_family_is_shown(judged):
    result = judged.uns["evaluation"]
    made = conditions(result)
    titles = [c["title"] for c in made["columns"]]
    assert titles[0] == "perturbation"
    assert "context" in titles
    assert "dose" not in titles  # all the same
    shown = {c["title"] for c in made["columns"] if not c["hidden"]} & set(result["table"].columns)
    summary = result["summary"].loc[sorted(shown)]
    assert summary["discriminates"].all()
    assert sorted(summary["family"]) == ["de", "delta", "discrimination", "population", "structure"]


def test_the_panel_sets_the_prediction_beside_its_rivals(judged):
    result = judged.uns["evaluation"]
    made = evaluation_panel(result)
    scores = result["scores"].set_index(["contender", "condition", "metric"])["value"]
    assert list(made["values"]) == [
        "prediction",
        "reference",
        "positive control",
        "negative control",
    ]
    for at, m in ((3, 0), (17, 9), (39, 20)):
        metric, condition = made["metrics"][m], made["conditions"][at]
        rivals = {"reference": result["summary"].loc[metric, "reference"]}
        assert made["rivals"][m] == rivals["reference"]
        for name, values in made["values"].items():
            assert values[at][m] == pytest.approx(
                scores[rivals.get(name, name), condition, metric], rel=1e-3
            )
    assert made["values"]["prediction"][0][1] is None  # missing, and not 0
    assert made["perturbations"] == result["conditions"]["perturbation"].tolist()
    json.dumps(made, allow_nan=False)


def test_the_panel_of_coherence_has_every_column(measured):
    frame = measured.uns["coherence"]["table"]
    made = coherence_panel(measured.uns["coherence"])
    assert made["names"] == frame.index.tolist()
    assert made["columns"] == frame.columns.tolist()
    r = [row[made["columns"].index("coherence")] for row in made["rows"]]
    assert r == pytest.approx(frame["coherence"].tolist(), rel=1e-3)


def test_contexts_are_a_table_whose_names_open_the_panel(measured):
    result = dict(measured.uns["coherence"])
    assert "by_context" not in coherence_tables(result)
    part = result["table"].reset_index(names="perturbation").assign(context="day <1>")
    result["by_context"] = part[["perturbation", "context", "n_cells", "coherence", "cause"]]
    made = coherence_tables(result)["by_context"]
    columns = made["columns"]
    assert [c["title"] for c in columns][:2] == ["perturbation", "context"]
    assert [c["link"] for c in columns] == [True] + [False] * 4
    assert len(made["rows"]) == len(part)


def test_no_column_of_the_panel_has_two_meanings(measured, judged):
    """The coherence of the screen and the prediction of a condition stand one below the other."""
    about = evaluation_panel(judged.uns["evaluation"])["about"]
    assert not set(about) & set(coherence_panel(measured.uns["coherence"])["columns"])


def test_a_dagger_in_every_table_for_what_has_seen_held_out_cells(judged):
    result = dict(judged.uns["evaluation"])
    seen = result["contenders"].index.isin(["prediction", "nearest"])
    result["contenders"] = result["contenders"].assign(transductive=seen)
    made = evaluation_tables(result)
    titles = [c["title"] for c in made["contenders"]["columns"]]
    assert {"flow †", "nearest †"} == {t for t in titles if "†" in t}
    assert all(c["numeric"] for c in made["contenders"]["columns"][1:])
    assert "flow †" in [c["title"] for c in made["strata"]["columns"]]
    assert made["missing"]["rows"][0][0] == "flow †"
    at = [c["title"] for c in made["metrics"]["columns"]].index("best_baseline")
    named = {row[at] for row in made["metrics"]["rows"]}
    assert "nearest" not in named
    assert "nearest †" in named
    assert set(evaluation_panel(result)["rivals"]) == {"mean shift"}
    board = pd.DataFrame({"transductive": [True, False], "score": [1.0, 0.5]}, index=["a", "b"])
    assert [row[:2] for row in leaderboard_table(board)["rows"]] == [["a †", "yes"], ["b", "no"]]


def test_contenders_of_the_same_cells_have_all_names(judged):
    result = dict(judged.uns["evaluation"])
    last = result["contenders"].index[-1]
    same = np.where(result["contenders"].index == last, "one_rule, another_rule", "")
    result["contenders"] = result["contenders"].assign(same_as=same)
    made = evaluation_tables(result)["contenders"]
    assert made["columns"][-1]["title"] == f"{last} (= one_rule, another_rule)"
    assert [row[0] for row in made["rows"]][6:] == metrics(result)
    board = pd.DataFrame({"score": [0.5, 0.0], "same_as": ["b", ""]}, index=["a", "c"])
    shown = leaderboard_table(board)
    assert [c["title"] for c in shown["columns"]] == ["contender", "score"]
    assert [row[0] for row in shown["rows"]] == ["a (= b)", "c"]
