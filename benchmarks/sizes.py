"""How large a file becomes with predictions of its test cells: `layers` as `sh.tl.predict` writes them, and dense with NaN.

    python benchmarks/sizes.py

MB of an h5ad as `adata.write_h5ad` writes it, without compression: the prepared screen, what the predictions add, and what they
would add as dense arrays with NaN in the rows of cells that were not predicted.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _screens import FOLDER, Task, prepare
from scipy import sparse

import shoal as sh

SCREENS = (("kang", "context", 1), ("renge", "perturbation_context", 15))


def size(adata) -> float:
    """Return the MB of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "screen.h5ad"
        adata.write_h5ad(path)
        return path.stat().st_size / 1e6


def row(data: str, split: str, n: int) -> dict[str, object]:
    """Return the line of a screen with n predictions."""
    adata = prepare(Task(data, split, 0, (), None, FOLDER))
    adata.X = sparse.csr_matrix(adata.X)
    before = size(adata)
    model = sh.tl.fit(adata, "own_shift")
    for i in range(n):
        sh.tl.predict(adata, model, key_added=f"prediction {i}", subset="test", rng=i)
    twins, after = adata.obs["prediction 0_predicted"], size(adata)
    for i in range(n):
        adata.layers[f"prediction {i}"] = np.zeros(adata.shape, dtype=np.float32)
    return {
        "screen": data,
        "cells x genes": f"{adata.n_obs:,} x {adata.n_vars:,}",
        "twins": int(twins.sum()),
        "predictions": n,
        "screen, MB": f"{before:.1f}",
        "they add": f"{after - before:.1f}",
        "dense they would": f"{size(adata) - before:.1f}",
    }


if __name__ == "__main__":
    logging.getLogger("shoal").setLevel(logging.ERROR)
    rows = [row(*screen) for screen in SCREENS]
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))
