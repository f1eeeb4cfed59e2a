"""Screens of drugs whose structures are known."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

import shoal as sh

SMILES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "salicylic acid": "Oc1ccccc1C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "ethanol": "CCO",
    "ruxolitinib": "N#CC[C@H](C1CCCC1)n1cc(-c2ncnc3[nH]ccc23)cn1",
}
ASPIRIN_AGAIN = "O=C(O)c1ccccc1OC(C)=O"  # another spelling of aspirin


def some_of(*drugs: str) -> dict[str, str]:
    """Return the SMILES of some drugs, by name."""
    return {name: SMILES[name] for name in drugs}


def drug_screen(smiles: dict[str, str], *, n_cells: int) -> ad.AnnData:
    """Return a screen with cells of DMSO and of each drug; ``obs["smiles"]`` holds the structures."""
    label = np.repeat(["DMSO", *smiles], n_cells)
    names = [f"c{i}" for i in range(len(label))]
    adata = ad.AnnData(np.zeros((len(label), 2)), obs=pd.DataFrame({"drug": label}, index=names))
    adata.obs["smiles"] = adata.obs["drug"].map(smiles)
    sh.pp.annotate(adata, "drug", control="DMSO")
    return adata
