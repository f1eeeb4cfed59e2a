"""Screens whose answer is known, for tests of the ensemble."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

import shoal as sh

D, N = 30, 25


def made(responses, rng, *, noise=1.0, n=N, n_control=200):
    """Return cells of conditions: noise plus the response of each, and controls."""
    labels = ["control"] * n_control + [name for name in responses for _ in range(n)]
    x = rng.normal(scale=noise, size=(len(labels), D))
    x += np.array([responses.get(name, np.zeros(D)) for name in labels])
    obs = pd.DataFrame({"perturbation": labels}, index=[f"cell{i}" for i in range(len(labels))])
    adata = ad.AnnData(x.astype(np.float32), obs=obs)
    adata.var_names = [f"g{i}" for i in range(D)]
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


def pairs(rng, share, *, n=9, noise=0.3):
    """Return a screen of n singles and all pairs, each `share` of the sum of its parts."""
    single = {f"P{i}": rng.normal(size=D) for i in range(n)}
    names = list(single)
    both = {
        f"{a}+{b}": share * (single[a] + single[b])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
    return made(single | both, rng, noise=noise)
