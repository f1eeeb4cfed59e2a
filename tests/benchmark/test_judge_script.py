"""The tables of benchmarks/judge.py: whose results they are, what stands beside the reference, and what a page says."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.benchmark._files import write_row

from .conftest import made_row

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import _judge_page
import judge

N = 12
PLACE = ("kang", "context")


def results(rng, seeds=(3, 4), **options):
    """A reference, one that is much better, one that is much worse, one that refuses, and one with a seed less."""
    base = rng.uniform(0.5, 0.6, N)
    losses = {"own_shift": base, "flow": base - 0.2, "poor": base + 0.2, "late": base - 0.1}
    refusal = "ValueError: it cannot be predicted"
    rows = [
        made_row(name, {"energy": own + 0.001 * seed}, seed=seed, reference=base, **options)
        for seed in seeds
        for name, own in losses.items()
        if not (name == "late" and seed != seeds[0])
    ]
    rows += [made_row("silent", base, seed=seed, note=refusal, reference=base) for seed in seeds]
    for row in rows:
        for record in row.metrics.values():
            record |= {"drf": 0.8, "bds": 1.0}
    own = {"shoal": sh.__version__}
    return [
        replace(row, data=PLACE[0], split=PLACE[1], reference="own_shift", versions=own)
        for row in rows
    ]


def page_of(rows):
    boards = pd.concat(
        own.reset_index().assign(data=d, split=s)
        for (d, s), own in {PLACE: judge.board(rows)}.items()
    )
    metrics = judge.telling(rows).reset_index().assign(data=PLACE[0], split=PLACE[1])
    return _judge_page.page(boards, metrics, seeds=[3, 4])


def test_who_is_better_than_the_reference_beyond_the_interval(rng):
    board = judge.board(results(rng))
    beside = board["beside"].to_dict()
    assert beside["flow"] == "better"
    assert beside["poor"] == "worse"
    assert beside["own_shift"] == "reference"
    assert beside["positive control"] == beside["silent"] == ""
    assert board.index[0] == "positive control"
    assert board.index[-1] == "silent"
    order = [name for name in board.index if name in ("flow", "late", "own_shift", "poor")]
    assert order == ["flow", "late", "own_shift", "poor"]
    low, high = board.loc["flow", ["score_low", "score_high"]]
    assert low < board.loc["flow", "score"] < high
    by_seed = [float(own.split(": ")[1]) for own in board.loc["flow", "by_seed"].split(", ")]
    assert np.mean(by_seed) == pytest.approx(board.loc["flow", "score"], abs=0.006)
    assert board.loc["late", "by_seed"].endswith("4: –")


def test_without_room_the_order_is_that_of_what_is_achieved(rng):
    rows = results(rng, positive=0.49)
    board = judge.board(rows)
    assert board["score"].isna().all()
    assert board.loc["flow", "beside"] == "better"
    assert board.loc["poor", "beside"] == "worse"
    assert "too little is left to gain" in board.loc["flow", "verdict"]
    text = page_of(rows)
    assert "No score: beside own_shift" in text
    net = board.loc["flow", "achieved"] - board.loc["flow", "harm"]
    assert f"**({net:.2f})**" in text


def test_the_page_says_who_cannot_predict_and_who_has_fewer_seeds(rng):
    text = page_of(results(rng))
    assert "Cannot predict this: silent." in text
    assert "late, 1 of 2 seeds" in text
    assert [line.count("°") for line in text.split("\n") if line.startswith("| late |")] == [1]
    assert "*unchanged controls*" in text
    assert "Nothing responds" not in text
    rows = [replace(row, responds=False) for row in results(rng)]
    text = page_of(rows)
    assert "**Nothing responds here: unchanged controls are the right answer.**" in text
    assert "| 1, 0 |" not in text
    assert "Reference:" not in text


def test_failures_that_are_no_refusals_are_told(rng):
    rows = results(rng)
    rows = [replace(r, note="RuntimeError: no memory") if r.model == "poor" else r for r in rows]
    text = page_of(rows)
    assert "poor failed: RuntimeError: no memory" in text


def test_contenders_of_the_same_cells_have_a_line_each_at_a_glance(rng):
    rows = results(rng)
    prints = [[1.0, 2.0, 3.0, 4.0, 5.0]] * N
    flow = [replace(row, fingerprint=prints) for row in rows if row.model == "flow"]
    twin = [replace(row, model="twin") for row in flow]
    boards = judge.board([*flow, *twin, *(row for row in rows if row.model != "flow")])
    assert boards.loc["flow", "same_as"] == "twin"
    grid = _judge_page.glance(boards.reset_index().assign(data="a", split="b"))
    assert grid.loc["twin"].tolist() == grid.loc["flow"].tolist()
    assert grid.loc["flow", "better, worse"] == "1, 0"
    assert boards.loc["flow", "by_seed"].count("–") == 0


def test_only_rows_of_this_version_and_these_seeds_are_read(rng, tmp_path):
    rows = results(rng, seeds=(3, 4, 9))
    old = replace(rows[0], model="old", versions={"shoal": "0.0.1"})
    for row in [*rows, old]:
        (tmp_path / "one" / "rows").mkdir(parents=True, exist_ok=True)
        write_row(row, tmp_path / "one")
    found = judge.read(tmp_path, [3, 4])
    assert {row.seed for row in found} == {3, 4}
    assert "old" not in {row.model for row in found}


def test_results_of_other_held_out_cells_are_refused(rng):
    """Else a contender would be scored beside controls of another division."""
    *rows, one = (row for row in results(rng) if not row.note)
    other = replace(one, conditions={f"other {name}": name for name in one.conditions})
    with pytest.raises(ValueError, match=f"seed {one.seed}: .* different held-out cells"):
        judge.board([*rows, other])


def test_a_place_is_written_anew_and_others_are_kept(tmp_path):
    path = tmp_path / "judge.csv"
    one = pd.DataFrame({"score": [0.5]}, index=pd.Index(["flow"], name="contender"))
    judge.written({("kang", "context"): one}, path)
    judge.written({("renge", "context"): one, ("kang", "context"): one + 1}, path)
    both = pd.read_csv(path)
    assert both[["data", "score"]].to_numpy().tolist() == [["renge", 0.5], ["kang", 1.5]]


def test_contenders_are_added_to_a_table_of_the_same_scores_alone(rng):
    rows = results(rng)
    older = judge.board([row for row in rows if row.model != "poor"])
    newer = judge.board([row for row in rows if row.model in ("own_shift", "poor")])
    whole = judge.board(rows)
    both = judge.added(newer, older)
    assert both.index.tolist() == whole.index.tolist()
    columns = ["score", "score_low", "score_high", "achieved", "harm", "score_best"]
    pd.testing.assert_frame_equal(both[columns], whole[columns])
    assert both["beside"].tolist() == whole["beside"].tolist()
    best = judge.added(newer, older.assign(score_best=older["score_best"] - 0.1))["score_best"]
    assert [name for name in best.index if np.isnan(best[name])] == ["poor", "silent"]
    older.loc["own_shift", "score"] += 0.01
    with pytest.raises(ValueError, match="score of own_shift is .* leave out --add"):
        judge.added(newer, older)


@pytest.mark.parametrize("twin", ["a twin", "the twin"])
def test_a_contender_that_is_added_and_predicts_the_same_has_its_own_row(rng, twin):
    rows = results(rng)
    both = [row for row in rows if row.model in ("own_shift", "flow")]
    both += [replace(row, model=twin) for row in both if row.model == "flow"]
    added = judge.added(judge.board(sorted(both, key=lambda row: row.model)), judge.board(rows))
    assert {"flow", twin} <= set(added.index)
    assert added.loc[twin, "same_as"] == ""
    assert added.loc[twin, "score"] == pytest.approx(added.loc["flow", "score"])


def test_a_small_recipe_keeps_its_steps_unless_told_others():
    small = judge.SMALL["unlasting:published"]
    own = judge.options_of("unlasting:published:small", "go", steps=None)["options"]
    assert own == {**small, "preset": "published", "embedding": "go"}
    assert judge.options_of("unlasting:published:small", "go", steps=7)["options"]["max_steps"] == 7
    plain = judge.options_of("unlasting:published", "go", steps=None)["options"]
    assert plain == {"preset": "published", "embedding": "go", "max_steps": None}


def test_a_spec_is_one_and_leaves_out_what_training_does_not_know(tmp_path):
    """A gene that only held-out cells have is no gene of the benchmark."""
    adata = sh.ds.simulate(n_perturbations=6, n_cells=30, n_genes=40, contexts=3, rng=0)
    adata.obs["cell_type"] = adata.obs["context"]
    adata.obs["condition"] = adata.obs["perturbation"]
    task = judge.Task("kang", "context", 3, ("own_shift",), None, tmp_path)
    sides = adata.copy()
    sh.pp.annotate(sides, "condition", control="control", context_key="cell_type")
    sh.pp.split(sides, **judge.division(task))
    test = (sides.obs["split"] == "test").to_numpy()
    assert test.any()
    adata.X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
    adata.X[~test, 0], adata.X[test, 0] = 0, 5
    adata.write_h5ad(tmp_path / judge.DATA["kang"].file)
    rows = sh.benchmark.run(
        judge.spec(task, tmp_path)
        | {"evaluate": {"min_cells": 4, "n_draws": 1, "metrics": ["energy"]}},
        folder=tmp_path / "out",
    )
    assert rows["note"].tolist() == [""]
    found = judge.known(task)
    assert found.n_vars < adata.n_vars
    assert adata.var_names[0] not in found.var_names
