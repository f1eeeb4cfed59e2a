"""A result that cannot be read is computed again, whatever is wrong with it; code is imported on trust only."""

from __future__ import annotations

import json
import os
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

import shoal as sh
from shoal.benchmark._files import read_row
from shoal.cli import app

COST = ["seconds_fit", "seconds_predict", "seconds_evaluate", "peak_mb"]


def broken_json(change):
    """Change the parsed result and write it back, as a tampered or older file would be."""

    def write(path):
        entry = json.loads(path.read_text())
        change(entry)
        path.write_text(json.dumps(entry))

    return write


def losses(entry):
    return entry["losses"]["energy"]


def folder_in_its_place(path):
    path.unlink()
    path.mkdir()
    (path / "kept.txt").write_text("of the user")


def pipe_in_its_place(path):
    path.unlink()
    os.mkfifo(path)


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


WRONG = {
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-300]),
    "empty": lambda p: p.write_bytes(b""),
    "binary": lambda p: p.write_bytes(bytes(range(256)) * 9),
    "a list": lambda p: p.write_text("[1, 2]"),
    "null": lambda p: p.write_text("null"),
    "deep": lambda p: p.write_text("[" * 100_000),
    "a long number": lambda p: p.write_text('{"seed": ' + "9" * 6000 + "}"),
    "another version": broken_json(lambda e: e.update(format="benchmark-row/0")),
    "no format": broken_json(lambda e: e.pop("format")),
    "a key more": broken_json(lambda e: e.update(extra=1)),
    "a key less": broken_json(lambda e: e.pop("losses")),
    "seed as text": broken_json(lambda e: e.update(seed="0")),
    "seed as truth": broken_json(lambda e: e.update(seed=False)),
    "metrics as list": broken_json(lambda e: e.update(metrics=[])),
    "record as number": broken_json(lambda e: e["metrics"].update(energy=3)),
    "record without a part": broken_json(lambda e: e["metrics"]["energy"].pop("per")),
    "unknown direction": broken_json(lambda e: e["metrics"]["energy"].update(direction="up")),
    "another model's": broken_json(lambda e: e.update(model="other")),
    "another kind": broken_json(lambda e: e.update(kind="model")),
    "NaN": broken_json(lambda e: losses(e)["value"].__setitem__(0, float("nan"))),
    "infinite": broken_json(lambda e: losses(e)["value"].__setitem__(0, float("inf"))),
    "beyond float": broken_json(lambda e: losses(e)["value"].__setitem__(0, 10**400)),
    "text as a loss": broken_json(lambda e: losses(e)["value"].__setitem__(0, "0.3")),
    "a loss less": broken_json(lambda e: losses(e)["positive"].pop()),
    "no losses": broken_json(lambda e: losses(e).clear()),
    "a metric less": broken_json(lambda e: e["losses"].pop("energy")),
    "an unknown silent condition": broken_json(lambda e: e.update(silent=["Z"])),
    "a folder": folder_in_its_place,
    "a pipe": pipe_in_its_place,
    "a link to itself": link_to_itself,
}


@pytest.fixture(scope="module")
def whole(counts, tmp_path_factory):
    """A finished benchmark of one baseline: the spec, its folder and its table."""
    folder = tmp_path_factory.mktemp("finished")
    one = {
        "data": {
            "small": {
                "path": str(counts),
                "perturbation_key": "perturbation",
                "control": "control",
                "prepare": {"normalize": "log1p", "n_comps": 8},
            }
        },
        "splits": {"unseen": {"by": "perturbation", "test": 0.5}},
        "models": ["perturbed_mean"],
        "evaluate": {"metrics": ["energy", "collapse_index"], "n_comps": 8},
    }
    return one, folder, sh.benchmark.run(one, folder=folder)


def test_rows_that_do_not_say_what_is_silent_are_read(whole):
    """They are of runs before this was noted; harm is then that of all conditions alone."""
    _, folder, _ = whole
    [path] = (folder / "rows").glob("*.json")
    text = path.read_text()
    broken_json(lambda e: e.pop("silent"))(path)
    try:
        assert read_row(folder, path.stem).silent == []
    finally:
        path.write_text(text)


@pytest.mark.parametrize("what", WRONG)
def test_a_result_that_cannot_be_read_is_computed_again(whole, caplog, what):
    spec, folder, before = whole
    [path] = (folder / "rows").glob("*.json")
    WRONG[what](path)
    again = sh.benchmark.run(spec, folder=folder)
    pd.testing.assert_frame_equal(again.drop(columns=COST), before.drop(columns=COST))
    assert path.is_file()
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    told = [text for text in warnings if "cannot be read and is computed again" in text]
    assert len(told) == (what != "another kind")  # that one can be read, but is not the one wanted
    assert all(str(path) in text for text in told)
    assert not list(folder.rglob(".shoal-*"))
    caplog.clear()
    sh.benchmark.run(spec, folder=folder)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_what_was_in_a_folder_of_that_name_is_kept(whole):
    spec, folder, _ = whole
    [path] = (folder / "rows").glob("*.json")
    folder_in_its_place(path)
    sh.benchmark.run(spec, folder=folder)
    assert [p.read_text() for p in folder.rglob("kept.txt")][-1] == "of the user"


def test_a_list_of_results_that_cannot_be_read(whole):
    spec, folder, before = whole
    for text in ("{", "[1]", "\x00", "3"):
        (folder / "benchmark.json").write_text(text)
        with pytest.raises(ValueError, match="writes it anew"):
            sh.benchmark.table(folder)
    again = sh.benchmark.run(spec, folder=folder)
    pd.testing.assert_frame_equal(again.drop(columns=COST), before.drop(columns=COST))


def test_two_results_of_one_file_are_refused(whole, tmp_path):
    spec = whole[0] | {
        "models": [
            {"name": "mean_shift", "label": "a b"},
            {"name": "perturbed_mean", "label": "a_b"},
        ]
    }
    with pytest.raises(ValueError, match="'a b' and .*'a_b' have the same file"):
        sh.benchmark.run(spec, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hostile(tmp_path, monkeypatch, whole):
    """A spec whose data come from a module that leaves a trace when it is imported."""
    trace = tmp_path / "imported"
    (tmp_path / "of_others.py").write_text(
        f"import pathlib, shoal\npathlib.Path({str(trace)!r}).touch()\n"
        "def screen():\n"
        "    return shoal.ds.simulate(n_perturbations=6, n_cells=30, n_control=80, n_genes=30, rng=0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "of_others", raising=False)
    about = whole[0]["data"]["small"] | {"call": "of_others:screen"}
    about.pop("path")
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(whole[0] | {"data": {"theirs": about}}))
    return path, trace


def test_code_is_imported_on_trust_only(hostile, tmp_path):
    path, trace = hostile
    out = tmp_path / "out"
    for spec in (path, str(path), json.loads(path.read_text())):
        with pytest.raises(ValueError, match=r"of_others:screen \(data 'theirs'\).*trust=True"):
            sh.benchmark.run(spec, folder=out)
    done = CliRunner().invoke(app, ["benchmark", str(path), "-o", str(out)])
    assert done.exit_code == 2
    assert "of_others:screen" in done.stderr
    assert "pass --trust" in done.stderr
    assert not trace.exists()
    assert not out.exists()
    done = CliRunner().invoke(app, ["benchmark", str(path), "-o", str(out), "--trust"])
    assert done.exit_code == 0, done.stderr
    assert trace.exists()
