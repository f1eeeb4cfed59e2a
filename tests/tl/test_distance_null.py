"""Without an effect, p-values are uniform: on simulated cells and on real control cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import stats

import shoal as sh

N_PERMS = 99
each_metric = pytest.mark.parametrize("metric", ["edistance", "energy", "mmd"])


def pvalues(splits, metric, rng, **options):
    """Return p-values of relabelled cells, spread over the steps of 1 / (B + 1) so that the null is continuous."""
    found = []
    for x, label, batch in splits:
        adata = ad.AnnData(x)
        adata.obs["label"], adata.obs["batch"] = label, batch
        sh.tl.distance(
            adata,
            "label",
            control="c",
            metric=metric,
            n_perms=N_PERMS,
            alpha=0.5,
            rng=rng,
            **options,
        )
        found.append(adata.uns["distance"]["table"]["pvalue"].iloc[0])
    return np.array(found) - rng.random(len(found)) / (N_PERMS + 1)


def assert_uniform(p):
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert stats.binomtest(int((p <= 0.05).sum()), len(p), 0.05).pvalue > 1e-3


@pytest.mark.slow
@each_metric
@pytest.mark.parametrize("strata", [None, "batch"])
def test_simulated_null(metric, strata, rng):
    def splits():
        for _ in range(200):
            batch = rng.integers(0, 2, 60)
            label = np.where(
                rng.random(60) < 0.35 + 0.3 * batch, "p", "c"
            )  # unequal shares: strata are needed
            offset = 3.0 * batch[:, None] if strata else 0.0
            yield rng.standard_t(3, (60, 4)) * [3, 1, 1, 0.2] + offset, label, batch.astype(str)

    assert_uniform(pvalues(splits(), metric, rng, strata=strata))


@pytest.fixture(scope="module")
def real_cells(read_real):
    """CD4 T cells without stimulation: 20 principal components of log-normalised counts."""
    from sklearn.decomposition import PCA

    adata = read_real("kang18_ctrl_8donors_null.h5ad")
    counts = adata[adata.obs["cell_type"] == "CD4 T cells"].X.toarray().astype(float)
    x = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    return PCA(20, random_state=0).fit_transform(x)


@pytest.mark.slow
@each_metric
@pytest.mark.parametrize(("n", "m"), [(20, 150), (120, 60)])
def test_real_null(metric, n, m, real_cells, rng):
    def splits():
        for _ in range(200):
            chosen = rng.choice(len(real_cells), n + m, replace=False)
            yield real_cells[chosen], np.repeat(["p", "c"], [n, m]), np.repeat("b", n + m)

    assert_uniform(pvalues(splits(), metric, rng))
