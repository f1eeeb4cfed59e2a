"""tl.coherence on AnnData: what is written, agreement with the published package, matrix kinds, options."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import shoal as sh

NAMES = """
n_cells magnitude magnitude_plugin kappa coherence coherence_se ci_low ci_high coherence_loo coherence_plugin pvalue
qvalue dispersion residual residual_z residual_pvalue residual_qvalue excess_along_shift excess_top_share
excess_alignment cause flags
"""
COLUMNS = NAMES.split()


@pytest.fixture
def papalexi(read_real):
    adata = read_real("papalexi21_sceptre_lowmoi.h5ad")
    adata = adata[adata.obs["guide_confident"].to_numpy()].copy()
    sh.pp.annotate(
        adata, "perturbation", control="non-targeting", batch_key="bio_rep", guide_key="grna"
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=30)
    return adata


def call(adata, **kwargs):
    sh.tl.coherence(adata, "perturbation", control="control", **kwargs)
    return adata.uns[kwargs.get("key_added", "coherence")]["table"]


def test_writes_what_it_says_and_finds_what_is_there(screen_adata):
    table = call(screen_adata)
    assert list(table.columns) == COLUMNS
    assert list(table.index) == ["A", "B", "C+D"]
    assert table.loc["A", "pvalue"] < 1e-6
    assert table.loc["C+D", "pvalue"] > 0.01
    assert (
        table.loc["A", "coherence"]
        > table.loc["B", "coherence"]
        > abs(table.loc["C+D", "coherence"])
    )
    assert (table["ci_low"] <= table["coherence"]).all()
    assert (table["ci_high"] >= table["coherence"]).all()
    cell = screen_adata.obs["coherence"]
    control = screen_adata.obs["perturbation"] == "control"
    assert cell[control].isna().all()
    assert cell[~control].between(-1, 1).all()
    np.testing.assert_allclose(
        cell.groupby(screen_adata.obs["perturbation"]).mean()[table.index], table["coherence_loo"]
    )


def test_survives_h5ad_and_zarr(screen_adata, tmp_path):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].replace({"A": "A/1"})
    table = call(screen_adata)
    screen_adata.write_h5ad(tmp_path / "a.h5ad")
    screen_adata.write_zarr(tmp_path / "a.zarr")
    for back in (ad.read_h5ad(tmp_path / "a.h5ad"), ad.read_zarr(tmp_path / "a.zarr")):
        pd.testing.assert_frame_equal(
            back.uns["coherence"]["table"], table, check_dtype=False, check_names=False
        )
        assert back.uns["coherence"]["schema"] == "coherence/1"


def test_plug_in_columns_equal_the_published_package(screen_adata):
    from shesha.bio import compute_coherence, compute_magnitude

    table = call(screen_adata)
    theirs = compute_coherence(screen_adata, "perturbation", "control", max_samples=None)
    magnitude = compute_magnitude(screen_adata, "perturbation", "control")
    for name in table.index:
        assert table.loc[name, "coherence_plugin"] == pytest.approx(theirs[name], abs=1e-8)
        assert table.loc[name, "magnitude_plugin"] == pytest.approx(magnitude[name], abs=1e-8)


def test_magnitude_is_half_the_squared_energy_distance(screen_adata):
    table = call(screen_adata)
    x, label = screen_adata.X, screen_adata.obs["perturbation"].to_numpy()
    for name in table.index:
        m2 = 0.5 * sh.metrics.edistance(x[label == name], x[label == "control"])
        assert np.sign(m2) * np.sqrt(abs(m2)) == pytest.approx(
            table.loc[name, "magnitude"], abs=1e-9
        )


def test_every_matrix_kind_gives_the_same_table(screen_adata, tmp_path):
    import dask.array as da

    screen_adata.X = screen_adata.X * (np.abs(screen_adata.X) > 0.5)
    expected = call(screen_adata)
    screen_adata.X = sparse.csr_matrix(screen_adata.X)
    screen_adata.write_h5ad(tmp_path / "x.h5ad")
    screen_adata.write_zarr(tmp_path / "x.zarr")
    csr = screen_adata.X
    kinds = {
        "csr": csr,
        "csr array": sparse.csr_array(csr),
        "csc": csr.tocsc(),
        "dask": da.from_array(csr.toarray(), chunks=(37, 12)),
        "dask sparse": da.from_array(csr.toarray(), chunks=(37, 12)).map_blocks(sparse.csr_matrix),
    }
    for kind, x in kinds.items():
        other = ad.AnnData(x, obs=screen_adata.obs[["perturbation", "batch"]].copy())
        pd.testing.assert_frame_equal(call(other), expected, atol=1e-6, check_dtype=False, obj=kind)
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    pd.testing.assert_frame_equal(
        call(backed, key_added="again"), expected, atol=1e-6, check_dtype=False
    )
    import zarr

    lazy = ad.AnnData(
        ad.io.sparse_dataset(zarr.open(tmp_path / "x.zarr")["X"]), obs=screen_adata.obs.copy()
    )
    pd.testing.assert_frame_equal(call(lazy, key_added="z"), expected, atol=1e-6, check_dtype=False)


def test_strata_remove_a_batch_effect(rng):
    """No response, batches far apart and unevenly mixed: pooled controls see one, strata do not."""
    batch = np.r_[np.repeat(["x", "y"], 150), np.repeat(["x", "y"], [80, 20])]
    x = rng.normal(size=(400, 10)) + 2 * (batch == "y")[:, None]
    obs = pd.DataFrame(
        {"perturbation": ["control"] * 300 + ["A"] * 100, "batch": batch},
        index=map(str, range(400)),
    )
    adata = ad.AnnData(x, obs=obs)
    assert call(adata, strata=None).loc["A", "pvalue"] < 1e-6
    assert call(adata, strata="batch").loc["A", "pvalue"] > 0.01
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    sh.tl.coherence(adata)
    table = adata.uns["coherence"]["table"]
    assert table.loc["A", "pvalue"] > 0.01
    assert table.loc["A", "flags"] == "batch_imbalance"
    assert "kappa_cross_batch" in table


def test_depth_adjustment_removes_a_depth_effect(rng):
    depth = np.exp(rng.normal(8, 0.4, 700))
    depth[500:] *= 0.7
    x = rng.normal(size=(700, 10))
    x[:, 0] += 3 * np.log(depth)
    obs = pd.DataFrame(
        {"perturbation": ["control"] * 500 + ["A"] * 200, "umis": depth}, index=map(str, range(700))
    )
    adata = ad.AnnData(x, obs=obs)
    assert call(adata).loc["A", "pvalue"] < 1e-6
    table = call(adata, depth_key="umis")
    assert table.loc["A", "pvalue"] > 0.01
    assert table.loc["A", "flags"] == "depth_imbalance"


def test_cross_guide_sees_an_off_target_guide(rng):
    """One of three guides has an effect of its own: pairs within guides see it, pairs across guides do not."""
    x = rng.normal(size=(540, 10))
    x[:80, 0] += 4
    guide = np.r_[np.repeat(["g1", "g2", "g3"], 80), np.repeat(["n1"], 300)]
    obs = pd.DataFrame(
        {"perturbation": ["A"] * 240 + ["control"] * 300, "guide": guide},
        index=map(str, range(540)),
    )
    adata = ad.AnnData(x, obs=obs)
    sh.pp.annotate(adata, "perturbation", control="control", guide_key="guide")
    sh.tl.coherence(adata)
    row = adata.uns["coherence"]["table"].loc["A"]
    assert row["kappa"] > 0.03
    assert abs(row["kappa_cross_guide"]) < 0.3 * row["kappa"]


def test_cross_guide_of_one_guide_is_nan(screen_adata):
    screen_adata.obs["guide"] = screen_adata.obs["perturbation"]
    sh.pp.annotate(screen_adata, "perturbation", control="control", guide_key="guide")
    sh.tl.coherence(screen_adata)
    assert screen_adata.uns["coherence"]["table"]["kappa_cross_guide"].isna().all()


def test_permutation_null_agrees_with_the_analytic_one(screen_adata):
    analytic = call(screen_adata)["pvalue"]
    permuted = call(screen_adata, null="permutation", n_perms=199, strata="batch", rng=1)["pvalue"]
    assert permuted["A"] == pytest.approx(1 / 200)
    assert abs(permuted["C+D"] - analytic["C+D"]) < 0.15
    again = call(screen_adata, null="permutation", n_perms=199, strata="batch", rng=1)["pvalue"]
    pd.testing.assert_series_equal(permuted, again)


def test_permutation_pvalues_are_uniform_without_an_effect(rng):
    x = np.abs(rng.normal(size=(900, 8))) ** 2  # skewed
    label = np.r_[np.repeat([f"p{i}" for i in range(60)], 10), np.repeat("control", 300)]
    adata = ad.AnnData(x, obs=pd.DataFrame({"perturbation": label}, index=map(str, range(900))))
    pvalue = call(adata, null="permutation", n_perms=99, min_cells=5)["pvalue"]
    assert stats.kstest(pvalue, "uniform").pvalue > 0.001
    assert pvalue.min() >= 0.01


def test_whitening_makes_noise_round(rng):
    x = rng.normal(size=(600, 6)) * [10, 3, 1, 1, 1, 1]
    x[500:, 5] += 1.5
    obs = pd.DataFrame(
        {"perturbation": ["control"] * 500 + ["A"] * 100}, index=map(str, range(600))
    )
    adata = ad.AnnData(x, obs=obs, obsm={"X_pca": x})
    plain, white = call(adata), call(adata, whiten=True)
    assert white.loc["A", "coherence"] > 2 * abs(plain.loc["A", "coherence"])
    assert adata.uns["coherence"]["params"]["control_trace"] == pytest.approx(6, rel=0.1)


def test_shrinkage_adds_a_column(screen_adata):
    assert "coherence_shrunk" in call(screen_adata, shrinkage=True)


def test_excluded_genes_do_not_count(screen_adata):
    screen_adata.var_names = ["A", *screen_adata.var_names[1:]]
    table = call(screen_adata, exclude="targets")
    assert table.loc["A", "pvalue"] > 0.001  # all of A's shift was in its target
    assert screen_adata.uns["coherence"]["params"]["exclude"] == "A"
    assert screen_adata.uns["coherence"]["params"]["n_features"] == 11


def test_layers_and_the_accessor(screen_adata):
    screen_adata.layers["twin"] = screen_adata.X + 0
    screen_adata.shoal.tl.coherence(
        "perturbation", control="control", layer="twin", key_added="twin"
    )
    pd.testing.assert_frame_equal(screen_adata.uns["twin"]["table"], call(screen_adata))


def test_mudata(screen_adata):
    mudata = pytest.importorskip("mudata")
    mdata = mudata.MuData({"rna": screen_adata})
    sh.tl.coherence(mdata, "perturbation", control="control", mod="rna")
    assert "coherence" in mdata.mod["rna"].uns


def test_real_screen(papalexi):
    """Strong responses are found, held by different guides, and controls are no more variable than null knock-outs."""
    sh.tl.coherence(papalexi)
    table = papalexi.uns["coherence"]["table"]
    strong = [
        "IFNGR2",
        "IRF1",
        "MARCH8",
        "MYC",
        "SPI1",
    ]  # as labelled; the subset's labels are not to be trusted
    assert (table.loc[strong, "qvalue"] < 1e-6).all()
    assert (table.loc[strong, "kappa_cross_guide"] > 0.02).all()
    assert table["dispersion"].median() == pytest.approx(
        0, abs=0.05
    )  # -0.17 with the PCA scored in sample
    assert 10 < (table["qvalue"] < 0.05).sum() < 25
