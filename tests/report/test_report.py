from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pytest
from markupsafe import escape
from typer.testing import CliRunner

import shoal as sh
from shoal._verdict import verdict
from shoal.cli import app
from shoal.report._ranked import ranked
from shoal.tl._report import report
from shoal.tl._report_cells import cell_content

from ..evaluation.test_vcc2026 import made
from .conftest import VERDICT, big

for library in ("plotly", "itables", "jinja2"):
    pytest.importorskip(library, reason=f"{library}, of the extra report, is not installed")


def sections(path):
    found = re.findall(r'<section id="(\w+)">', path.read_text(encoding="utf-8"))
    assert (found[0], found[-1]) == ("verdict", "details")
    return found[1:-1]


def data(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    )


def test_all_sections(judged, tmp_path):
    before = set(judged.uns), set(judged.obs)
    path = report(judged, out=tmp_path / "r.html")
    assert sections(path) == ["coherence", "leaderboard", "conditions", "evaluation"]
    assert (set(judged.uns), set(judged.obs)) == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]
    assert path.stat().st_size < 7e6
    text = path.read_text(encoding="utf-8")
    for fact in (
        "<dd>1,900</dd>",
        "<dd>300 (control)</dd>",
        "<dd>train 1,500, test 400</dd>",
        "<dt>suite</dt>",
    ):
        assert fact in text
    found = verdict(judged)
    assert f'<p class="headline">{escape(found.headline)}</p>' in text
    for line in found.lines:
        assert f"<li>{escape(line)}</li>" in text
    assert VERDICT[1:] in text
    assert "29 of 33 metrics discriminate" in text
    assert "as good\nas mean shift, which was fixed beforehand" in text


def test_where_nothing_responds_it_says_so(judged, tmp_path):
    adata = judged.copy()
    said = "nothing to predict here: unchanged controls are the right answer; <flow> is no worse"
    adata.uns["evaluation"]["params"] |= {"responds": False, "verdict": said}
    text = report(adata, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert said[1:].replace("<flow>", "&lt;flow&gt;").replace("'", "&#39;") in text
    assert "nothing to predict here: unchanged controls are the right answer" in text


def test_missing_parts_are_left_out(measured, judged, tmp_path):
    assert sections(report(measured, out=tmp_path / "c.html")) == ["coherence"]
    only = judged.copy()
    del only.uns["coherence"], only.uns["leaderboard"], only.uns["shoal"]
    path = report(only, out=tmp_path / "e.html", title="A & <B>")
    assert sections(path) == ["leaderboard", "conditions", "evaluation"]
    assert set(data(path)["panel"]) == {"evaluation"}
    assert "<title>A &amp; &lt;B&gt;</title>" in path.read_text(encoding="utf-8")


def test_intervals_are_among_the_facts(judged, tmp_path):
    adata = judged.copy()
    shared = {"version": "", "table": None}
    adata.uns["made_intervals"] = {
        "schema": "intervals/1",
        "params": {"prediction": "made", "coverage": "9 of 10 <genes>"},
        **shared,
    }
    adata.uns["interval_evaluation"] = {
        "schema": "interval_evaluation/1",
        "params": {"prediction": "made", "verdict": "8 of 9 conditions"},
        **shared,
    }
    adata.uns["other_intervals"] = {
        "schema": "intervals/1",
        "params": {"prediction": "other", "coverage": "a whole sentence " * 5},
        **shared,
    }
    text = report(adata, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<div><dt>intervals of made</dt><dd>9 of 10 &lt;genes&gt;</dd>" in text
    assert '<div class="long"><dt>intervals of other</dt>' in text  # a line of its own
    assert "<dt>interval evaluation of made</dt><dd>8 of 9 conditions</dd>" in text


def test_the_screen_is_found_in_the_parameters(measured, tmp_path):
    adata = measured.copy()
    del adata.uns["shoal"]
    assert "<dd>300 (control)</dd>" in report(adata, out=tmp_path / "r.html").read_text(
        encoding="utf-8"
    )


def test_the_same_from_a_file(judged, tmp_path):
    judged.write_h5ad(tmp_path / "j.h5ad")
    one = report(judged, out=tmp_path / "a.html")
    two = report(ad.read_h5ad(tmp_path / "j.h5ad", backed="r"), out=tmp_path / "b.html")
    assert data(one) == data(two)


def test_mudata_and_other_keys(measured, tmp_path):
    adata = measured.copy()
    adata.uns["mine"] = adata.uns.pop("coherence")
    mdata = md.MuData({"rna": adata})
    assert sections(report(mdata, out=tmp_path / "r.html", coherence_key="mine", mod="rna")) == [
        "coherence"
    ]
    with pytest.raises(KeyError, match="'theirs' is not in adata.uns"):
        report(adata, out=tmp_path / "r.html", evaluation_key="theirs")


def test_nothing_to_report_names_the_calls(tmp_path):
    with pytest.raises(KeyError, match=r"sh.tl.coherence\(adata\) or sh.tl.evaluate"):
        report(ad.AnnData(np.eye(3)), out=tmp_path / "r.html")


def test_another_layout_is_refused(measured, tmp_path):
    adata = measured.copy()
    adata.uns["coherence"] = {**adata.uns["coherence"], "schema": "coherence/9"}
    with pytest.raises(ValueError, match="'coherence/9', not 'coherence/1'; call sh.tl.coherence"):
        report(adata, out=tmp_path / "r.html")


def test_places_that_cannot_be_written(measured, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder: .*absent; make it first"):
        report(measured, out=tmp_path / "absent" / "r.html")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        report(measured, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_earlier_page(measured, tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("earlier")
    real = Path.write_bytes

    def full(self, content):
        real(self, content[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        report(measured, out=path)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_library_names_the_extra(measured, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install 'shoal\[report\]'"):
        report(measured, out=tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_thousands_of_perturbations(tmp_path):
    seconds = []
    for adata in (big(500), big(2000)):
        start = time.process_time()
        path = report(adata, out=tmp_path / "r.html")
        seconds.append(time.process_time() - start)
    assert seconds[1] < 8 * seconds[0]  # 4 if it grows linearly, 16 if with the square
    assert path.stat().st_size < 15e6
    assert len(data(path)["tables"]["conditions"]["rows"]) == 2000


def test_the_page_of_the_user_guide_runs(tmp_path, monkeypatch):
    guide = Path(__file__).parents[2] / "docs" / "user_guide" / "report.md"
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", guide.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "report.md", "exec"), {"__name__": "page"})
    assert sections(tmp_path / "report.html") == ["coherence"]


def test_command(judged, tmp_path):
    judged.write_h5ad(tmp_path / "j.h5ad")
    runner = CliRunner()
    done = runner.invoke(
        app, ["report", str(tmp_path / "j.h5ad"), "-o", str(tmp_path / "r.html"), "--title", "Mine"]
    )
    assert done.exit_code == 0, done.output
    assert sections(tmp_path / "r.html") == ["coherence", "leaderboard", "conditions", "evaluation"]
    assert re.search(r"done: .*r\.html \([\d.]+ MB\)", done.stderr)
    wrong = runner.invoke(
        app, ["report", str(tmp_path / "j.h5ad"), "-o", str(tmp_path / "no" / "r.html")]
    )
    assert wrong.exit_code == 2
    assert wrong.stderr.splitlines()[-1].startswith("error: no such folder")


def test_a_note_says_what_the_dagger_means(judged, tmp_path):
    adata = judged.copy()
    text = report(adata, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert "† transductive" not in text
    table = adata.uns["evaluation"]["contenders"]
    table["transductive"] = table.index == "prediction"
    path = report(adata, out=tmp_path / "r.html")
    assert path.read_text(encoding="utf-8").count("† transductive") == 1
    assert "flow †" in [c["title"] for c in data(path)["tables"]["contenders"]["columns"]]
    adata.uns["leaderboard"]["table"]["transductive"] = [True, False, False]
    path = report(adata, out=tmp_path / "r.html")
    assert path.read_text(encoding="utf-8").count("† transductive") == 2
    assert data(path)["tables"]["leaderboard"]["rows"][0][0] == "perturbdiff †"


def test_a_score_without_held_out_conditions_says_so(judged, tmp_path):
    said = "no held-out split: conditions may have been seen in training"
    path = report(judged, out=tmp_path / "r.html")
    assert 'class="caution"' not in path.read_text(encoding="utf-8")
    judged.uns["evaluation"]["params"]["caution"] = said
    judged.uns["leaderboard"]["params"]["caution"] = "accepted leaks: same_condition"
    text = report(judged, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"<li>Beware: {said}.</li>" in text
    assert "<b>Beware:</b> accepted leaks: same_condition." in text


@pytest.mark.slow
def test_the_best_and_the_worst_condition_are_drawn_with_their_cells(tmp_path):
    adata = sh.ds.simulate(n_perturbations=12, n_cells=60, n_genes=80, effect_size=6.0, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=10)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="own", subset="test")
    sh.tl.evaluate(adata, prediction="own", metrics=["energy"], baselines=None, n_draws=2)
    cells, why = cell_content(adata, adata.uns["evaluation"])
    assert why == ""
    table = ranked(adata.uns["evaluation"])
    assert [one.title for one in cells] == [
        f"best predicted: {table.index[0]}", f"worst predicted: {table.index[-1]}"
    ]  # fmt: skip
    for one in cells:
        own = (adata.obs["perturbation"] == one.perturbation).to_numpy()
        scores = adata.obsm["X_pca"]
        shift = scores[own].mean(axis=0) - scores[adata.obs["perturbation"] == "control"].mean(
            axis=0
        )
        np.testing.assert_allclose(one.shifts[0], [np.linalg.norm(shift), 0], atol=1e-4)
    text = report(adata, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count('id="cells-') == 2
    del adata.layers["own"]
    text = report(adata, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Predicted cells are not drawn: &#39;own&#39; is not in adata.layers" in text


@pytest.mark.slow
def test_a_suite_of_another_form_is_reported_too(tmp_path):
    """That of the 2026 challenge: no intervals, no energy distance, other columns."""
    adata, predicted = made(contexts=("one", "two"))
    sh.tl.evaluate(adata, prediction=predicted, suite="vcc2026")
    path = report(adata, out=tmp_path / "r.html")
    assert sections(path) == ["leaderboard", "conditions", "evaluation"]
    text = path.read_text(encoding="utf-8")
    assert "in the suite vcc2026 scores have no interval" in text
    assert "No condition can be called best or worst predicted" in text
