"""From a file as others write it to a report, on real cells, in Python and from the shell.

Each walk ends with the sentence that its user reads.
"""

from __future__ import annotations

import os
import re

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tests.conftest import real
from typer.testing import CliRunner

import shoal as sh
from shoal.cli import app

pytestmark = pytest.mark.slow


def logged(counts):
    """Return counts of cells as log-normalised values."""
    depth = np.asarray(counts.sum(1)).ravel()
    return sparse.csr_matrix(counts.multiply(np.median(depth) / depth[:, None]).log1p())


def gears(folder):
    """Norman et al. as GEARS writes it."""
    cells = real("norman19_perturbench.h5ad")
    label = cells.obs["perturbation"].astype(str)
    condition = label.map(lambda s: "ctrl" if s == "control" else s if "+" in s else f"{s}+ctrl")
    adata = ad.AnnData(logged(sparse.csr_matrix(cells.X, dtype=np.float32)))
    adata.obs_names, adata.var_names = (
        cells.obs_names,
        [f"ENSG{i:011d}" for i in range(cells.n_vars)],
    )
    adata.obs["condition"] = pd.Categorical(condition)
    adata.obs["cell_type"] = "A549"
    adata.obs["dose_val"] = np.where(condition == "ctrl", "1", "1+1")
    adata.obs["control"] = (condition == "ctrl").astype(int)
    adata.var["gene_name"] = cells.var_names.to_numpy()
    adata.write_h5ad(folder / "gears.h5ad")
    return folder / "gears.h5ad"


def scperturb(folder):
    """The same as scPerturb writes it, some cells without a label."""
    cells = real("norman19_perturbench.h5ad")
    label = cells.obs["perturbation"].astype(str).str.replace("+", "_")
    adata = ad.AnnData(sparse.csr_matrix(cells.X, dtype=np.float32))
    adata.obs_names, adata.var_names = cells.obs_names, cells.var_names
    adata.obs["perturbation"] = pd.Categorical(label.mask(np.arange(len(label)) % 50 == 0))
    adata.obs["nperts"] = np.where(label == "control", 0, label.str.count("_") + 1)
    adata.write_h5ad(folder / "scperturb.h5ad")
    return folder / "scperturb.h5ad"


def tenx(folder):
    """Papalexi et al. as the MuData of Cell Ranger: guides that are called, and what they target."""
    cells = real("papalexi21_sceptre_lowmoi.h5ad")
    cells = cells[np.random.default_rng(0).choice(cells.n_obs, 3000, replace=False)].copy()
    rna = ad.AnnData(cells.X.copy(), obs=pd.DataFrame(index=cells.obs_names))
    rna.var_names = cells.var_names
    called = cells.obs["grna"].astype(str)
    rna.obs["feature_call"], rna.obs["num_features"] = called, 1
    rna.obs.iloc[::20, :] = np.nan
    of = cells.obs.assign(grna=called).drop_duplicates("grna").set_index("grna")["perturbation"]
    target = of.astype(str).replace({"non-targeting": "Non-Targeting"})
    gdo = ad.AnnData(sparse.csr_matrix((cells.n_obs, len(of)), dtype=np.float32), obs=rna.obs[[]])
    gdo.var_names = of.index.astype(str)
    gdo.var["target_gene_name"] = target.to_numpy()
    whole = mudata.MuData({"rna": rna, "CRISPR Guide Capture": gdo})
    whole.write_h5mu(folder / "10x.h5mu")
    return folder / "10x.h5mu"


def pair(folder):
    """Papalexi et al. as cell-eval has it: real cells in one file, predicted ones in another.

    What is called predicted is a second half of the same cells.
    """
    cells = real("papalexi21_sceptre_lowmoi.h5ad")
    keep = cells.obs["perturbation"].isin(["non-targeting", "STAT1", "IFNGR2", "JAK2", "IRF1"])
    cells = cells[keep].copy()
    cells = ad.AnnData(
        logged(sparse.csr_matrix(cells.X, dtype=np.float32)),
        obs=cells.obs[["perturbation"]].rename(columns={"perturbation": "target_gene"}),
        var=cells.var[[]],
    )
    half = np.random.default_rng(0).random(cells.n_obs) < 0.5
    for name, rows in (("real", half), ("pred", ~half)):
        cells[rows].copy().write_h5ad(folder / f"{name}.h5ad")
    return folder / "real.h5ad", folder / "pred.h5ad"


def shown(capsys, text):
    """Show the sentence at the end, where SHOAL_SAY is set."""
    if os.environ.get("SHOAL_SAY"):
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201


@pytest.mark.parametrize(
    ("make", "normalize", "by"),
    [
        (gears, None, "combination"),
        (scperturb, "log1p", "combination"),
        (tenx, "log1p", "perturbation"),
    ],
)
def test_in_python(tmp_path, make, normalize, by, capsys):
    adata = sh.io.read(make(tmp_path))
    sh.pp.prepare(adata, normalize=normalize, n_comps=20)
    sh.tl.coherence(adata)
    sh.pp.split(adata, by=by, test=0.3)
    model = sh.tl.fit(adata, "additive" if by == "combination" else "perturbed_mean")
    sh.tl.predict(adata, model, key_added="made", subset="test")
    sh.tl.evaluate(adata, prediction="made", baselines=["perturbed_mean"], n_draws=2)
    verdict = adata.uns["evaluation"]["params"]["verdict"]
    assert "metrics against the baseline" in verdict
    page = sh.tl.report(adata, out=tmp_path / "report.html")
    assert page.stat().st_size > 1e5
    shown(capsys, f"{make.__name__}: {verdict}")


def call(*arguments):
    """Run a command, and return what it wrote on stdout and on stderr."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize(
    ("make", "read_as", "n", "held_out"),
    [
        (gears, "read as GEARS", 33, r"\d+"),
        (scperturb, "read as scPerturb", 33, r"\d+"),
        (tenx, "read as 10x CRISPR guide capture", 25, "5"),
    ],
)
def test_from_the_shell(tmp_path, make, read_as, n, held_out, capsys):
    file, out = make(tmp_path), tmp_path / "out"
    call("init", file, "-o", tmp_path / "shoal.yaml")
    fast = ["--n-draws", 20, "--baselines", "perturbed_mean"]
    told, said = call("run", "--config", tmp_path / "shoal.yaml", "-o", out, *fast)
    assert read_as in said
    sentence, *_, last = told.splitlines()
    responds = (
        rf"\d+ of {n} perturbations respond \(q < 0\.05( by \w+)?\)(, \d+ more by cells alone)?\."
    )
    beats = rf"'auto' (predicts|cannot be told) .*the baseline \w+( on {held_out} held-out conditions)?(, and .*)?\."
    assert re.fullmatch(f"{responds} {beats}", sentence), sentence
    assert last == f"report: {out / 'report.html'}"
    assert (out / "report.html").stat().st_size > 1e5
    shown(capsys, f"shoal run, {make.__name__}: {sentence}")


def test_a_pair_of_files_of_cell_eval_in_python(tmp_path):
    truth, prediction = pair(tmp_path)
    adata, predicted = sh.io.read(truth), sh.io.read(prediction)
    sh.tl.evaluate(adata, prediction=predicted, split=None, baselines=None, n_draws=2)
    found = adata.uns["evaluation"]["contenders"]
    assert found.loc["prediction", "pearson_delta"] > 0.5
    assert sh.tl.report(adata, out=tmp_path / "report.html").stat().st_size > 1e5


def test_a_pair_of_files_of_cell_eval_from_the_shell(tmp_path, capsys):
    out = tmp_path / "judged"
    told, said = call("evaluate", *pair(tmp_path), "--split", "none", "--n-draws", 2, "-o", out)
    assert "read as State and cell-eval" in said
    counts, sentence = told.splitlines()[-2:]
    assert re.search(r"pred\.h5ad' wins on \d+, loses on 0 .* against the control copy", counts)
    assert re.fullmatch(
        r"'.*pred\.h5ad' predicts 4 conditions better than a copy of the controls.*\.", sentence
    )
    call("report", out / "screen.h5ad", "-o", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 1e5
    shown(capsys, f"shoal evaluate, a pair: {sentence}")
