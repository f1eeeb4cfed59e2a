"""What is done is not done again, what fails says why, and processes change nothing."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.benchmark import _run
from shoal.benchmark._files import read_row

from .conftest import METRICS, Breaks

COST = ["seconds_fit", "seconds_predict", "seconds_evaluate", "peak_mb"]


@pytest.fixture
def attempts(monkeypatch):
    """Collects what is attempted."""
    made, real = [], _run.attempt

    def attempt(adata, row, model, scorer, **options):
        made.append((row.model, row.seed))
        return real(adata, row, model, scorer, **options)

    monkeypatch.setattr(_run, "attempt", attempt)
    return made


def test_every_result_has_its_line_and_its_file(spec, tmp_path):
    rows = sh.benchmark.run(spec | {"seeds": [0, 1]}, folder=tmp_path)
    expected = {
        (model, seed, m)
        for model in ("perturbed_mean", "mean_shift")
        for seed in (0, 1)
        for m in METRICS
    }
    assert set(rows[["model", "seed", "metric"]].itertuples(index=False, name=None)) == expected
    assert np.isfinite(rows[["value", "positive", *COST]].to_numpy(dtype=float)).all()
    assert (rows["note"] == "").all()
    assert rows["versions"].str.contains(f"shoal={sh.__version__} ").all()
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "rows.csv").fillna({"note": "", "file": "", "chosen": ""}),
        rows,
        check_dtype=False,
    )
    names = {
        f"small__unseen__{m}__{s}.json" for m in ("perturbed_mean", "mean_shift") for s in (0, 1)
    }
    assert {path.name for path in (tmp_path / "rows").iterdir()} == names
    assert {p.name for p in tmp_path.iterdir()} == {
        "rows",
        "rows.csv",
        "benchmark.json",
        "leaderboard.csv",
        "leaderboard.md",
        "scores.csv",
    }


def test_peak_memory_is_a_sensible_number(spec, tmp_path):
    peak = sh.benchmark.run(spec, folder=tmp_path)["peak_mb"]
    assert peak.between(50, 50_000).all()


def test_what_is_done_is_not_done_again(spec, tmp_path, attempts):
    first = sh.benchmark.run(spec, folder=tmp_path)
    attempts.clear()
    second = sh.benchmark.run(spec, folder=tmp_path)
    assert attempts == []
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"seeds": [0, 1]}, [("perturbed_mean", 1), ("mean_shift", 1)]),
        ({"models": ["mean_shift", "control"]}, [("control", 0)]),
        (
            {
                "models": [
                    "mean_shift",
                    {"name": "perturbed_mean", "options": {"config": {"max_cells": 9}}},
                ]
            },
            [("perturbed_mean", 0)],
        ),
        (
            {"splits": {"unseen": {"by": "perturbation", "test": 0.4}}},
            [("perturbed_mean", 0), ("mean_shift", 0)],
        ),
        ({"evaluate": {"metrics": ["energy"]}}, [("perturbed_mean", 0), ("mean_shift", 0)]),
    ],
)
def test_a_change_computes_what_it_concerns(spec, tmp_path, attempts, change, anew):
    sh.benchmark.run(spec, folder=tmp_path)
    attempts.clear()
    rows = sh.benchmark.run(spec | change, folder=tmp_path)
    assert attempts == anew
    wanted = [m if isinstance(m, str) else m["name"] for m in change.get("models", spec["models"])]
    assert sorted(rows["model"].unique()) == sorted(
        wanted
    )  # what is not asked for any more is not shown


def test_other_cells_or_another_version_are_another_benchmark(
    spec, tmp_path, attempts, monkeypatch
):
    import anndata as ad

    sh.benchmark.run(spec, folder=tmp_path / "out")
    adata = ad.read_h5ad(spec["data"]["small"]["path"])
    spec["data"]["small"]["path"] = str(tmp_path / "other.h5ad")
    adata.write_h5ad(tmp_path / "other.h5ad", compression="gzip")
    attempts.clear()
    sh.benchmark.run(spec, folder=tmp_path / "out")
    assert len(attempts) == 2
    monkeypatch.setattr(sh, "__version__", "99")
    sh.benchmark.run(spec, folder=tmp_path / "out")
    assert len(attempts) == 4


def test_a_moved_file_is_the_same_data(spec, tmp_path, counts, attempts):
    sh.benchmark.run(spec, folder=tmp_path / "out")
    (tmp_path / "moved.h5ad").write_bytes(counts.read_bytes())
    spec["data"]["small"]["path"] = str(tmp_path / "moved.h5ad")
    attempts.clear()
    sh.benchmark.run(spec, folder=tmp_path / "out")
    assert attempts == []


def test_a_model_that_fails_stops_no_other(spec, tmp_path, attempts):
    spec["models"] = [Breaks, "additive", "mean_shift"]
    rows = sh.benchmark.run(spec, folder=tmp_path).drop_duplicates("model").set_index("model")
    assert rows.loc["Breaks", "note"] == "RuntimeError: the loss is not finite"
    assert "cannot be predicted by additive" in rows.loc["additive", "note"]
    assert rows.loc["mean_shift", "note"] == ""
    board = sh.benchmark.table(tmp_path)
    assert board["failed"].to_dict()["Breaks"] == 1
    assert np.isnan(board.loc["Breaks", "score"])
    attempts.clear()
    sh.benchmark.run(spec, folder=tmp_path)
    assert attempts == []
    sh.benchmark.run(spec, folder=tmp_path, retry=True)
    assert [name for name, _ in attempts] == ["Breaks", "additive"]


def test_a_split_that_cannot_be_made_stops_no_other(spec, tmp_path):
    spec["splits"]["contexts"] = {"by": "context"}
    rows = (
        sh.benchmark.run(spec, folder=tmp_path)
        .drop_duplicates(["split", "model"])
        .set_index("split")
    )
    assert (rows.loc["unseen", "note"] == "").all()
    assert (
        rows.loc["contexts", "note"]
        .str.startswith("not attempted: ValueError: the screen has no column")
        .all()
    )


def test_nothing_to_score_is_a_row_with_the_reason(spec, tmp_path):
    spec["evaluate"]["min_cells"] = 1000
    rows = sh.benchmark.run(spec, folder=tmp_path)
    assert rows["note"].str.contains("min_cells").all()
    assert not (tmp_path / "leaderboard.md").exists()
    with pytest.raises(ValueError, match="none of 2 results is there to compare: not attempted"):
        sh.benchmark.table(tmp_path)


def test_an_interrupted_run_goes_on(spec, tmp_path, monkeypatch, attempts):
    real = _run.attempt

    def interrupted(adata, row, model, scorer, **options):
        if row.model == "mean_shift":
            raise KeyboardInterrupt
        return real(adata, row, model, scorer)

    with monkeypatch.context() as patch:
        patch.setattr(_run, "attempt", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sh.benchmark.run(spec, folder=tmp_path)
    assert [path.name for path in (tmp_path / "rows").iterdir()] == [
        "small__unseen__perturbed_mean__0.json"
    ]
    attempts.clear()
    rows = sh.benchmark.run(spec, folder=tmp_path)
    assert attempts == [("mean_shift", 0)]
    assert rows["model"].nunique() == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "benchmark-row/0"}'])
def test_a_damaged_file_is_made_anew(spec, tmp_path, attempts, text):
    sh.benchmark.run(spec, folder=tmp_path)
    (tmp_path / "rows" / "small__unseen__mean_shift__0.json").write_text(text)
    attempts.clear()
    sh.benchmark.run(spec, folder=tmp_path)
    assert attempts == [("mean_shift", 0)]


@pytest.mark.slow
def test_processes_change_nothing(spec, tmp_path):
    spec["seeds"] = [0, 1]
    one = sh.benchmark.run(spec, folder=tmp_path / "one")
    two = sh.benchmark.run(spec, folder=tmp_path / "two", jobs=2)
    pd.testing.assert_frame_equal(one.drop(columns=COST), two.drop(columns=COST))
    for name in ("small__unseen__mean_shift__0", "small__unseen__perturbed_mean__1"):
        assert read_row(tmp_path / "one", name).losses == read_row(tmp_path / "two", name).losses


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_process_that_dies_leaves_rows_that_say_so(spec, tmp_path):
    spec["data"]["dies"] = {"call": "os:abort", "perturbation_key": "p", "control": "c"}
    rows = (
        sh.benchmark.run(spec, folder=tmp_path, jobs=2, trust=True)
        .drop_duplicates(["data", "model"])
        .set_index("data")
    )
    assert (rows.loc["small", "note"] == "").all()
    assert (rows.loc["dies", "note"] == "its process ended with exit code -6").all()


def test_rows_are_plain_json(spec, tmp_path):
    sh.benchmark.run(spec, folder=tmp_path)
    entry = json.loads((tmp_path / "rows" / "small__unseen__mean_shift__0.json").read_text())
    assert set(entry["metrics"]) == set(METRICS)
    assert len(entry["losses"]["energy"]["value"]) == len(entry["conditions"]) == 6
    assert len(entry["losses"]["collapse_index"]["value"]) == 1


def test_jobs_is_a_number(spec, tmp_path):
    with pytest.raises(ValueError, match="jobs must be a whole number of at least 1"):
        sh.benchmark.run(spec, folder=tmp_path, jobs=0)


def test_no_benchmark_here(tmp_path):
    with pytest.raises(FileNotFoundError, match="sh.benchmark.run"):
        sh.benchmark.table(tmp_path)
