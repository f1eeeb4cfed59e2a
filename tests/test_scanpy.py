"""A workflow of scanpy and one of shoal on the same AnnData, at the size of a real screen."""

from __future__ import annotations

from importlib.util import find_spec

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

sc = pytest.importorskip("scanpy")


@pytest.mark.slow
def test_scanpy_and_shoal_share_an_object_of_10000_cells(tmp_path):
    adata = sh.ds.simulate(
        n_perturbations=10, n_cells=800, n_control=2000, n_genes=150, effect_size=8.0, rng=0
    )
    assert adata.n_obs == 10_000  # above 8,192 scanpy searches neighbours in another way
    sh.pp.annotate(adata, "perturbation", control="control")
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sh.pp.prepare(adata, n_comps=20)
    sh.tl.coherence(adata)
    pca, before = adata.obsm["X_pca"].copy(), adata.uns["coherence"]["table"].copy()

    sc.pp.highly_variable_genes(adata, n_top_genes=100)
    sc.pp.pca(adata, n_comps=20, key_added="scanpy_pca")
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="scanpy_pca", random_state=0)
    sc.tl.umap(adata, random_state=0, maxiter=50)
    if find_spec("igraph") is not None:  # GPL, so it is no dependency of shoal
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False, random_state=0)
        sc.tl.rank_genes_groups(adata, "leiden")
        assert 1 < adata.obs["leiden"].nunique() < 100

    assert adata.obsp["distances"].shape == (adata.n_obs, adata.n_obs)
    assert _recall(adata, "scanpy_pca") > 0.9
    assert np.isfinite(adata.obsm["X_umap"]).all()

    sh.tl.coherence(adata, key_added="after")
    pd.testing.assert_frame_equal(adata.uns["after"]["table"], before)
    np.testing.assert_array_equal(adata.obsm["X_pca"], pca)
    sh.tl.coherence(adata, use_rep="scanpy_pca", key_added="in_scanpy_pca")
    close = adata.uns["in_scanpy_pca"]["table"]["coherence"]
    assert close.corr(before["coherence"], method="spearman") > 0.5

    adata.write_h5ad(tmp_path / "both.h5ad")
    again = ad.read_h5ad(tmp_path / "both.h5ad")
    sh.tl.coherence(again, key_added="read")
    pd.testing.assert_frame_equal(again.uns["read"]["table"], before)


def _recall(adata, use_rep, n=200):
    """Share of the true nearest cells of some cells that the graph of neighbours holds."""
    cells, among = adata.obsm[use_rep][:n], adata.obsm[use_rep]
    squared = (cells**2).sum(1)[:, None] + (among**2).sum(1) - 2 * cells @ among.T
    graph = adata.obsp["distances"][:n]
    found = [set(graph[[i]].indices) for i in range(n)]
    truth = [
        set(np.argsort(row)[1 : len(one) + 1]) for row, one in zip(squared, found, strict=True)
    ]
    return np.mean([len(a & b) / len(b) for a, b in zip(found, truth, strict=True)])
