from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse


@pytest.fixture
def rdkit():
    return pytest.importorskip(
        "rdkit", reason="rdkit absent, molecules untested: pip install 'shoal[chem]'"
    )


@pytest.fixture
def counts(rng):
    """60 genes of counts: 80 controls and A, B with 40 cells each; A raises the first three genes."""
    label = np.repeat(["control", "A", "B"], [80, 40, 40])
    mean = rng.gamma(0.6, 3.0, 60) + 0.05
    rate = np.tile(mean, (160, 1)) * rng.gamma(8, 1 / 8, (160, 1))
    rate[label == "A", :3] *= 4
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    adata.obs_names = [f"c{i}" for i in range(160)]
    adata.var_names = [f"g{i}" for i in range(60)]
    adata.obs["perturbation"] = label
    return adata


@pytest.fixture
def logged(counts):
    sc.pp.normalize_total(counts, target_sum=100)
    sc.pp.log1p(counts)
    return counts
