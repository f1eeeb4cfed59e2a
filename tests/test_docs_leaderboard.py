"""The leaderboard of the docs: every result is on it, from whatever columns there are, and it needs no network."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import shoal as sh

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import _leaderboard as leaderboard  # noqa: E402 (beside the pages)

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
BROWSER = os.environ.get("SHOAL_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


def scored(**columns):
    """A result of each of three contenders with two seeds."""
    rows = pd.DataFrame(
        {
            "data": "kang",
            "split": "context",
            "seed": [0, 1] * 3,
            "contender": ["flow", "flow", "own_shift", "own_shift", "<b>x</b>", "<b>x</b>"],
            "version": "1.0",
            "score": [0.4, 0.2, 0.0, 0.0, np.nan, np.nan],
            "score_low": [0.1, 0.3, -0.1, -0.1, np.nan, np.nan],
            "score_high": [0.5, 0.7, 0.1, 0.1, np.nan, np.nan],
            "harm": [0.0, 0.0, 0.25, 0.35, np.nan, np.nan],
            "reference": "own_shift",
            "note": ["", "", "", "", "it broke", "it broke"],
        }
    )
    return rows.assign(**columns)


def board(rows, folder, name="judge"):
    rows.to_csv(folder / f"{name}.csv", index=False)
    (found,) = leaderboard.boards(folder)
    return found


def lines(text):
    """The rows of the table of every result, as lists of what is shown."""
    body = text[text.index('class="lb-rows"') :].split("<tbody>")[1].split("</tbody>")[0]
    cells = [re.findall(r"<td.*?>(.*?)</td>", row) for row in body.strip().split("\n")]
    return [[re.sub(r"<svg.*?</svg> |</?small>", "", cell) for cell in row] for row in cells]


def test_a_row_is_the_mean_over_seeds_with_its_interval(tmp_path):
    found = board(scored(), tmp_path)
    text = leaderboard.page([found])
    flow, shift, broken = lines(text)
    assert '<td class="num above" data-v="0.3">0.30</td>' in text  # its interval is above 0
    assert '<td class="num" data-v="0">0.00</td>' in text
    assert flow[:6] == ["flow", "kang", "context", "model", "0.30", "0.20 to 0.60"]
    assert flow[6:] == ["0.00", "own_shift", "2", "–", "1.0", ""]
    assert shift[:6] == ["own_shift", "kang", "context", "baseline", "0.00", "−0.10 to 0.10"]
    assert shift[6] == "0.30"
    assert broken[0] == "&lt;b&gt;x&lt;/b&gt;"
    assert broken[4:] == ["–", "", "–", "own_shift", "0", "–", "1.0", "it broke"]


def test_at_a_glance_contenders_of_the_same_cells_have_a_line_each(tmp_path):
    rows = scored(same_as=["", "", "additive, mean_shift", "additive, mean_shift", "", ""])
    found = board(rows, tmp_path)
    glance = leaderboard.page([found]).split("Every result")[0]
    names = re.findall(r"<tr><td>(.*?)</td>", glance)
    assert sorted(names) == ["additive", "flow", "mean_shift", "own_shift"]
    assert len(found.rows) == 3


def test_one_metric_a_row_or_one_a_column_are_the_same(tmp_path):
    rows = scored().drop(columns="note")
    rows["energy"] = np.arange(6.0)
    wide = board(rows, tmp_path)
    long = rows.melt(set(rows) - {"energy"}, var_name="metric", value_name="value")
    beside = board(long, tmp_path)
    pd.testing.assert_frame_equal(wide.rows, beside.rows)
    pd.testing.assert_frame_equal(wide.metrics, beside.metrics, check_names=False)
    assert wide.metrics["energy"].tolist() == [0.5, 2.5, 4.5]


def test_a_verdict_stands_where_there_is_no_score(tmp_path):
    said = "nothing to predict here: unchanged controls are the right answer"
    rows = scored(score=np.nan, score_low=np.nan, score_high=np.nan, verdict=said)
    assert {line[5] for line in lines(leaderboard.page([board(rows, tmp_path)]))} == {said}


def test_scores_without_a_reference_are_said_to_be_old(tmp_path):
    text = leaderboard.page([board(scored(), tmp_path)])
    assert leaderboard.OLD not in text
    old = leaderboard.page([board(scored().drop(columns="reference"), tmp_path)])
    assert leaderboard.OLD in old


def test_the_rows_of_a_benchmark_are_results(tmp_path):
    """What the page tells a stranger to copy is on it, with the command that makes it."""
    spec = {
        "data": {
            "simulated": {
                "call": sh.ds.simulate,
                "perturbation_key": "perturbation",
                "control": "control",
                "prepare": {"normalize": "log1p"},
            }
        },
        "splits": {"unseen": {"by": "perturbation", "test": 0.3}},
        "models": ["perturbed_mean", "mean_shift"],
        "evaluate": {"metrics": ["energy"], "n_draws": 1},
    }
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    sh.benchmark.run(spec | {"seeds": [0, 1]}, folder=tmp_path / "out")
    shutil.copy(tmp_path / "out" / "scores.csv", results / "theirs.csv")
    (results / "theirs.yaml").touch()
    (found,) = leaderboard.boards(results)
    controls = {"positive control", "negative control", "control copy"}
    names = set(found.rows.index.get_level_values("contender"))
    assert names == {"perturbed_mean", "mean_shift"} | controls
    assert set(found.rows["kind"]) == {"baseline", "control"}
    assert set(found.rows["seeds"]) == {2}
    assert set(found.rows["reference"]) == {"mean_shift"}
    assert np.isfinite(found.rows[["score", "score_low", "score_high", "harm"]]).all(axis=None)
    assert list(found.metrics) == ["energy"]
    assert set(found.rows.index.get_level_values("version")) == {sh.__version__}
    assert found.command == "shoal benchmark benchmarks/results/theirs.yaml -o theirs"


def test_other_versions_and_other_steps_are_not_averaged(tmp_path):
    old, long = scored(version="0.9", score=-1.0), scored(version="0.10", steps=3000, score=0.7)
    rows = pd.concat([old, scored(version="0.10", steps=0), long])
    found = board(rows[rows["contender"] == "flow"], tmp_path).rows.reset_index()
    shown = found.set_index("contender")[["version", "score"]]
    assert shown.loc["flow"].tolist() == ["0.10", pytest.approx(0.3)]
    assert shown.loc["flow, 3000 steps"].tolist() == ["0.10", pytest.approx(0.7)]


def test_other_tables_are_no_results(tmp_path):
    pd.DataFrame({"metric": ["energy"], "value": [1.0]}).to_csv(tmp_path / "x.csv", index=False)
    assert leaderboard.boards(tmp_path) == []


@pytest.fixture(scope="module")
def ours():
    return leaderboard.boards()


def test_every_result_of_ours_is_on_the_page(ours):
    several = {found.name: found for found in ours}
    assert "judge" in several
    text = leaderboard.page(ours)
    for found in ours:
        table = pd.read_csv(leaderboard.RESULTS / f"{found.name}.csv", low_memory=False)
        named = table.rename(columns={"model": "contender"})[["data", "split", "contender"]]
        places = found.rows.index.to_frame(index=False)[["data", "split", "contender"]]
        assert set(places.itertuples(index=False)) == set(named.itertuples(index=False))
        assert found.command.startswith(f"python benchmarks/{found.name}.py")
        assert f"\n{found.command}\n" in text
    assert "nan" not in re.sub(r"<.*?>", " ", text).split()


def test_it_asks_for_nothing(ours):
    parts = [leaderboard.page(ours)]
    parts += [(DOCS / "_static" / f"leaderboard.{e}").read_text() for e in ("js", "css")]
    assert not re.findall(r"https?:|fetch\(|XMLHttp|import\(|@import|url\(|src=", "".join(parts))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is on the PATH")
def test_it_is_sorted_filtered_and_shows_a_metric(ours, tmp_path):
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    script = (DOCS / "_static" / "leaderboard.js").read_text()
    body = "".join(re.findall(r"```\{raw\} html\n(.*?)\n```", leaderboard.page(ours), re.DOTALL))
    page = f"<!doctype html><meta charset=utf-8>{body}<script>{script}</script>"
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        view, trouble = browser.new_page(), []
        view.on("pageerror", lambda error: trouble.append(str(error)))
        view.goto((tmp_path / "page.html").as_uri())
        own = view.locator("#lb-judge")
        shown = "(rows) => rows.filter((r) => !r.hidden).map((r) => [...r.cells].map((c) => c.dataset.v ?? c.textContent))"

        def rows():
            return own.locator(".lb-rows tbody tr").evaluate_all(shown)

        whole = len(rows())
        own.get_by_label("screen").select_option("kang")
        own.get_by_label("contender").select_option("flow")
        assert [row[:2] for row in rows()] == [["flow", "kang"]]
        own.get_by_label("contender").select_option("")
        own.get_by_label("metric").select_option("energy")
        own.locator(".lb-rows thead button", has_text="energy").click()
        head = own.locator(".lb-rows thead th").all_text_contents().index("energy")
        values = [float(row[head]) for row in rows() if row[head]]
        assert len(values) > 5
        assert values == sorted(values)
        own.locator(".lb-rows thead button", has_text="energy").click()
        assert [float(row[head]) for row in rows() if row[head]] == sorted(values, reverse=True)
        own.get_by_label("screen").select_option("")
        own.get_by_label("search in all columns").fill("conditional_MONGE")
        assert {row[0] for row in rows()} == {"conditional_monge"}
        own.get_by_label("search in all columns").fill("")
        assert len(rows()) == whole
        assert trouble == []
        browser.close()
