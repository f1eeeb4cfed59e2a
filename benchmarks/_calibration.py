"""The screens of the tables of calibration, and how these are printed."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats

import shoal as sh

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
SCREENS = {
    "papalexi21_sceptre_lowmoi": {
        "control": "non-targeting",
        "batch_key": "bio_rep",
        "guide_key": "grna",
    },
    "gasperini19_sceptre_highmoi": {"control": "none", "batch_key": "batch"},
    "renge23_hipsc_ko": {"control": "control", "context_key": "day"},
    "norman19_perturbench": {"control": "control"},
}


def read(name: str) -> ad.AnnData | None:
    path = FOLDER / f"{name}.h5ad"
    if not path.exists():
        print(f"LEFT OUT: {path} is absent (set SHOAL_DATA_DIR)")
        return None
    adata = ad.read_h5ad(path)
    if "guide_confident" in adata.obs:
        adata = adata[adata.obs["guide_confident"].to_numpy()].copy()
    if name.startswith("gasperini"):
        adata = adata[(adata.obs["perturbation"] != "multiple").to_numpy()].copy()
        adata.obs["total_counts"] = adata.obs["gene_n_umis"].astype(
            float
        )  # of the whole transcriptome
    return adata


def prepared(name: str) -> ad.AnnData | None:
    adata = read(name)
    if adata is not None:
        sh.pp.annotate(adata, "perturbation", **SCREENS[name])
        sh.pp.prepare(adata, normalize="log1p", n_comps=30, overwrite=True)
    return adata


def show(title: str, rows: list[dict]) -> None:
    print(f"\n### {title}\n")
    frame = pd.DataFrame(rows)
    print("| " + " | ".join(frame.columns) + " |\n|" + "---|" * frame.shape[1])
    for row in frame.itertuples(index=False):
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |")


def rate(pvalue: np.ndarray, alpha: float) -> str:
    pvalue = np.asarray(pvalue)[np.isfinite(pvalue)]
    hits = int((pvalue < alpha).sum())
    ci = stats.binomtest(hits, len(pvalue)).proportion_ci()
    return f"{hits / len(pvalue):.3f} ({ci.low:.3f}-{ci.high:.3f})"
