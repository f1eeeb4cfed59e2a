"""What the guide shows can be run."""

from __future__ import annotations

import re
from pathlib import Path

from shoal.benchmark._spec import read

PAGE = (Path(__file__).parents[2] / "docs" / "user_guide" / "benchmark.md").read_text(
    encoding="utf-8"
)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_code_runs():
    left = {}
    exec(compile(blocks("python")[0], "benchmark.md", "exec"), left)
    board = left["adata"].uns["leaderboard"]["table"]
    assert set(board.index[:2]) == {"perturbed_mean", "mean_shift"}
    assert board["results"].tolist() == [2] * 5


def test_the_spec_is_one(tmp_path):
    (tmp_path / "renge.h5ad").touch()
    (tmp_path / "spec.yaml").write_text(blocks("yaml")[0])
    spec = read(tmp_path / "spec.yaml")
    assert [data.name for data in spec.data] == ["renge", "kang"]
    assert [split.data for split in spec.splits] == [("renge",), ("renge", "kang")]
    assert [model.kind for model in spec.models] == ["baseline"] * 4 + ["model"]
