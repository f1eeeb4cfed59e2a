"""pp.filter: small perturbations go, controls and unlabelled cells stay."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from mudata import MuData

import shoal as sh

CALL = {"perturbation_key": "perturbation", "control": "control"}


def test_small_perturbations_go(screen_adata):
    kept = screen_adata[~screen_adata.obs["perturbation"].isin(["B", "C+D"])].copy()
    dropped = sh.pp.filter(screen_adata, **CALL, min_cells=40)
    assert dropped["n_cells"].to_dict() == {"C+D": 25, "B": 30}
    assert list(screen_adata.obs_names) == list(kept.obs_names)
    np.testing.assert_array_equal(screen_adata.X, kept.X)


def test_the_limit_itself_is_enough(screen_adata):
    assert len(sh.pp.filter(screen_adata, **CALL, min_cells=25)) == 0
    assert screen_adata.n_obs == 155
    assert list(sh.pp.filter(screen_adata, **CALL, min_cells=26).index) == ["C+D"]


def test_a_dry_run_only_tells(screen_adata):
    dropped = sh.pp.filter(screen_adata, **CALL, min_cells=40, inplace=False)
    assert list(dropped.index) == ["C+D", "B"]
    assert screen_adata.n_obs == 155


def test_controls_stay_however_few(screen_adata):
    few = screen_adata[50:].copy()
    sh.pp.filter(few, **CALL, min_cells=40)
    assert few.obs["perturbation"].value_counts().to_dict() == {"A": 40, "control": 10}


def test_names_of_a_combination_count_together(screen_adata):
    label = screen_adata.obs["perturbation"].to_numpy().copy()
    label[-10:] = "D+C"
    screen_adata.obs["perturbation"] = label
    assert len(sh.pp.filter(screen_adata, **CALL, min_cells=20)) == 0


def test_unlabelled_cells_stay(screen_adata):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].replace({"B": np.nan})
    sh.pp.annotate(screen_adata, "perturbation", control="control", missing="ignore")
    assert list(sh.pp.filter(screen_adata, min_cells=30).index) == ["C+D"]
    assert screen_adata.obs["perturbation"].isna().sum() == 30


def test_nothing_would_remain(screen_adata):
    with pytest.raises(
        ValueError, match=r"no perturbation has min_cells=41 cells \(the largest has 40\)"
    ):
        sh.pp.filter(screen_adata, **CALL, min_cells=41)
    assert screen_adata.n_obs == 155
    with pytest.raises(ValueError, match="min_cells must be a whole number"):
        sh.pp.filter(screen_adata, **CALL, min_cells=0)


def test_says_what_went(screen_adata, caplog):
    with caplog.at_level("INFO", logger="shoal"):
        sh.pp.filter(screen_adata, **CALL, min_cells=40)
    assert "2 of 3 perturbations (55 cells) have fewer than 40 cells: C+D, B" in caplog.text


def test_a_view_becomes_a_copy(screen_adata):
    view = screen_adata[20:]
    sh.pp.filter(view, **CALL, min_cells=30)
    assert not view.is_view
    assert (view.n_obs, screen_adata.n_obs) == (110, 155)


def test_a_backed_file_is_refused(screen_adata, tmp_path):
    screen_adata.write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"backed by a file.*to_memory"):
        sh.pp.filter(backed, **CALL)
    assert list(sh.pp.filter(backed, **CALL, min_cells=30, inplace=False).index) == ["C+D"]
    backed.file.close()


def test_mudata(screen_adata):
    other = ad.AnnData(screen_adata.X[:, :3], obs=screen_adata.obs[["batch"]])
    mdata = MuData({"rna": screen_adata, "adt": other})
    sh.pp.filter(mdata, **CALL, min_cells=40, mod="rna")
    assert mdata.mod["rna"].n_obs == 100
    assert mdata.mod["adt"].n_obs == 155
    assert mdata.n_obs == 155
    assert mdata.obsm["rna"].sum() == 100
