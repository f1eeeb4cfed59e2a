"""The demonstration runs on the screen that is shipped, without network, and ends with a verdict."""

from __future__ import annotations

import shutil
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

import shoal as sh
from shoal import _demo, _report
from shoal.cli import app

runner = CliRunner()


@pytest.fixture
def small_demo(monkeypatch, tmp_path):
    """Make the demo's screen small, and let it find no other and no network."""
    load = sh.ds.load

    def small(name):
        adata = load(name)
        few = adata.obs["perturbation"].isin(["control", "POU5F1", "PRDM14", "SOX2", "RUNX1T1"])
        return adata[few & adata.obs["day"].isin(["day3", "day4", "day5"])].copy()

    def no_network(*_):
        msg = "a connection was opened"
        raise AssertionError(msg)

    monkeypatch.setattr(sh.ds, "load", small)
    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr(_demo, "FEW_DRAWS", 5)
    monkeypatch.setattr(_report.Options, "n_draws", 5)
    monkeypatch.setenv("SHOAL_DATA_DIR", str(tmp_path / "none"))


@pytest.mark.slow
def test_the_demo_ends_with_a_verdict_and_a_page(small_demo, tmp_path):
    out = tmp_path / "out"
    for quick in ([], ["--quick"]):  # the second time replaces the first
        result = runner.invoke(app, ["demo", *quick, "-o", str(out)])
        assert result.exit_code == 0, result.output
        assert "4 of 4 perturbations respond" in result.stdout
        assert "held-out conditions" in result.stdout
        assert str(out / "report.html") in result.stdout
    assert "Ishikawa" in (out / "report.html").read_text(encoding="utf-8")
    assert len(list(out.glob("*.png"))) >= 5
    assert not (out / "measured").exists()
    summary = pd.read_csv(out / "summary.csv", index_col="screen")
    assert summary.loc["renge_small", "perturbations"] == 4


@pytest.fixture
def folder(find_real, tmp_path, monkeypatch):
    """A folder with one of the larger screens."""
    place = tmp_path / "data"
    place.mkdir()
    shutil.copy(find_real("norman19_perturbench.h5ad"), place)
    monkeypatch.setenv("SHOAL_DATA_DIR", str(place))
    return place


@pytest.mark.slow
def test_larger_screens_at_hand_are_measured_only(folder, tmp_path, monkeypatch):
    told, asked = [], []

    def journey(adata, out, **given):
        asked.append(given["measure"].n_draws)
        sh.pp.prepare(adata, normalize="log1p")
        sh.tl.coherence(adata)
        return _demo._journey.Journey("It responds.", ("More.",), (out / "a.png", out / "b.csv"))

    monkeypatch.setattr(_demo._journey, "run", journey)
    monkeypatch.setattr(_demo, "FEW_DRAWS", 5)
    text = _demo.run(tmp_path / "out", quick=False, say=told.append)
    assert text.splitlines()[1:3] == ["It responds.", "More."]
    assert "a.png" in text
    assert "b.csv" not in text
    names = pd.read_csv(tmp_path / "out" / "summary.csv")["screen"]
    assert list(names) == ["renge_small", "norman_2019"]
    written = {path.name for path in (tmp_path / "out" / "measured" / "norman_2019").iterdir()}
    assert written >= {"coherence.csv", "coherence.png", "ranking.png"}
    assert any("norman_2019" in line and "measured only" in line for line in told)

    _demo.run(tmp_path / "quick", quick=True, say=told.append)
    assert list(pd.read_csv(tmp_path / "quick" / "summary.csv")["screen"]) == ["renge_small"]
    assert asked == [_report.Options.n_draws, 5]


def test_without_the_libraries_of_the_report_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = runner.invoke(app, ["demo", "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "pip install 'shoal[report]'" in result.stderr
    assert not (tmp_path / "out").exists()
