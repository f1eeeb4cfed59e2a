"""pp.split on real screens: each question on a screen that can ask it, with nothing leaking."""

from __future__ import annotations

import pandas as pd
import pytest

import shoal as sh
from shoal.core._screen import resolve
from shoal.pp._audit import audit, refuse


def clean(adata):
    """No leak, neither when written nor afterwards."""
    table = adata.uns["split"]["table"]
    assert set(table["status"]) <= {"ok", "by design", "not applicable"}
    assert table.loc["identical_cells", "status"] == "ok"
    again = audit(adata, resolve(adata))
    refuse(again, slot="obs['split']")
    pd.testing.assert_frame_equal(again, table)
    return adata.uns["split"]["units"]


def test_papalexi_guides(read_real):
    adata = read_real("papalexi21_sceptre_lowmoi.h5ad")
    sh.pp.annotate(
        adata, "perturbation", control="non-targeting", batch_key="bio_rep", guide_key="grna"
    )
    tested = []
    for fold in range(4):
        sh.pp.split(adata, by="guide", n_folds=4, fold=fold)
        tested += list(clean(adata).index)
        train = adata.obs[adata.obs["split"] == "train"]
        assert train["perturbation"].nunique() == 26
        assert not set(train["grna"]) & set(adata.obs.loc[adata.obs["split"] == "test", "grna"])
    assert len(tested) == len(set(tested)) == 98  # of the 107 guides 9 are non-targeting
    assert adata.uns["split"]["table"].loc["shared_batches", ["status", "n"]].tolist() == [
        "by design",
        3,
    ]


def test_papalexi_pca(read_real):
    adata = read_real("papalexi21_sceptre_lowmoi.h5ad")
    sh.pp.annotate(adata, "perturbation", control="non-targeting")
    sh.pp.prepare(adata, normalize="log1p", n_comps=10, fit_on="all")
    with pytest.raises(ValueError, match="pca_fit: the PCA: fitted on all cells"):
        sh.pp.split(adata)
    sh.pp.prepare(adata, n_comps=10)
    sh.pp.split(adata, val=0.1)
    assert clean(adata)["split"].value_counts().to_dict() == {"test": 5, "val": 2}


def test_norman_combinations(read_real):
    adata = read_real("norman19_perturbench.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="combination", n_folds=5, fold=0)  # five pairs have both singles
    assert len(clean(adata)) == 1
    with pytest.raises(
        ValueError, match=r"'SET\+KLF1' cannot be held out: every part .* where it has KLF1"
    ):
        sh.pp.split(adata, by="combination", test="SET+KLF1")
    for n_seen in (0, 1):
        sh.pp.split(adata, by="combination", test=0.4, parts_seen=n_seen)
        units = clean(adata)
        train = set(adata.obs.loc[adata.obs["split"] == "train", "perturbation"])
        for name in units.index[units["split"] == "test"]:
            assert sum(part in train for part in name.split("+")) == n_seen
    sh.pp.split(adata)
    held = {name for name in clean(adata).index if "+" not in name}
    train = adata.obs.loc[adata.obs["split"] == "train", "perturbation"].unique()
    assert held
    assert not held & {part for name in train for part in name.split("+")}


def test_renge_days(read_real):
    adata = read_real("renge23_hipsc_ko.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    sh.pp.split(adata, by="perturbation_context", test=[("ETS2", 5), "MYC | 2"], val=0.1)
    assert clean(adata)["split"].value_counts().to_dict() == {"val": 9, "test": 2}
    day = (
        adata.obs.loc[adata.obs["split"] == "test"]
        .groupby("perturbation", observed=True)["day"]
        .unique()
    )
    assert {name: list(days) for name, days in day.items()} == {"ETS2": [5], "MYC": [2]}
    sh.pp.split(adata, by="context", test=[5])
    assert set(adata.obs.loc[adata.obs["split"] == "test", "day"]) == {5}
    assert len(clean(adata)) == 23


def test_kang_cell_types(read_real):
    adata = read_real("kang18_scgen_valid.h5ad")
    sh.pp.annotate(adata, "condition", control="control", context_key="cell_type")
    sh.pp.split(adata, by="context", test="NK")
    assert clean(adata)["n_cells"].to_dict() == {"stimulated | NK": 87}
    nk = adata.obs[adata.obs["cell_type"] == "NK"]
    assert set(zip(nk["condition"], nk["split"], strict=True)) == {
        ("control", "train"),
        ("stimulated", "test"),
    }
    with pytest.raises(
        ValueError, match="'stimulated', for one: no perturbed cell of any perturbation would stay"
    ):
        sh.pp.split(adata)


def test_bbbc021_doses(read_real, caplog):
    adata = read_real("bbbc021_profiles_dose.h5ad")
    sh.pp.annotate(
        adata, "compound", control="DMSO", dose_key="concentration_uM", batch_key="plate"
    )
    sh.pp.split(adata, by="dose", test=[10])
    units = clean(adata)
    assert units["split"].value_counts().to_dict() == {"test": 9, "aside": 4}
    assert adata.obs.loc[adata.obs["split"] == "test", "concentration_uM"].eq(10).all()
    assert not (adata.obs.loc[adata.obs["split"] == "train", "concentration_uM"] == 10).any()
    assert (
        "8 held-out doses lie outside its range"
        in adata.uns["split"]["table"].loc["unseen_perturbation", "detail"]
    )
    assert "9 held-out conditions have fewer than 10 cells" in caplog.text


def test_gasperini_enhancers(read_real):
    adata = read_real("gasperini19_sceptre_highmoi.h5ad")
    adata = adata[adata.obs["perturbation"] != "multiple"].copy()
    sh.pp.annotate(adata, "perturbation", control=["none", "non-targeting"], batch_key="batch")
    sh.pp.split(adata, n_folds=3, fold=2)
    assert len(clean(adata)) == 9
    assert (
        adata.obs.loc[adata.obs["perturbation"].isin(["none", "non-targeting"]), "split"] == "train"
    ).all()
