"""`shoal benchmark SPEC.yaml -o FOLDER`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import shoal as sh
from shoal.cli import app

runner = CliRunner()


@pytest.fixture
def path(spec, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(spec))  # JSON is YAML
    return path


def test_it_prints_the_leaderboard(path, tmp_path):
    done = runner.invoke(app, ["benchmark", str(path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.stderr
    board = sh.benchmark.table(tmp_path / "out")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| contender | kind | score |")
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == board.index.tolist()
    assert (
        (tmp_path / "out" / "leaderboard.md")
        .read_text()
        .splitlines()[2]
        .startswith(f"| {board.index[0]} |")
    )


def test_choices_within_training(spec, tmp_path):
    tune = {"name": "perturbed_mean", "tune": {"config": {"max_cells": [2, 1000]}}}
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(spec | {"models": ["mean_shift", tune]}))
    for inner, code in (("2", 0), ("0", 2)):
        done = runner.invoke(
            app, ["benchmark", str(path), "-o", str(tmp_path / "out"), "--inner", inner]
        )
        assert done.exit_code == code, done.stderr
    assert "inner must be a whole number of at least 1" in done.stderr
    assert "max_cells=1000" in (tmp_path / "out" / "rows.csv").read_text()


def test_an_error_is_a_line(path, tmp_path):
    path.write_text("data: {}\nmodel: []\n")
    done = runner.invoke(app, ["benchmark", str(path), "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "key='model' is not known; choose one of 'data'" in done.stderr
    assert not (tmp_path / "out").exists()
