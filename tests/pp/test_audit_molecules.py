"""One drug under two names: found wherever its SMILES are known, whatever is held out."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._screen import resolve
from shoal.pp._audit import audit

from . import drugs

SMILES = {
    "aspirin": drugs.SMILES["aspirin"],
    "ASA": drugs.ASPIRIN_AGAIN,
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
}
CANONICAL = SMILES | {"ASA": SMILES["aspirin"]}


@pytest.fixture
def adata(rng):
    """Three drugs, two of them the same, and a fourth whose SMILES nobody knows; two doses, two contexts."""
    label = np.repeat(["DMSO", "aspirin", "ASA", "caffeine", "unknown"], 24)
    obs = pd.DataFrame(
        {"drug": label, "dose": np.arange(120) // 6 % 2 + 1.0, "line": np.arange(120) // 12 % 2}
    )
    adata = ad.AnnData(
        rng.random((120, 4)), obs=obs.set_axis([f"c{i}" for i in range(120)]).astype({"line": str})
    )
    sh.pp.annotate(adata, "drug", control="DMSO", dose_key="dose", context_key="line")
    return adata


def know(adata, smiles):
    """Record canonical SMILES, as pp.embed does."""
    table = pd.DataFrame({"fitted_on": ["none"], "transductive": [False]}, index=["fingerprint"])
    told = pd.Series(smiles, name="smiles").to_frame()
    adata.uns["perturbation_embeddings_info"] = {"table": table, "molecules": told}


def found(adata, test):
    adata.obs["hand"] = np.where(test, "test", "train")
    return audit(adata, resolve(adata), "hand").loc["same_molecule"]


def test_one_name_in_training_and_one_in_test(adata):
    drug = adata.obs["drug"]
    assert found(adata, drug == "ASA")["status"] == "not applicable"
    know(adata, CANONICAL)
    assert found(adata, drug.isin(["ASA", "aspirin"]))["status"] == "ok"
    assert found(adata, drug == "caffeine")["status"] == "ok"
    row = found(adata, drug == "ASA")
    assert (row["status"], row["n"]) == ("leak", 4)  # two doses in two lines
    assert row["detail"].endswith("under several names: aspirin = ASA") or row["detail"].endswith(
        "ASA = aspirin"
    )


def test_a_dose_and_a_line_of_the_other_name(adata):
    know(adata, CANONICAL)
    drug, dose = adata.obs["drug"], adata.obs["dose"]
    assert found(adata, (drug == "ASA") & (dose == 1))["n"] == 2
    assert found(adata, drug.isin(["ASA", "aspirin"]) & (dose == 1))["status"] == "ok"
    del adata.obs["hand"]
    sh.pp.split(adata, by="dose", test=["aspirin | 1", "ASA | 1"])
    with pytest.raises(ValueError, match="same_molecule: one molecule on several sides"):
        sh.pp.split(adata, by="dose", test=["aspirin | 1"])
    with pytest.raises(ValueError, match="same_molecule"):
        sh.pp.split(adata, by="perturbation_context", test=["aspirin | 1"])
    sh.pp.split(adata, by="context", test=["1"])
    assert adata.uns["split"]["table"].loc["same_molecule", "status"] == "not applicable"


def test_split_refuses_it_unless_it_is_accepted(adata):
    know(adata, CANONICAL)
    with pytest.raises(
        ValueError, match=r"same_molecule: .*ASA.*Fix: give it one name, or hold out both.*accept="
    ):
        sh.pp.split(adata, test=["ASA"])
    assert "split" not in adata.obs
    sh.pp.split(adata, test=["ASA"], accept="same_molecule")
    assert adata.uns["split"]["table"].loc["same_molecule", "status"] == "accepted"
    sh.pp.split(adata, test=["aspirin", "ASA"])
    assert (
        "1 perturbations are another name"
        in adata.uns["split"]["table"].loc["same_molecule", "detail"]
    )


def test_a_combination_of_the_same_drugs_under_other_names(adata):
    know(adata, CANONICAL)
    adata.obs["drug"] = adata.obs["drug"].astype(str)
    adata.obs.loc[adata.obs["drug"] == "aspirin", "drug"] = "aspirin+caffeine"
    adata.obs.loc[adata.obs["drug"] == "unknown", "drug"] = "ASA+caffeine"
    row = found(adata, adata.obs["drug"] == "aspirin+caffeine")
    assert (row["status"], row["n"]) == ("leak", 4)
    assert "ASA+caffeine = aspirin+caffeine" in row["detail"]


def test_pp_embed_records_what_the_audit_reads(adata, tmp_path):
    pytest.importorskip("rdkit", reason="rdkit absent, SMILES untested: pip install 'shoal[chem]'")
    with pytest.warns(UserWarning, match="one molecule under several names.*: 'ASA' = 'aspirin'$"):
        sh.pp.embed(adata, method="fingerprint", source=SMILES, missing="drop")
    sh.pp.embed(adata, method="one_hot")
    adata.write_h5ad(tmp_path / "x.h5ad")
    read = ad.read_h5ad(tmp_path / "x.h5ad")
    assert read.uns["perturbation_embeddings_info"]["molecules"]["smiles"].to_dict() == CANONICAL
    with pytest.raises(ValueError, match="same_molecule"):
        sh.pp.split(read, test=["ASA"])
