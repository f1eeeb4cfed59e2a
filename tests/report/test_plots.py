from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest

pytest.importorskip("plotly", reason="plotly, of the extra report, is not installed")

from shoal._responses import responses
from shoal.report import _charts, _plots


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures instead of their HTML."""
    for module in (_plots, _charts):
        monkeypatch.setattr(module, "as_html", lambda figure, name: figure)


def test_every_perturbation_is_a_point_at_its_numbers(measured, drawn):
    figure = _plots.plane(measured.uns["coherence"])
    table = measured.uns["coherence"]["table"]
    told = [t for t in figure.data if t.customdata is not None]
    points = {row[0]: at for t in told for row, *at in zip(t.customdata, t.x, t.y, strict=True)}
    assert points == {name: [row["magnitude"], row["coherence"]] for name, row in table.iterrows()}
    assert len(figure.data[-1].x) == 0  # the ring around the selected one
    assert "&lt;b&gt;bold&lt;/b&gt;" in "".join(
        text for t in figure.data if t.text is not None for text in t.text
    )


def by_name(table, params):
    found = _plots._classes(table, responses(table, params, _plots.ALPHA))
    assert np.array_equal(sum(rows.astype(int) for _, rows, _ in found), np.ones(len(table)))
    return {name: set(table.index[rows]) for name, rows, _ in found}


def test_classes_are_disjoint_and_complete(measured):
    table = measured.uns["coherence"]["table"].drop(columns="qvalue_replicate")
    table.loc[table.index[table["qvalue"] < 0.05][0], "cause"] = "unclear"
    found = by_name(table, {})
    quiet = next(iter(found))
    assert quiet.startswith("no response found (q")
    assert found[quiet] == set(table.index[~(table["qvalue"] < 0.05)])


def test_responses_are_those_of_replicates(measured):
    """What cells alone call a response has a grey class of its own."""
    table = measured.uns["coherence"]["table"].copy()
    hits = table.index[table["qvalue"] < 0.05]
    table["qvalue_replicate"] = 0.5
    table.loc[hits[0], "qvalue_replicate"] = np.nan
    table.loc[hits[1:3], "qvalue_replicate"] = 0.01
    table.loc[hits[1:3], "cause"] = "none"
    table.loc[hits[1], ["ci_low", "ci_high"]] = [-0.1, 0.4]
    table.loc[hits[2], ["ci_low", "ci_high"]] = [0.1, 0.4]
    found = by_name(table, {"replicate_key": "guide"})
    assert found["response by cells, too few replicates"] == {hits[0]}
    assert found["response by guide; the interval, two-sided, includes 0"] == {hits[1]}
    assert found["response by guide"] == {hits[2]}
    assert found["response by cells alone"] == set(hits[3:])


@pytest.mark.parametrize("cause", ["unclear", "differs between contexts", "a new one"])
def test_every_cause_is_drawn(measured, cause):
    table = measured.uns["coherence"]["table"].drop(columns="qvalue_replicate")
    table.loc[table.index[table["qvalue"] < 0.05][:3], "cause"] = cause
    assert len(by_name(table, {})[f"response, {cause}"]) == 3


def test_what_was_not_measured_is_left_out(measured, drawn):
    result = copy.deepcopy(measured.uns["coherence"])
    result["table"].iloc[:3, result["table"].columns.get_loc("coherence")] = np.nan
    result["table"].iloc[3:5, result["table"].columns.get_loc("qvalue")] = np.nan
    figure = _plots.plane(result)
    told = [row for t in figure.data if t.customdata is not None for row in t.customdata]
    assert len(told) == 37
    assert sum(row[4] == "not known" for row in told) == 2


def test_the_curve_is_that_of_a_translation(measured, drawn):
    curve = _plots.plane(measured.uns["coherence"]).data[0]
    trace = measured.uns["coherence"]["params"]["control_trace"]
    np.testing.assert_allclose(curve.y, curve.x / np.sqrt(curve.x**2 + trace))
    assert curve.x[0] == 0


def test_skills_are_drawn_with_their_intervals(judged, drawn):
    figure = _charts.skills(judged.uns["evaluation"])
    summary = judged.uns["evaluation"]["summary"]
    at = {y: (x, x - lo, x + hi) for t in figure.data for x, y, lo, hi in
          zip(t.x, t.y, t.error_x.arrayminus, t.error_x.array, strict=True)}  # fmt: skip
    assert set(at) == set(summary.index[summary["skill"].notna()])
    for metric, (x, low, high) in at.items():
        row = summary.loc[metric]
        assert (x, low) == pytest.approx((max(row["skill"], -2), max(row["skill_low"], -2)))
        if row["skill"] >= -2:
            assert high == pytest.approx(row["skill_high"])
    worst = summary["skill"].idxmin()
    trace = next(t for t in figure.data if worst in t.y)
    spot = list(trace.y).index(worst)
    assert (
        trace.marker.symbol[spot] == "triangle-left"
    )  # at the edge, and the hover text tells its value
    assert trace.customdata[spot][1] == "-4.00"
    grey = next(t for t in figure.data if "not" in t.name)
    assert set(grey.y) == set(summary.index[~summary["discriminates"]])


def test_scores_are_in_order_and_the_prediction_has_its_name(judged, drawn):
    board = judged.uns["evaluation"]["contenders"].copy()
    board["score"] = np.linspace(-3, 1, len(board))
    board["same_as"] = ["", "twin", *[""] * (len(board) - 2)]
    figure = _charts.scores(board, name="scores", own="flow <b>")
    rows = list(figure.layout.yaxis.categoryarray)
    assert rows == [
        "flow &lt;b&gt;" if name == "prediction" else name for name in board.index[::-1]
    ]
    kinds = {trace.name: set(trace.y) for trace in figure.data}
    assert kinds["prediction"] == {"flow &lt;b&gt;"}
    assert kinds["control"] == {"positive control", "negative control", "control copy"}
    assert set().union(*kinds.values()) == set(rows)
    told = [row[0] for trace in figure.data for row in trace.customdata]
    assert any(text.endswith("(= twin)") for text in told)


def test_scores_without_intervals_are_drawn_too(judged, drawn):
    board = judged.uns["evaluation"]["contenders"][["score"]]
    figure = _charts.scores(board, name="scores")
    assert sum(len(trace.x) for trace in figure.data) == len(board)


def test_a_chance_is_never_0(measured, drawn):
    result = copy.deepcopy(measured.uns["coherence"])
    result["table"]["qvalue"] = np.where(np.arange(40) % 2, 0.0, 0.0312)
    figure = _plots.plane(result)
    told = {row[4] for t in figure.data if t.customdata is not None for row in t.customdata}
    assert told == {"< 0.001", "= 0.031"}


def test_strong_responses_are_named_first(measured, drawn):
    figure = _plots.plane(measured.uns["coherence"])
    table = measured.uns["coherence"]["table"]
    rank = {row[0]: row[7] for t in figure.data if t.customdata is not None for row in t.customdata}
    assert sorted(rank.values()) == list(range(40))
    hit = responses(table, measured.uns["coherence"]["params"], 0.05).all
    order = [*table[hit].sort_values("magnitude", ascending=False).index]
    assert sorted(rank, key=rank.get)[: len(order)] == order


def test_nothing_offers_to_upload_a_figure(measured):
    text = _plots.plane(measured.uns["coherence"])
    config = json.loads(re.search(r'\{[^{}]*"showSendToCloud"[^{}]*\}', text)[0])
    assert config["showSendToCloud"] is False
    assert "http" not in text
