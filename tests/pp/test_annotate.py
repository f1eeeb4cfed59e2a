"""pp.annotate: what it records, and how it refuses."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from mudata import MuData

import shoal as sh
from shoal.core._screen import labels, resolve


def test_records_the_design_and_nothing_else(screen_adata):
    before = screen_adata.obs.copy()
    sh.pp.annotate(screen_adata, "perturbation", control="control", batch_key="batch")
    screen = resolve(screen_adata)
    assert (screen.perturbation_key, screen.control, screen.batch_key) == (
        "perturbation",
        ("control",),
        "batch",
    )
    assert screen.guide_key is screen.context_key is screen.dose_key is None
    assert list(screen_adata.uns) == ["shoal"]
    assert screen_adata.obs.equals(before)


def test_last_call_wins(screen_adata):
    sh.pp.annotate(screen_adata, "perturbation", control="control", batch_key="batch")
    sh.pp.annotate(screen_adata, "perturbation", control="A")
    assert resolve(screen_adata).control == ("A",)
    assert resolve(screen_adata).batch_key is None


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
def test_survives_a_file(screen_adata, tmp_path, fmt):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].replace(
        {"A": "HLA-A/B", "B": "NT,2"}
    )
    sh.pp.annotate(
        screen_adata,
        "perturbation",
        control=["control", "NT,2"],
        batch_key="batch",
        missing="ignore",
    )
    path = tmp_path / f"screen.{fmt}"
    getattr(screen_adata, f"write_{fmt}")(path)
    again = getattr(ad, f"read_{fmt}")(path)
    assert resolve(again) == resolve(screen_adata)
    assert list(labels(again, resolve(again)).names) == ["C+D", "HLA-A/B"]


def test_one_control_survives_a_file(screen_adata, tmp_path):
    sh.pp.annotate(screen_adata, "perturbation", control="control")
    screen_adata.write_h5ad(tmp_path / "screen.h5ad")
    assert resolve(ad.read_h5ad(tmp_path / "screen.h5ad")).control == ("control",)


def test_misspelt_control_gets_a_suggestion(screen_adata):
    with pytest.raises(
        KeyError, match=r"'Control' is not in adata.obs\['perturbation'\].*Did you mean 'control'"
    ):
        sh.pp.annotate(screen_adata, "perturbation", control="Control")
    with pytest.raises(KeyError, match="'NT' is not in"):
        sh.pp.annotate(screen_adata, "perturbation", control=["control", "NT"])
    assert "shoal" not in screen_adata.uns


@pytest.mark.parametrize("key", ["context_key", "batch_key", "dose_key", "guide_key"])
def test_missing_column(screen_adata, key):
    with pytest.raises(
        KeyError, match=rf"'bach' is not in adata.obs.*Did you mean 'batch'.*given as {key}"
    ):
        sh.pp.annotate(screen_adata, "perturbation", control="control", **{key: "bach"})
    with pytest.raises(KeyError, match="Did you mean 'perturbation'"):
        sh.pp.annotate(screen_adata, "perturbations", control="control")
    assert "shoal" not in screen_adata.uns


def test_nothing_is_perturbed(screen_adata):
    with pytest.raises(ValueError, match="every cell .* is a control"):
        sh.pp.annotate(screen_adata, "perturbation", control=["control", "A", "B", "C+D"])
    with pytest.raises(ValueError, match="control is empty"):
        sh.pp.annotate(screen_adata, "perturbation", control=[])
    with pytest.raises(ValueError, match="missing='drop' is not known"):
        sh.pp.annotate(screen_adata, "perturbation", control="control", missing="drop")


def test_missing_labels(screen_adata):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].replace({"B": np.nan})
    with pytest.raises(ValueError, match="30 of 155 cells have no label"):
        sh.pp.annotate(screen_adata, "perturbation", control="control")
    sh.pp.annotate(screen_adata, "perturbation", control="control", missing="ignore")
    assert (labels(screen_adata, resolve(screen_adata)).code == -1).sum() == 30


def test_doses_are_numbers(screen_adata):
    screen_adata.obs["dose"] = np.where(screen_adata.obs["perturbation"] == "control", np.nan, 0.5)
    sh.pp.annotate(screen_adata, "perturbation", control="control", dose_key="dose")
    screen_adata.obs["dose"] = "10 uM"
    with pytest.raises(ValueError, match="holds '10 uM', which is no finite number of at least 0"):
        sh.pp.annotate(screen_adata, "perturbation", control="control", dose_key="dose")
    for value in (np.inf, -np.inf, -1.0):
        screen_adata.obs["dose"] = value
        with pytest.raises(ValueError, match=f"holds {value}, which is no finite number of at"):
            sh.pp.annotate(screen_adata, "perturbation", control="control", dose_key="dose")
    screen_adata.obs["dose"] = "10"
    sh.pp.annotate(screen_adata, "perturbation", control="control", dose_key="dose")


def test_duplicate_cell_names(screen_adata):
    screen_adata.obs_names = ["cell"] * screen_adata.n_obs
    sh.pp.annotate(screen_adata, "perturbation", control="control")
    assert list(labels(screen_adata, resolve(screen_adata)).counts) == [40, 30, 25]


def test_a_view_becomes_a_copy(screen_adata):
    view = screen_adata[screen_adata.obs["perturbation"] != "B"]
    sh.pp.annotate(view, "perturbation", control="control")
    assert not view.is_view
    assert "shoal" not in screen_adata.uns
    assert list(labels(view, resolve(view)).names) == ["A", "C+D"]


def test_mudata(screen_adata):
    mdata = MuData(
        {
            "rna": screen_adata,
            "adt": ad.AnnData(screen_adata.X[:, :3], obs=screen_adata.obs[["batch"]]),
        }
    )
    sh.pp.annotate(mdata, "perturbation", control="control", mod="rna")
    assert "shoal" in mdata.mod["rna"].uns
    assert "shoal" not in mdata.mod["adt"].uns
    with pytest.raises(ValueError, match="say which modality with mod="):
        sh.pp.annotate(mdata, "perturbation", control="control")
    with pytest.raises(KeyError, match="'rn' is not in mdata.mod.*Did you mean 'rna'"):
        sh.pp.annotate(mdata, "perturbation", control="control", mod="rn")
    with pytest.raises(ValueError, match="leave mod out"):
        sh.pp.annotate(screen_adata, "perturbation", control="control", mod="rna")
    with pytest.raises(TypeError, match="not ndarray"):
        sh.pp.annotate(screen_adata.X, "perturbation", control="control")
