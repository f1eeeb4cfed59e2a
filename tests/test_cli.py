from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import shoal as sh
from shoal import _report
from shoal.cli import app

WRITTEN = {"coherence.csv", "coherence.png", "ranking.png", "null.csv", "null.png"}
runner = CliRunner()


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """A small screen of counts as a file."""
    path = tmp_path_factory.mktemp("screen") / "small.h5ad"
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=40, n_control=120, n_genes=80, effect_size=8.0, rng=0
    )
    del adata.uns["shoal"], adata.uns["truth"]
    adata.write_h5ad(path)
    return path


def call(path, out, *more):
    """Run `shoal measure` with few draws."""
    needed = ["--perturbation-key", "perturbation", "--control", "control", "--n-draws", "5"]
    return runner.invoke(app, ["measure", str(path), *needed, "-o", str(out), *map(str, more)])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_counts_to_tables_and_pictures(counts, tmp_path):
    before, out = digest(counts), tmp_path / "new" / "out"
    result = call(
        counts, out, "--normalize", "log1p", "--batch-key", "batch", "--guide-key", "guide"
    )
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} == WRITTEN | {"screen.h5ad"}
    assert digest(counts) == before
    assert result.stdout == ""
    for stage in (
        "read as",
        "Preparing",
        "measuring the coherence of 4",
        "controls against controls",
        "writing",
    ):
        assert stage in result.stderr

    adata = ad.read_h5ad(counts)
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch", guide_key="guide")
    sh.pp.prepare(adata, normalize="log1p")
    sh.tl.coherence(adata)
    written = pd.read_csv(out / "coherence.csv", index_col="perturbation", keep_default_na=False)
    expected = adata.uns["coherence"]["table"]
    assert list(written.columns) == list(expected.columns)
    np.testing.assert_allclose(written["coherence"].astype(float), expected["coherence"])
    assert {"random split", "left-out labels"} == set(pd.read_csv(out / "null.csv")["held_out"])
    assert all(
        (out / name).read_bytes().startswith(b"\x89PNG") for name in WRITTEN if name.endswith("png")
    )


def test_the_same_seed_gives_the_same_tables(counts, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert (
            call(
                counts, tmp_path / name, "--normalize", "log1p", "--seed", seed, "--n-draws", "20"
            ).exit_code
            == 0
        )
    a, b, c = (pd.read_csv(tmp_path / name / "null.csv") for name in "abc")
    pd.testing.assert_frame_equal(a, b)
    assert not a["n_rejected"].equals(c["n_rejected"])
    assert digest(tmp_path / "a" / "coherence.csv") == digest(
        tmp_path / "c" / "coherence.csv"
    )  # nothing random in it


@pytest.fixture(scope="module")
def prepared(counts, tmp_path_factory):
    """The same screen, log-normalised, with a PCA and a layer."""
    adata = ad.read_h5ad(counts)
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=10)
    adata.layers["logs"] = adata.X.copy()
    path = tmp_path_factory.mktemp("prepared") / "ready.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.mark.parametrize(
    "more", [(), ("--use-rep", "X_pca"), ("--use-rep", "X"), ("--layer", "logs")]
)
def test_prepared_files_are_taken_as_they_are(prepared, tmp_path, more):
    result = call(prepared, tmp_path, *more, "--backed")
    assert result.exit_code == 0, result.output
    assert "preparing" not in result.stderr
    in_memory = tmp_path / "in_memory"
    assert call(prepared, in_memory, *more).exit_code == 0
    tables = [pd.read_csv(d / "coherence.csv", index_col=0) for d in (tmp_path, in_memory)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("where", ["layer", "raw", "nowhere"])
def test_scaled_values_are_told_of_where_counts_lie_beside_them(counts, tmp_path, where):
    adata = ad.read_h5ad(counts)
    if where == "layer":
        adata.layers["counts"] = adata.X.copy()
    elif where == "raw":
        adata.raw = adata.copy()
        adata = adata[:, :60].copy()  # as after the choice of variable genes
    logs = np.log1p(np.asarray(adata.X.todense() if hasattr(adata.X, "todense") else adata.X))
    adata.X = (logs - logs.mean(0)) / logs.std(0)
    adata.write_h5ad(tmp_path / "scaled.h5ad")
    result = call(tmp_path / "scaled.h5ad", tmp_path / "out", "--no-h5ad")
    assert result.exit_code == 0, result.output
    assert "these features are measured as they are" in result.stderr
    calls = {
        "layer": "adata.X = adata.layers['counts']",
        "raw": "adata = adata.raw.to_adata()",
    }
    if where in calls:
        assert f"write the file anew after {calls[where]}" in result.stderr
    else:
        assert "write the file anew" not in result.stderr


def test_h5ad_holds_all_results(prepared, tmp_path):
    before = digest(prepared)
    result = call(prepared, prepared.parent)
    assert result.exit_code == 0, result.output
    assert digest(prepared) == before
    adata = ad.read_h5ad(prepared.parent / "screen.h5ad")
    assert adata.obs["coherence"].notna().sum() == 160
    assert set(adata.uns["coherence"]["table"].index) == {"P1", "P2", "P3", "P4"}
    assert "rates" in adata.uns["coherence_null"]


def test_two_control_labels_are_pooled_and_tested(counts, tmp_path):
    adata = ad.read_h5ad(counts)
    label = adata.obs["perturbation"].astype(str)
    label[(label == "control") & (np.arange(adata.n_obs) % 2 == 0)] = "NT"
    adata.obs["perturbation"] = label
    path = tmp_path / "two.h5ad"
    adata.write_h5ad(path)
    assert call(path, tmp_path / "out", "--normalize", "log1p", "--control", "NT").exit_code == 0
    assert "NT" not in pd.read_csv(tmp_path / "out" / "coherence.csv", index_col=0).index
    assert "left-out labels" in set(pd.read_csv(tmp_path / "out" / "null.csv")["held_out"])


def test_too_few_controls_for_a_null(counts, tmp_path):
    adata = ad.read_h5ad(counts)
    path = tmp_path / "few.h5ad"
    adata[80:].copy().write_h5ad(path)  # 40 controls are left
    result = call(path, tmp_path / "out", "--normalize", "log1p", "--guide-key", "none")
    assert result.exit_code == 0, result.output
    assert "no test of controls against controls: 40 are too few" in result.stderr
    assert "\nwarning: 40 cells of fit_on='control' span 39 components" in result.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "coherence.csv",
        "coherence.png",
        "ranking.png",
        "screen.h5ad",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--control", "contrl", "--normalize", "log1p"), "Did you mean 'control'"),
        (("--batch-key", "batches", "--normalize", "log1p"), "Did you mean 'batch'"),
        (("--use-rep", "X_umap"), "'X_umap' is not in adata.obsm"),
        (("--layer", "logs", "--use-rep", "X_pca"), "exclude each other"),
        (("--normalize", "log1p", "--min-cells", "0"), "--min-cells must be"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(counts, tmp_path, more, message):
    out = tmp_path / "deep" / "out"
    result = call(counts, out, *more)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_error(counts, tmp_path):
    result = call(counts, tmp_path / "out", "--control", "contrl", "--debug")
    assert isinstance(result.exception, KeyError)


def test_no_such_file_and_no_h5ad(tmp_path):
    result = call(tmp_path / "absent.h5ad", tmp_path / "out")
    assert result.exit_code == 2
    assert "no such file" in result.stderr
    text = tmp_path / "text.h5ad"
    text.write_text("not HDF5")
    assert call(text, tmp_path / "out").exit_code == 2
    assert {p.name for p in tmp_path.iterdir()} == {"text.h5ad"}


def test_a_folder_that_cannot_be_written(counts, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    for out in (file, file / "out"):
        result = call(counts, out, "--normalize", "log1p")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")  # refused before any work
        assert "read as" not in result.stderr
    assert file.read_text() == "kept"


@pytest.mark.parametrize("stage", ["analyse", "write"])
def test_an_interrupted_run_leaves_the_earlier_results(counts, tmp_path, monkeypatch, stage):
    out = tmp_path / "out"
    assert call(counts, out, "--normalize", "log1p").exit_code == 0
    before = {p.name: digest(p) for p in out.iterdir()}
    real = getattr(_report, stage)

    def interrupted(*args, **more):
        real(*args, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(_report, stage, interrupted)
    result = call(counts, out, "--normalize", "log1p", "--seed", 9)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert {p.name: digest(p) for p in out.iterdir()} == before
    assert call(counts, tmp_path / "fresh", "--normalize", "log1p").exit_code == 130
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_pictures_that_cannot_be_drawn_do_not_take_the_tables_with_them(
    counts, tmp_path, monkeypatch
):
    def full(figure, path):
        path.write_bytes(b"\x89P")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_report, "save", full)
    result = call(counts, tmp_path / "out", "--normalize", "log1p")
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: not written: coherence.png (OSError: [Errno 28] No space left")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"coherence.csv", "null.csv", "screen.h5ad"}


def test_a_disk_that_takes_nothing_is_left_as_it_was(counts, tmp_path, monkeypatch):
    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_report, "save", full)
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    result = call(counts, tmp_path / "out", "--normalize", "log1p", "--no-h5ad")
    assert result.exit_code == 1
    assert result.stderr.endswith("error: [Errno 28] No space left on device\n")
    assert list(tmp_path.iterdir()) == []


def test_a_test_of_controls_that_fails_leaves_what_was_measured(counts, tmp_path, monkeypatch):
    def fails(*args, **more):
        raise RuntimeError("singular")

    monkeypatch.setattr(sh.tl, "coherence_null", fails)
    result = call(counts, tmp_path / "out", "--normalize", "log1p")
    assert result.exit_code == 1
    assert "error: not written: null.csv (RuntimeError: singular). All else is in" in result.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"coherence.csv", "coherence.png", "ranking.png", "screen.h5ad"}


@pytest.mark.slow
def test_the_installed_command_imports_lightly():
    program = (
        "import sys, shoal.cli; heavy = {'matplotlib', 'scanpy', 'torch', 'sklearn'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    script = shutil.which("shoal", path=str(Path(sys.executable).parent))
    assert script is not None
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert "measure" in shown
    assert "demo" in shown


# -- shoal evaluate --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged_files(tmp_path_factory):
    """Real and predicted counts as two files, the labels in obs; the prediction has no controls."""
    folder = tmp_path_factory.mktemp("judged")
    rng = np.random.default_rng(0)
    genes = [f"g{i:02}" for i in range(40)]
    label = np.repeat(["g00", "g01", "g02", "none"], [30, 30, 30, 60])
    fold = np.ones((len(label), 40))
    for i in range(3):
        fold[label == genes[i], 5 + 10 * i : 15 + 10 * i] = 3
    obs = pd.DataFrame({"target": label}, index=[f"c{i}" for i in range(len(label))])
    for name, power in (("real", 1.0), ("pred", 0.5)):
        x = rng.poisson(20 * fold**power).astype(np.float32)
        made = ad.AnnData(x, obs=obs.copy(), var=pd.DataFrame(index=genes))
        made = made if name == "real" else made[label != "none"].copy()
        made.write_h5ad(folder / f"{name}.h5ad")
    return folder


def judge(folder, *more, pred="pred.h5ad"):
    files = [str(folder / "real.h5ad"), str(folder / pred)]
    named = ["--perturbation-key", "target", "--control", "none"]
    return runner.invoke(app, ["evaluate", *files, *named, *map(str, more)])


def test_two_files_are_scored_as_the_challenge_does(judged_files, tmp_path):
    before = digest(judged_files / "real.h5ad")
    result = judge(judged_files, "--suite", "vcc2026", "--out", tmp_path / "tables")
    assert result.exit_code == 0, result.output
    assert "the prediction has no control cells" in result.stderr
    assert "vcc2026, 3 conditions: score" in result.stdout
    summary = pd.read_csv(tmp_path / "tables" / "evaluation_summary.csv", index_col="metric")
    shown = [line.split() for line in result.stdout.splitlines() if line.startswith("pds_cosine")]
    assert float(shown[0][1]) == round(summary.loc["pds_cosine", "value"], 4)
    written = {f"evaluation_{name}.csv" for name in ("table", "contexts", "contenders")}
    assert written | {"screen.h5ad"} <= {p.name for p in (tmp_path / "tables").iterdir()}
    assert digest(judged_files / "real.h5ad") == before


def test_another_suite_of_two_files_says_that_there_is_no_split(judged_files):
    result = judge(judged_files, "--suite", "vcc")
    assert result.exit_code == 2
    assert "--split none" in result.stderr
    with_controls = ad.read_h5ad(judged_files / "real.h5ad")
    with_controls.write_h5ad(judged_files / "whole.h5ad")
    result = judge(judged_files, "--suite", "vcc", "--split", "none", pred="whole.h5ad")
    assert result.exit_code == 0, result.output
    assert "overlap_at_N" in result.stdout


def test_evaluate_fails_in_one_line(judged_files, tmp_path):
    logged = ad.read_h5ad(judged_files / "pred.h5ad")
    logged.X = np.log1p(logged.X)
    logged.write_h5ad(judged_files / "logged.h5ad")
    out = ["--suite", "vcc2026", "--out", tmp_path / "o"]
    result = judge(judged_files, *out, pred="logged.h5ad")
    assert result.exit_code == 2
    assert "error: prediction.X holds" in result.stderr
    assert "--suite vcc2026 takes raw counts: predict counts" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "o").exists()
    result = judge(judged_files, pred="nowhere.h5ad")
    assert result.exit_code == 2
    assert "there is no such file" in result.stderr
