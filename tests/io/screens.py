"""Small screens in the forms in which others write them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

GENES = [f"G{i}" for i in range(12)]


def counts(labels, *, genes=None, index="c", rng=0) -> ad.AnnData:
    """Return counts of cells with these labels in obs["label"], five genes of each label raised."""
    labels = np.asarray(labels, dtype=object)
    names = list(genes or GENES)
    rng = np.random.default_rng(rng)
    rates = np.full((len(labels), len(names)), 3.0)
    for i, label in enumerate(sorted(set(map(str, labels)))):
        rates[np.array(list(map(str, labels))) == label, i % len(names)] += 6
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    adata.obs_names = [f"{index}{i}" for i in range(len(labels))]
    adata.var_names = names
    adata.obs["label"] = labels
    return adata


def labels(control, *others, n=12) -> list[str]:
    """Return the labels of twice n control cells and n of each other."""
    return [control] * 2 * n + [label for label in others for _ in range(n)]


def gears(n=12, rng=0) -> ad.AnnData:
    condition = labels("ctrl", "G1+ctrl", "ctrl+G2", "G1+G2", n=n)
    adata = counts(condition, genes=[f"ENSG{i:011d}" for i in range(12)], rng=rng)
    adata.X.data = np.log1p(adata.X.data)
    adata.var["gene_name"] = GENES
    dose = np.where(np.array(condition) == "ctrl", "1", "1+1")
    adata.obs = pd.DataFrame(
        {
            "condition": pd.Categorical(condition),
            "cell_type": pd.Categorical(["A549"] * adata.n_obs),
            "dose_val": pd.Categorical(dose),
            "control": (np.array(condition) == "ctrl").astype(int),
            "condition_name": pd.Categorical([f"A549_{c}_1" for c in condition]),
        },
        index=adata.obs_names,
    )
    return adata


def scperturb(n=12, rng=0) -> ad.AnnData:
    perturbation = labels("control", "KLF1", "CEBPA", "CEBPA_KLF1", n=n)
    adata = counts(perturbation, rng=rng)
    is_control = np.array(perturbation) == "control"
    n = np.array([0 if p == "control" else p.count("_") + 1 for p in perturbation])
    written = pd.Series(perturbation, index=adata.obs_names, dtype=object)
    written.iloc[:3] = np.nan
    adata.obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical(written),
            "nperts": n,
            "guide_id": [
                "NegCtrl0" if c else p.replace("_", "_g1;") + f"_g{i % 2}"
                for i, (c, p) in enumerate(zip(is_control, perturbation, strict=True))
            ],
            "batch": np.arange(adata.n_obs) % 2,
            "percent_mito": 0.0,
            "cell_line": "K562",
        },
        index=adata.obs_names,
    )
    adata.var["ensembl_id"] = [f"ENSG{i:011d}" for i in range(12)]
    names = list(GENES)
    names[7] = names[6]
    adata.var_names = names
    return adata


def state(n=12, rng=0) -> ad.AnnData:
    adata = counts(labels("non-targeting", "G1", "G2", n=n), rng=rng)
    adata.obs = adata.obs.rename(columns={"label": "target_gene"})
    adata.obs["gem_group"] = np.arange(adata.n_obs) % 3
    adata.obs["cell_line"] = np.where(np.arange(adata.n_obs) % 2, "hepg2", "jurkat")
    adata.obs["guide_id"] = (
        adata.obs["target_gene"] + "_" + (np.arange(adata.n_obs) % 2).astype(str)
    )
    return adata


def cell_eval2(n=12, rng=0) -> ad.AnnData:
    adata = counts(labels("non-targeting", "G1", "G2", n=n), rng=rng)
    adata.obs = adata.obs.rename(columns={"label": "target"})
    return adata


def replogle(n=12, rng=0) -> ad.AnnData:
    adata = counts(
        labels("non-targeting", "G1", "G2", n=n), genes=[f"ENSG{i:011d}" for i in range(12)]
    )
    adata.obs = adata.obs.rename(columns={"label": "gene"})
    adata.obs["gene_id"] = adata.obs["gene"].map(lambda g: g if g[0] == "n" else f"ENSG_{g}")
    adata.obs["transcript"] = np.where(np.arange(adata.n_obs) % 2, "P1", "P2")
    adata.obs["gene_transcript"] = adata.obs["gene"] + "_" + adata.obs["transcript"]
    adata.obs["sgID_AB"] = adata.obs["gene"] + "_+_" + adata.obs["transcript"]
    adata.obs["gem_group"] = np.arange(adata.n_obs) % 2
    adata.var["gene_name"] = GENES
    return adata


def mantispy(n=12, rng=0) -> ad.AnnData:
    adata = counts(
        labels("DMSO", "taxol", "nocodazole", n=n), genes=[f"Cells_Area_{i}" for i in range(12)]
    )
    adata.X = adata.X.toarray() - 3
    rows = np.arange(adata.n_obs)
    adata.obs = pd.DataFrame(
        {
            "Metadata_Plate": np.where(rows % 2, "p1", "p2"),
            "Metadata_Well": [f"A{i:02d}" for i in rows],
            "Metadata_Perturbation": pd.Categorical(adata.obs["label"]),
            "Metadata_Compound": pd.Categorical(adata.obs["label"]),
            "Metadata_Concentration": np.where(
                adata.obs["label"] == "DMSO", np.nan, 1.0 + rows % 3
            ),
            "Metadata_Control": (adata.obs["label"] == "DMSO").to_numpy(),
        },
        index=adata.obs_names,
    )
    adata.uns["mantispy"] = {"schema_version": "1.0", "resolution": "well"}
    return adata


def tahoe(n=12, rng=0) -> ad.AnnData:
    drug = labels("DMSO_TF", "G1", "G2", n=n)
    adata = counts(drug, rng=rng)
    rows = np.arange(adata.n_obs)
    dose = np.where(np.array(drug) == "DMSO_TF", 0.0, np.array([0.05, 0.5, 5.0])[rows % 3])
    adata.obs = pd.DataFrame(
        {
            "sample": pd.Categorical([f"smp_{i % 4}" for i in rows]),
            "drug": pd.Categorical(drug),
            "drugname_drugconc": [
                f"[('{name}', {conc}, 'uM')]" for name, conc in zip(drug, dose, strict=True)
            ],
            "cell_name": np.where(rows % 2, "A549", "MCF7"),
            "plate": "plate1",
        },
        index=adata.obs_names,
    )
    return adata


GUIDES = {"g1": "G1", "g2": "G2", "n1": "Non-Targeting", "n2": "Non-Targeting"}


def tenx(guides=("g1", "g2", "n1", "n2"), n=12):
    """Return cells of genes, cells of guides with their targets, and the calls, some of two guides."""
    called = [guide for guide in guides for _ in range(n)]
    called[0] = f"{guides[0]}|{guides[1]}"
    called[1] = f"{guides[0]}|{guides[2]}"
    rna = counts([c.split("|")[0] for c in called] + ["none"] * 5)
    rna.obs_names = [f"AACG{i:03d}-1" for i in range(rna.n_obs)]
    rna.obs = rna.obs[[]]
    calls = pd.DataFrame(
        {
            "num_features": [c.count("|") + 1 for c in called],
            "feature_call": called,
            "num_umis": ["9|8" if "|" in c else "9" for c in called],
        },
        index=pd.Index(rna.obs_names[: len(called)], name="cell_barcode"),
    )
    values = np.zeros((rna.n_obs, len(guides)), dtype=np.float32)
    for i, one in enumerate(called):
        values[i, [list(guides).index(g) for g in one.split("|")]] = 9
    gdo = ad.AnnData(sparse.csr_matrix(values), obs=rna.obs[[]].copy())
    gdo.var_names = list(guides)
    gdo.var["target_gene_name"] = [GUIDES[g] for g in guides]
    return rna, gdo, calls


def proteins(adata) -> ad.AnnData:
    """Return another modality of the same cells: two features with names of their own."""
    other = adata[:, :2].copy()
    other.var_names = ["protein1", "protein2"]
    return other
