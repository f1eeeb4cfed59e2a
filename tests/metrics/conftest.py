"""What the comparisons with other packages share."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import shoal as sh


@pytest.fixture(scope="session")
def compared_screens():
    """Real and predicted log counts, float64, of 6 perturbations called as genes; do not change them.

    Predicted cells are control cells of less variance, moved by part of their own shift and part of another's: some metrics
    are good, others bad, and the numbers of significant genes go from none to nearly all of the 120.
    """
    options = {"effect_size": [12, 2, 8, 3, 6, 4], "n_genes": 120, "library_size": 6_000, "rng": 0}
    real = sh.ds.simulate(
        n_perturbations=6, n_cells=[40 + i for i in range(6)], n_control=80, **options
    )
    names = list(real.var_names[:6])
    old = [name for name in real.obs["perturbation"].cat.categories if name != "control"]
    real.obs["perturbation"] = real.obs["perturbation"].cat.rename_categories(
        dict(zip(old, names, strict=True))
    )
    label = real.obs["perturbation"].to_numpy().astype(str)
    counts = real.X.toarray().astype(np.float64)
    real.X = np.log1p(100 * counts / counts.sum(axis=1, keepdims=True))
    rng, mean = (
        np.random.default_rng(1),
        {name: real.X[label == name].mean(axis=0) for name in [*names, "control"]},
    )
    made = real.X[rng.choice(np.flatnonzero(label == "control"), len(label))]
    made = np.where(made > 0, (made + mean["control"]) / 2 + rng.normal(0, 0.1, made.shape), 0)
    for i, name in enumerate(names):
        made[label == name] += 0.4 * mean[name] + 0.3 * mean[names[i - 1]] - 0.7 * mean["control"]
    pred = ad.AnnData(
        np.maximum(made, 0), obs=real.obs[["perturbation"]].copy(), var=real.var[[]].copy()
    )
    sh.pp.annotate(real, "perturbation", control="control")
    return real, pred
