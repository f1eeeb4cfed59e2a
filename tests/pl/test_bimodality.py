"""The picture of genes that are on: what its points and titles are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import shoal as sh

from ..helpers import dense


@pytest.fixture
def screen():
    adata = sh.ds.simulate(n_perturbations=3, n_cells=60, n_control=80, n_genes=40, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="p")
    return adata


def points(ax, i):
    return np.asarray(ax.collections[i].get_offsets())


def test_points_are_shares_and_means_of_cells_in_which_genes_are_on(screen):
    axes = sh.pl.bimodality(screen, "P1", prediction="p")
    assert len(axes) == 2
    rows = (screen.obs["perturbation"] == "P1").to_numpy()
    real, made = dense(screen.X)[rows], dense(screen.layers["p"])[rows]
    expected = np.stack([(real > 0).mean(0), (made > 0).mean(0)], 1)
    np.testing.assert_allclose(points(axes[0], 1), expected)
    error = np.sqrt(((expected[:, 0] - expected[:, 1]) ** 2).mean())
    assert axes[0].get_title(loc="left").startswith(f"RMS {error:.3f}, controls ")
    with np.errstate(invalid="ignore"):
        means = [np.where(x > 0, x, 0).sum(0) / (x > 0).sum(0) for x in (real, made)]
    often = ((real > 0).sum(0) >= 5) & ((made > 0).sum(0) >= 5)
    np.testing.assert_allclose(points(axes[1], 1)[often], np.stack(means, 1)[often], rtol=1e-5)


def test_a_mask_of_the_real_shares_is_calibrated(screen):
    rows = (screen.obs["perturbation"] == "P1").to_numpy()
    share = (dense(screen.X)[rows] > 0).mean(0)
    mask = pd.DataFrame([share, 0 * share], index=["P1", "P2"], columns=screen.var_names)
    axes = sh.pl.bimodality(screen, "P1", prediction="p", mask=mask.iloc[:, ::-1])
    assert axes[2].get_title(loc="left") == "RMS 0.000"
    said, seen = points(axes[2], 0).T
    np.testing.assert_allclose(said, seen)
    assert len(said) == len(np.unique(np.minimum(np.floor(share * 10), 9)))  # tenths with genes
    assert (np.diff(said) > 0).all()
    with pytest.raises(KeyError, match=r"mask has no row of 'P3'; model\.mask\('P3'\) returns"):
        sh.pl.bimodality(screen, "P3", prediction="p", mask=mask)
    with pytest.raises(KeyError, match="mask lacks 40 genes"):
        sh.pl.bimodality(screen, "P1", prediction="p", mask=mask.iloc[:, :0])
    with pytest.raises(TypeError, match=r"as model\.mask\('P1'\) returns, not Series"):
        sh.pl.bimodality(screen, "P1", prediction="p", mask=mask.loc["P1"])
