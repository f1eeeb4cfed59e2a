"""Time pertpy's energy distance in an environment of its own; `distance.py` calls this.

    python pertpy_distance.py INPUT.npz OUTPUT.npz ARGUMENTS.json

INPUT holds `x` (cells x dimensions) and `label` (cells; 0 is the control); ARGUMENTS says {"task": "distance"} or
{"task": "test", "n_perms": 100}. OUTPUT gets CPU seconds, distances in the order of the labels, and p-values.
The compiled functions are warmed up on a small part first.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pertpy as pt


def measure(adata: ad.AnnData, task: str, n_perms: int = 0) -> pd.DataFrame:
    if task == "test":
        test = pt.tl.DistanceTest("edistance", n_perms=n_perms, obsm_key="X_pca")
        return test(adata, groupby="label", contrast="0", show_progressbar=False)
    one = pt.tl.Distance("edistance", obsm_key="X_pca")
    found = one.onesided_distances(
        adata, groupby="label", selected_group="0", show_progressbar=False
    )
    return found.to_frame("distance")


def main(source: str, target: str, arguments: str) -> None:
    options = json.loads(arguments)
    stored = np.load(source)
    label = stored["label"]
    adata = ad.AnnData(np.zeros((len(label), 1), dtype=np.float32))
    adata.obsm["X_pca"] = stored["x"]
    adata.obs["label"] = pd.Categorical(label.astype(str))
    small = adata[np.concatenate([np.flatnonzero(label == g)[:5] for g in (0, 1)])].copy()
    measure(small, **options)
    start = time.process_time()
    table = measure(adata, **options)
    seconds = time.process_time() - start
    table = table.loc[[str(g) for g in range(1, label.max() + 1)]]
    saved = {name: table[name].to_numpy() for name in ("distance", "pvalue") if name in table}
    np.savez(target, seconds=seconds, version=version("pertpy"), **saved)


if __name__ == "__main__":
    sys.exit(
        main(*sys.argv[1:])
        if len(sys.argv) == 4
        else f"usage: {Path(__file__).name} INPUT OUTPUT ARGUMENTS"
    )
