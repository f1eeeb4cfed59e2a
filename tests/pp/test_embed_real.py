"""pp.embed on real screens: how many perturbations have vectors, and whether known pathways stay together."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

SHARED = Path(__file__).parents[3] / "shared" / "data"


def file(name: str) -> Path:
    path = Path(os.environ.get("SHOAL_DATA_DIR", SHARED)) / name
    if not path.exists():
        pytest.skip(
            f"real data absent: {path} (set SHOAL_DATA_DIR to the folder that holds {name})"
        )
    return path


def neighbours(adata, key, name, n):
    table = adata.uns["perturbation_embeddings"][key]
    unit = table.div(np.linalg.norm(table, axis=1), axis=0)
    return set((unit @ unit.loc[name]).drop(name).nlargest(n).index)


def test_papalexi_by_gene_ontology(read_real, caplog):
    adata = read_real("papalexi21_sceptre_lowmoi.h5ad")
    sh.pp.annotate(adata, "perturbation", control="non-targeting", batch_key="bio_rep")
    go = file("go_svd_gene_embedding_128.npz")
    caplog.set_level("INFO", "shoal")
    sh.pp.embed(adata, method="table", source=go, key_added="go")
    assert "by former symbols: 'MARCH8' is 'MARCHF8'" in caplog.text
    sh.pp.embed(adata, method="annotations")
    assert neighbours(adata, "annotations", "IFNGR1", 2) == {"IFNGR2", "JAK2"}
    assert adata.uns["perturbation_embeddings"]["go"].shape == (25, 128)
    assert neighbours(adata, "go", "IFNGR1", 2) == {"IFNGR2", "JAK2"}
    with pytest.raises(ValueError, match="X holds whole numbers"):
        sh.pp.embed(adata, method="effects")


@pytest.mark.parametrize("walk", [None, 5])
@pytest.mark.slow
def test_renge_in_the_collectri_network(read_real, walk, caplog):
    adata = read_real("renge23_hipsc_ko.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    network = file("networks/collectri_human.csv")
    sh.pp.embed(adata, method="network", source=network, walk=walk, missing="drop")
    assert adata.uns["perturbation_embeddings"]["network"].shape == (20, 64)
    assert "3 of 23 perturbations have no vector" in caplog.text
    assert "not in the network: 'PDLIM1', 'ZNF649', 'ZNF90'" in caplog.text
    assert "NANOG" in neighbours(adata, "network", "SOX2", 2)


def test_renge_effects_and_coexpression(read_real):
    adata = read_real("renge23_hipsc_ko.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.embed(adata, method="coexpression")
    sh.pp.embed(adata, method="effects")
    sh.pp.prepare(adata, n_comps=20)
    sh.pp.embed(adata, method="mds")
    shapes = {key: table.shape for key, table in adata.uns["perturbation_embeddings"].items()}
    assert shapes == {"coexpression": (23, 32), "effects": (23, 16), "mds": (23, 10)}
    assert neighbours(adata, "effects", "SOX2", 3) == {"NANOG", "POU5F1", "PRDM14"}
    table = adata.uns["perturbation_embeddings"]["mds"]
    assert ((table - table.loc["SOX2"]) ** 2).sum(axis=1).drop("SOX2").idxmin() == "NANOG"


def test_norman_has_parts_that_were_not_measured_alone(read_real):
    adata = read_real("norman19_perturbench.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5, overwrite=True)
    with pytest.raises(
        ValueError, match=r"13 of 31 perturbations .* measured only in combinations: 'BPGM', 'CBL'"
    ):
        sh.pp.embed(adata, method="effects")
    sh.pp.embed(adata, method="effects", missing="drop")
    assert adata.uns["perturbation_embeddings"]["effects"].shape == (18, 16)


def test_sciplex_drugs():
    pytest.importorskip(
        "rdkit", reason="rdkit absent, fingerprints untested: pip install 'shoal[chem]'"
    )
    drugs = pd.read_csv(
        file("drugs/sciplex_trapnell_drugs_smiles.csv"), names=["drug", "smiles", "pathway"]
    )
    drugs = drugs[drugs["drug"] != "control"]
    adata = ad.AnnData(np.zeros((len(drugs) + 1, 1)))
    adata.obs["drug"] = ["vehicle", *drugs["drug"]]
    sh.pp.annotate(adata, "drug", control="vehicle", sep="")
    with pytest.warns(UserWarning, match="in test: 'Ruxolitinib' = 'S-Ruxolitinib'$"):
        sh.pp.embed(adata, method="fingerprint", source=drugs)
    assert adata.uns["perturbation_embeddings"]["fingerprint"].shape == (187, 1024)
    with pytest.warns(
        UserWarning, match="in test: 'Ruxolitinib' = 'S-Ruxolitinib'$"
    ):  # mirror images, no duplicates
        sh.pp.embed(adata, method="descriptors", source=drugs)
    table = adata.uns["perturbation_embeddings"]["descriptors"]
    assert len(table) == 187
    assert 150 < table.shape[1] < 220
    np.testing.assert_allclose(table.mean(), 0, atol=1e-5)
    assert neighbours(adata, "descriptors", "Dacinostat", 1) == {"Panobinostat"}
