"""Files that the command line reads and writes: full disks, signals, missing texts, h5mu."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import shoal as sh
from shoal import _h5ad
from shoal.cli import app

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such limits and signals there")
NEEDED = ["--perturbation-key", "perturbation", "--control", "control"]
WRITTEN = {"coherence.csv", "coherence.png", "ranking.png", "null.csv", "null.png"}


@pytest.fixture(scope="module")
def screen():
    """A small log-normalised screen with a PCA."""
    adata = sh.ds.simulate(
        n_perturbations=3, n_cells=40, n_control=120, n_genes=40, effect_size=8.0, rng=0
    )
    del adata.uns["shoal"], adata.uns["truth"]
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=5)
    return adata


def measure(path, out, *more):
    arguments = ["measure", str(path), *NEEDED, "--n-draws", "5", "-o", str(out), *more]
    return CliRunner().invoke(app, arguments)


def limited(n_bytes):
    """Have a process fail to write more than this to a file, as on a full disk."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return limit


@posix
@pytest.mark.slow
def test_a_full_disk_ends_in_a_message_and_keeps_the_tables(screen, tmp_path):
    adata = screen.copy()
    adata.obsm["noise"] = np.random.default_rng(0).normal(size=(adata.n_obs, 2_000))  # 3.8 MB
    adata.write_h5ad(tmp_path / "big.h5ad")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "shoal", "measure", "big.h5ad", *NEEDED, "--n-draws", "5"]
    for n_bytes in (700_000, 2_000_000):
        done = subprocess.run(
            [*command, "-o", str(out)],
            cwd=tmp_path,
            preexec_fn=limited(n_bytes),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr  # -11, a crash inside HDF5, if it writes itself
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: not written: screen.h5ad (OSError: ")
        assert last.endswith(f"All else is in {out}")
        assert {p.name for p in out.iterdir()} == WRITTEN


@posix
@pytest.mark.slow
def test_a_model_and_its_cells_on_a_full_disk(screen, tmp_path):
    adata = screen.copy()
    sh.pp.annotate(adata, "perturbation", control="control")
    adata.obsm["noise"] = np.random.default_rng(0).normal(size=(adata.n_obs, 2_000))
    adata.write_h5ad(tmp_path / "big.h5ad")
    program = (
        "import anndata, shoal as sh; adata = anndata.read_h5ad('big.h5ad');"
        "model = sh.tl.fit(adata, 'mean_shift'); model.save('saved', save_anndata=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        preexec_fn=limited(1_000_000),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("OSError: [Errno 27]")
    assert {p.name for p in tmp_path.iterdir()} == {"big.h5ad"}


@posix
@pytest.mark.slow
def test_a_signal_ends_a_benchmark_in_a_line(screen, tmp_path):
    adata = screen.copy()
    adata.write_h5ad(tmp_path / "small.h5ad")
    spec = {
        "data": {"small": {"path": "small.h5ad", "perturbation_key": "perturbation", "control": "control"}},
        "splits": {"unseen": {"by": "perturbation", "test": 0.5}},
        "models": ["perturbed_mean", "mean_shift"],
        "seeds": list(range(400)),
    }  # fmt: skip
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "shoal", "benchmark", "spec.yaml", "-o", "out", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    rows = tmp_path / "out" / "rows"
    deadline = time.monotonic() + 300
    while not list(rows.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in said
    for path in rows.iterdir():
        assert json.loads(path.read_text())["note"] == ""
    assert not list(tmp_path.rglob(".shoal-*"))


@posix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_removes_the_scratch_folder(screen, tmp_path, name):
    screen.write_h5ad(tmp_path / "small.h5ad")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "shoal", "measure", "small.h5ad", *NEEDED]
    process = subprocess.Popen(
        [*command, "--n-draws", "1000000", "-o", str(out)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),
    )  # a shell that runs the tests in the background has SIGINT ignored
    for line in process.stderr:  # until it is at work
        if line.startswith("testing controls"):
            break
    assert list(out.glob(".shoal-*"))
    time.sleep(0.2)
    number = getattr(signal, name)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].endswith("; nothing half-written is left")
    assert "Traceback" not in said
    assert not out.exists()


def test_a_file_is_written_as_anndata_writes_it(screen, tmp_path):
    _h5ad.write(screen, tmp_path / "ours.h5ad")
    screen.write_h5ad(tmp_path / "theirs.h5ad", compression="gzip")
    ours, theirs = (ad.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("ours", "theirs"))
    np.testing.assert_array_equal(ours.X.toarray(), screen.X.toarray())
    pd.testing.assert_frame_equal(ours.obs, theirs.obs)
    pd.testing.assert_frame_equal(ours.var, theirs.var)
    assert set(ours.uns) == set(theirs.uns)
    assert set(ours.layers) == set(theirs.layers)
    np.testing.assert_array_equal(ours.obsm["X_pca"], screen.obsm["X_pca"])
    backed = ad.read_h5ad(tmp_path / "ours.h5ad", backed="r")
    _h5ad.write(backed, tmp_path / "again.h5ad")
    again = ad.read_h5ad(tmp_path / "again.h5ad")
    np.testing.assert_array_equal(again.X.toarray(), screen.X.toarray())


@pytest.mark.parametrize("missing", [False, True])
def test_texts_of_the_newer_kind_are_written(screen, tmp_path, missing):
    adata = screen.copy()
    adata.obs.index = pd.Index(adata.obs_names, dtype="string")
    adata.var.index = pd.Index(adata.var_names, dtype="string")
    note = pd.array(["a", None if missing else "b"] * (adata.n_obs // 2), dtype="string")
    adata.obs["note"] = note
    with ad.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(tmp_path / "new.h5ad")
    result = measure(tmp_path / "new.h5ad", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == WRITTEN | {"screen.h5ad"}
    back = ad.read_h5ad(tmp_path / "out" / "screen.h5ad")
    assert list(back.obs_names) == list(adata.obs_names)
    assert back.obs["note"].isna().sum() == (adata.n_obs // 2 if missing else 0)
    assert "table" in back.uns["coherence"]


def test_a_modality_of_an_h5mu(screen, tmp_path):
    import mudata as md

    rna = screen.copy()
    labels = rna.obs.pop("perturbation")
    other = ad.AnnData(np.ones((rna.n_obs, 2), np.float32), obs=rna.obs[[]].copy())
    whole = md.MuData({"rna": rna, "adt": other})
    whole.obs["perturbation"] = labels  # of the whole, as in ECCITE-seq
    whole.write(tmp_path / "both.h5mu")
    result = measure(tmp_path / "both.h5mu", tmp_path / "out")
    assert "Left alone: " in result.stderr
    assert "modalities 'adt'" in result.stderr
    result = measure(tmp_path / "both.h5mu", tmp_path / "out", "--mod", "dna")
    assert "which holds 'rna', 'adt'. Did you mean 'rna'?" in result.stderr
    result = measure(tmp_path / "both.h5mu", tmp_path / "out", "--mod", "rna")
    assert result.exit_code == 0, result.stderr
    assert "FutureWarning" not in result.stderr
    assert "From 0.4" not in result.stderr
    back = ad.read_h5ad(tmp_path / "out" / "screen.h5ad")
    assert not [column for column in back.obs if ":" in column]
    assert {p.name for p in (tmp_path / "out").iterdir()} == WRITTEN | {"screen.h5ad"}
    screen.write_h5ad(tmp_path / "one.h5ad")
    result = measure(tmp_path / "one.h5ad", tmp_path / "out2", "--mod", "rna")
    assert "leave --mod out" in result.stderr or "leave mod out" in result.stderr


def test_files_of_other_kinds_are_said_as_such(screen, tmp_path):
    with h5py.File(tmp_path / "10x.h5", "w") as file:
        file.create_group("matrix")
    screen.write_h5ad(tmp_path / "cut.h5ad")
    os.truncate(tmp_path / "cut.h5ad", 5_000)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "folder.zarr").mkdir()
    for name, message in {
        "10x.h5": "cannot be read as an h5 of 10x (Exception: File is missing",
        "cut.h5ad": "cut short, copy or download it again",
        "table.csv": "make an h5ad of it first, with scanpy.read_csv(path)",
        "folder.zarr": "is a folder without a zarr store",
        "absent.h5ad": "no such file",
    }.items():
        result = measure(tmp_path / name, tmp_path / "out")
        assert result.exit_code == 2
        last = result.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        assert message in last
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "shoal", "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage: shoal" in done.stdout
    assert "measure" in done.stdout
