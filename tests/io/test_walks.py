"""From a file as others write it to a report, on real cells: five lines, and no step that is not public."""

from __future__ import annotations

import os

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tests.conftest import real

import shoal as sh

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


@pytest.mark.parametrize(
    ("make", "normalize", "by"),
    [
        (gears, None, "combination"),
        (scperturb, "log1p", "combination"),
        (tenx, "log1p", "perturbation"),
    ],
)
def test_from_a_file_to_a_report(tmp_path, make, normalize, by, capsys):
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
    with capsys.disabled():
        if os.environ.get("SHOAL_SAY"):
            print(f"\n{make.__name__}: {verdict}")  # noqa: T201


def test_a_pair_of_files_of_cell_eval(tmp_path):
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
        cells[rows].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    adata = sh.io.read(tmp_path / "real.h5ad")
    predicted = sh.io.read(tmp_path / "pred.h5ad")
    sh.tl.evaluate(adata, prediction=predicted, split=None, baselines=None, n_draws=2)
    found = adata.uns["evaluation"]["contenders"]
    assert found.loc["prediction", "pearson_delta"] > 0.5  # a second half of the same cells
    assert sh.tl.report(adata, out=tmp_path / "report.html").stat().st_size > 1e5
