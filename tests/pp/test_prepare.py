"""pp.prepare: the scale is checked, cells to fit on are chosen by name, and every kind of matrix gives the same PCA."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import numpy as np
import pytest
import scanpy as sc
import zarr
from mudata import MuData
from scipy import sparse
from sklearn.decomposition import PCA

import shoal as sh

CALL = {"perturbation_key": "perturbation", "control": "control"}
IN_SAMPLE = {**CALL, "cross_fit": 0}


def untouched(adata):
    layers = set(adata.layers) - {None}  # anndata 0.13 counts X as the layer None
    return not (
        set(adata.obsm) | set(adata.varm) | set(adata.uns) - {"log1p"} | set(adata.var) | layers
    )


def test_equals_scanpy_and_sklearn_on_the_controls(counts):
    raw = counts.copy()
    sh.pp.prepare(counts, **IN_SAMPLE, normalize="log1p", n_top_genes=30, n_comps=8)
    control = raw[raw.obs["perturbation"] == "control"].copy()
    target = np.median(np.asarray(control.X.sum(axis=1)))
    for other in (raw, control):
        sc.pp.normalize_total(other, target_sum=target)
        sc.pp.log1p(other)
    np.testing.assert_allclose(counts.X.toarray(), raw.X.toarray(), rtol=1e-6)
    chosen = sc.pp.highly_variable_genes(control, n_top_genes=30, inplace=False)["highly_variable"]
    np.testing.assert_array_equal(counts.var["highly_variable"], chosen)
    assert counts.var["highly_variable"].dtype == bool
    pca = PCA(8, svd_solver="full").fit(control[:, chosen.to_numpy()].X.toarray().astype(float))
    expected = pca.transform(raw[:, chosen.to_numpy()].X.toarray().astype(float))
    found = counts.obsm["X_pca"]
    assert found.dtype == np.float32
    sign = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected * sign, atol=1e-5)
    np.testing.assert_allclose(counts.uns["pca"]["variance"], pca.explained_variance_)
    np.testing.assert_allclose(counts.uns["pca"]["variance_ratio"], pca.explained_variance_ratio_)
    loadings = counts.varm["PCs"]
    np.testing.assert_allclose(
        loadings[chosen.to_numpy()], (pca.components_ * sign[:, None]).T, atol=1e-6
    )
    assert (loadings[~chosen.to_numpy()] == 0).all()


def test_perturbed_cells_do_not_move_the_axes(logged):
    other = logged.copy()
    perturbed = (other.obs["perturbation"] != "control").to_numpy()
    other.X = sparse.diags_array(np.where(perturbed, 0.3, 1.0)).tocsr() @ other.X
    for adata in (logged, other):
        sh.pp.prepare(adata, **IN_SAMPLE, n_top_genes=30, n_comps=5)
    np.testing.assert_array_equal(logged.varm["PCs"], other.varm["PCs"])
    np.testing.assert_array_equal(logged.obsm["X_pca"][~perturbed], other.obsm["X_pca"][~perturbed])
    np.testing.assert_allclose(logged.obsm["X_pca"][~perturbed].mean(axis=0), 0, atol=1e-5)


def test_fit_on(logged):
    with pytest.raises(KeyError, match=r"sh\.pp\.split\(adata\) first"):
        sh.pp.prepare(logged, **CALL, fit_on="train")
    logged.obs["split"] = np.where(np.arange(160) % 2, "train", "test")
    fitted = {}
    for fit_on, n in {"control": 80, "train": 80, "all": 160}.items():
        sh.pp.prepare(logged, **IN_SAMPLE, fit_on=fit_on, n_comps=3)
        params = logged.uns["pca"]["params"]
        assert (params["fit_on"], params["n_fit"]) == (fit_on, n)
        fitted[fit_on] = logged.obsm["X_pca"].mean(axis=0)
    assert (
        np.abs(fitted["all"]).max()
        < 1e-5
        < min(np.abs(fitted[f]).max() for f in ("control", "train"))
    )
    with pytest.raises(ValueError, match="fit_on='controls' is not known"):
        sh.pp.prepare(logged, **CALL, fit_on="controls")


def test_counts_and_depth_are_kept(counts):
    raw = counts.X.copy()
    sh.pp.prepare(counts, **CALL, normalize="log1p", n_comps=5)
    assert (counts.layers["counts"] != raw).nnz == 0
    np.testing.assert_array_equal(counts.obs["total_counts"], np.asarray(raw.sum(axis=1)).ravel())
    assert sparse.issparse(counts.X)
    control = (counts.obs["perturbation"] == "control").to_numpy()
    assert counts.uns["pca"]["params"]["target_sum"] == np.median(
        np.asarray(raw.sum(axis=1))[control]
    )
    with pytest.raises(ValueError, match="must not be logged again"):
        sh.pp.prepare(counts, **CALL, normalize="log1p")


def test_what_is_there_is_kept(counts, caplog):
    counts.obs["total_counts"] = 5e4
    counts.layers["counts"] = counts.X.copy()
    with caplog.at_level("INFO", logger="shoal"):
        sh.pp.prepare(counts, **CALL, normalize="log1p", target_sum=10, n_comps=5)
    assert (counts.obs["total_counts"] == 5e4).all()
    assert "obs['total_counts'] is there already and is kept" in caplog.text
    assert "layers['counts'] is there already and is kept" in caplog.text
    np.testing.assert_allclose(np.expm1(counts.X.toarray()).sum(axis=1), 10, rtol=1e-5)


def test_counts_from_a_layer(counts):
    counts.layers["raw"] = counts.X.copy()
    counts.X = counts.X.toarray() - 1.0
    sh.pp.prepare(counts, **CALL, normalize="log1p", layer="raw", n_comps=5)
    assert counts.X.min() == 0
    assert counts.layers["raw"].max() == np.rint(counts.layers["raw"].max())
    assert "counts" not in counts.layers


@pytest.mark.parametrize(
    ("change", "normalize", "message"),
    [
        (
            lambda x: x,
            None,
            r"raw counts; .*: normalise with sh\.pp\.prepare\(adata, normalize='log1p'\)",
        ),
        (lambda x: x * 10.5, None, "not logged; .*: normalise and take logarithms"),
        (np.log1p, "log1p", "must not be logged again"),
        (lambda x: x - 1.0, "log1p", "cannot be normalised to a library size"),
        (lambda x: x * 0, None, "nothing but zeros; .*: there is nothing to prepare"),
        (lambda x: x * 0, "log1p", "nothing but zeros; .*: there is nothing to normalise"),
        (
            lambda x: np.where(np.arange(160)[:, None] < 3, np.nan, np.log1p(x)),
            None,
            "in 3 of 160 cells",
        ),
        (lambda x: np.where(np.arange(160)[:, None] < 2, np.inf, x), "log1p", "in 2 of 160 cells"),
    ],
)
def test_wrong_scale_is_refused(counts, change, normalize, message):
    counts.X = change(counts.X.toarray())
    before = counts.X.copy()
    with pytest.raises(ValueError, match=message):
        sh.pp.prepare(counts, **CALL, normalize=normalize)
    assert untouched(counts)
    assert list(counts.obs) == ["perturbation"]
    np.testing.assert_array_equal(counts.X, before)


def test_fractional_counts_can_be_normalised(counts):
    counts.X = counts.X * 10.5
    sh.pp.prepare(counts, **CALL, normalize="log1p", n_comps=5)
    assert counts.X.max() < 20


def test_cells_without_counts_stay_zero(counts):
    counts.X = (
        sparse.diags_array(np.where(np.isin(np.arange(160), [0, 100]), 0.0, 1.0)).tocsr() @ counts.X
    )
    with pytest.warns(UserWarning, match="2 of 160 cells have no counts; they stay zero"):
        sh.pp.prepare(counts, **CALL, normalize="log1p", n_comps=5)
    assert counts.X[[0, 100]].nnz == 0
    assert np.isfinite(counts.obsm["X_pca"]).all()


def test_controls_without_counts(counts):
    keep = (counts.obs["perturbation"] != "control").to_numpy().astype(float)
    counts.X = sparse.diags_array(keep).tocsr() @ counts.X
    with pytest.raises(ValueError, match="no control cell has counts"):
        sh.pp.prepare(counts, **CALL, normalize="log1p")
    assert untouched(counts)


def test_signed_features(screen_adata):
    sh.pp.prepare(screen_adata, **CALL, n_comps=12)
    assert screen_adata.var["highly_variable"].all()
    distance = np.linalg.norm(screen_adata.X[0] - screen_adata.X[1])
    assert np.linalg.norm(np.diff(screen_adata.obsm["X_pca"][:2], axis=0)) == pytest.approx(
        distance, rel=1e-5
    )
    with pytest.raises(ValueError, match="pass n_top_genes=None to use every feature"):
        sh.pp.prepare(screen_adata, **CALL, n_top_genes=5)
    sh.pp.prepare(screen_adata, **CALL, n_top_genes=None, n_comps=2)


def test_exclude(logged):
    targets = ["g0", "g1", "absent"]
    sh.pp.prepare(logged, **CALL, exclude=targets, n_top_genes=30, n_comps=5)
    assert not logged.var.loc[["g0", "g1"], "highly_variable"].any()
    assert (logged.varm["PCs"][:2] == 0).all()
    assert logged.uns["pca"]["params"]["exclude"] == "g0,g1"
    sh.pp.prepare(logged, **CALL, exclude="g5", n_comps=5)
    assert logged.var["highly_variable"].sum() == 59
    with pytest.raises(KeyError, match=r"none of the genes in exclude= \(ENSG1, ENSG2\) is in"):
        sh.pp.prepare(logged, **CALL, exclude=["ENSG1", "ENSG2"])
    with pytest.raises(ValueError, match="1 of 60 genes are left after exclude"):
        sh.pp.prepare(logged, **CALL, exclude=list(logged.var_names[1:]))


def test_more_components_than_controls(logged):
    few = logged[70:].copy()
    with pytest.warns(
        UserWarning, match="10 cells of fit_on='control' span 9 components, not n_comps=50"
    ):
        sh.pp.prepare(few, **CALL)
    assert few.obsm["X_pca"].shape == (90, 9)
    assert few.uns["pca"]["params"]["n_comps"] == 9
    with pytest.raises(ValueError, match="leaves 2 cells to fit a PCA on"):
        sh.pp.prepare(logged[78:].copy(), **CALL)


def test_more_components_than_genes_is_only_told(logged, caplog):
    with caplog.at_level("INFO", logger="shoal"):
        sh.pp.prepare(logged[:, :20].copy(), **CALL)
    assert "all 20 genes are used, none selected by variability" in caplog.text
    assert "20 genes span 20 components, not n_comps=50" in caplog.text


@pytest.mark.parametrize("n_top_genes", [None, 10])
def test_controls_that_do_not_vary(logged, n_top_genes):
    logged.X = np.where(
        (logged.obs["perturbation"] == "control").to_numpy()[:, None], 0.5, logged.X.toarray()
    )
    with pytest.raises(ValueError, match="do not vary"):
        sh.pp.prepare(logged, **CALL | {"n_top_genes": n_top_genes})
    assert untouched(logged)


@pytest.mark.parametrize(
    "make",
    [
        sparse.csc_matrix,
        sparse.csr_array,
        lambda x: x.toarray(),
        lambda x: np.asfortranarray(x.toarray()),
        lambda x: da.from_array(x.toarray(), chunks=(50, 25)),
        lambda x: da.from_array(x.toarray(), chunks=(70, -1)).map_blocks(sparse.csr_matrix),
        lambda x: zarr.array(x.toarray(), chunks=(30, 60)),
    ],
    ids=["csc", "csr_array", "dense", "fortran", "dask", "dask sparse", "zarr"],
)
def test_every_kind_of_matrix_gives_the_same(logged, make):
    other = ad.AnnData(make(logged.X), obs=logged.obs, var=logged.var)
    for adata in (logged, other):
        sh.pp.prepare(adata, **CALL, n_top_genes=30, n_comps=6)
    np.testing.assert_array_equal(other.var["highly_variable"], logged.var["highly_variable"])
    np.testing.assert_allclose(other.obsm["X_pca"], logged.obsm["X_pca"], atol=1e-4)


@pytest.mark.parametrize("dense", [False, True])
def test_backed(logged, tmp_path, dense):
    if dense:
        logged.X = logged.X.toarray()
    logged.write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    for adata in (logged, backed):
        sh.pp.prepare(adata, **CALL, n_top_genes=30, n_comps=6)
    np.testing.assert_allclose(backed.obsm["X_pca"], logged.obsm["X_pca"], atol=1e-5)
    with pytest.raises(ValueError, match=r"view of an AnnData backed by a file.*to_memory"):
        sh.pp.prepare(backed[:100], **CALL)
    backed.file.close()


def test_backed_counts_cannot_be_normalised(counts, tmp_path):
    counts.write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"lies in a file and cannot be rewritten.*to_memory"):
        sh.pp.prepare(backed, **CALL, normalize="log1p")
    assert untouched(backed)
    backed.file.close()


@pytest.mark.parametrize(
    "make", [sparse.csc_matrix, lambda x: x.toarray(), lambda x: x.astype(int)]
)
def test_normalising_other_kinds(counts, make):
    other = ad.AnnData(make(counts.X), obs=counts.obs, var=counts.var)
    for adata in (counts, other):
        sh.pp.prepare(adata, **CALL, normalize="log1p", n_comps=5)
    np.testing.assert_allclose(other.obsm["X_pca"], counts.obsm["X_pca"], atol=1e-4)
    assert sparse.issparse(other.X) == sparse.issparse(other.layers["counts"])


def test_normalising_dask_stays_lazy(counts):
    other = ad.AnnData(
        da.from_array(counts.X.toarray(), chunks=(50, -1)), obs=counts.obs, var=counts.var
    )
    for adata in (counts, other):
        sh.pp.prepare(adata, **CALL, normalize="log1p", n_comps=5)
    assert hasattr(other.X, "dask")
    np.testing.assert_allclose(other.obsm["X_pca"], counts.obsm["X_pca"], atol=1e-4)


def test_blocks_and_row_order_do_not_matter(logged, monkeypatch, rng):
    order = rng.permutation(160)
    shuffled = logged[order].copy()
    blocked = logged.copy()
    for adata in (logged, shuffled):
        sh.pp.prepare(adata, **CALL, n_top_genes=30, n_comps=5)
    monkeypatch.setattr(sh.settings, "block_bytes", 2000)
    sh.pp.prepare(blocked, **CALL, n_top_genes=30, n_comps=5)
    np.testing.assert_allclose(shuffled.obsm["X_pca"], logged.obsm["X_pca"][order], atol=1e-6)
    np.testing.assert_allclose(blocked.obsm["X_pca"], logged.obsm["X_pca"], atol=1e-6)


def test_far_from_the_origin(screen_adata):
    far = screen_adata.copy()
    far.X = far.X - 1e6
    for adata in (screen_adata, far):
        sh.pp.prepare(adata, **IN_SAMPLE, n_top_genes=None, n_comps=5)
    np.testing.assert_allclose(far.obsm["X_pca"], screen_adata.obsm["X_pca"], atol=1e-4)


def test_a_view_becomes_a_copy(counts):
    view = counts[counts.obs["perturbation"] != "B"]
    sh.pp.prepare(view, **CALL, normalize="log1p", n_comps=5)
    assert not view.is_view
    assert view.obsm["X_pca"].shape == (120, 5)
    assert untouched(counts)


def test_mudata_and_the_record(counts):
    mdata = MuData({"rna": counts, "adt": ad.AnnData(np.ones((160, 2)), obs=counts.obs[[]])})
    sh.pp.annotate(mdata, **CALL, mod="rna")
    sh.pp.prepare(mdata, normalize="log1p", n_comps=5, mod="rna")
    assert "X_pca" in mdata.mod["rna"].obsm


@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
def test_survives_a_file(counts, tmp_path, fmt):
    sh.pp.prepare(counts, **CALL, normalize="log1p", exclude="g1", n_comps=5)
    getattr(counts, f"write_{fmt}")(tmp_path / "x")
    again = getattr(ad, f"read_{fmt}")(tmp_path / "x")
    np.testing.assert_array_equal(again.varm["PCs"], counts.varm["PCs"])
    assert list(again.uns["pca"]["params"].pop("control")) == list(
        counts.uns["pca"]["params"].pop("control")
    )
    assert again.uns["pca"]["params"] == counts.uns["pca"]["params"]
    assert "log1p" in again.uns


def test_arguments(logged):
    for wrong in ({"n_comps": 0}, {"n_top_genes": 0}, {"target_sum": -1.0}):
        with pytest.raises(
            ValueError, match="must be a whole number of at least 1|must be above 0"
        ):
            sh.pp.prepare(logged, **CALL, **wrong)
    with pytest.raises(ValueError, match="needs normalize='log1p'"):
        sh.pp.prepare(logged, **CALL, target_sum=1e4)
    with pytest.raises(ValueError, match="normalize='log2' is not known"):
        sh.pp.prepare(logged, **CALL, normalize="log2")
    with pytest.raises(KeyError, match="'lgo' is not in adata.layers"):
        sh.pp.prepare(logged, **CALL, layer="lgo")


def test_too_many_genes(logged, monkeypatch):
    monkeypatch.setattr("shoal.pp._prepare.MAX_GENES", 50)
    with pytest.raises(ValueError, match="60 genes, more than 50; pass a lower n_top_genes"):
        sh.pp.prepare(logged, **CALL, n_top_genes=None)


@pytest.mark.parametrize("genes", [60, 300])
def test_controls_scored_out_of_sample_spread_as_new_ones_do(rng, genes):
    """In sample, controls vary more along the axes than perturbed cells of the same population; across folds, not."""
    label = np.repeat(["control", "A"], [200, 2000])
    adata = ad.AnnData(rng.normal(size=(2200, genes)))
    adata.obs["perturbation"] = label
    ratio = {}
    for folds in (0, 10):
        sh.pp.prepare(adata, **CALL, n_comps=10, cross_fit=folds)
        assert adata.uns["pca"]["params"]["cross_fit"] == folds
        spread = [adata.obsm["X_pca"][label == k].var(axis=0).sum() for k in ("control", "A")]
        ratio[folds] = spread[0] / spread[1]
    assert ratio[0] > 1.3
    assert 0.85 < ratio[10] < 1.1


def test_cross_fit_is_rotated_onto_the_common_axes(counts):
    plain = counts.copy()
    sh.pp.prepare(counts, **CALL, normalize="log1p", n_comps=5)
    sh.pp.prepare(plain, **IN_SAMPLE, normalize="log1p", n_comps=5)
    np.testing.assert_allclose(counts.varm["PCs"], plain.varm["PCs"], atol=1e-10)
    control = (counts.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_allclose(
        counts.obsm["X_pca"][~control], plain.obsm["X_pca"][~control], atol=1e-5
    )
    agreement = np.corrcoef(counts.obsm["X_pca"][control].T, plain.obsm["X_pca"][control].T)[:5, 5:]
    assert agreement[0, 0] > 0.9
    assert (np.diag(agreement) > 0.4).all()


def test_cross_fit_arguments(logged, caplog):
    for wrong in (1, -2):
        with pytest.raises(ValueError, match=f"cross_fit must be .* not {wrong}"):
            sh.pp.prepare(logged, **CALL, cross_fit=wrong)
    sh.pp.prepare(logged, **CALL, fit_on="all", n_comps=5)
    assert logged.uns["pca"]["params"]["cross_fit"] == 0
    with caplog.at_level("WARNING", logger="shoal"):
        sh.pp.prepare(logged[60:].copy(), **CALL, n_comps=18)
    assert "20 fit cells are too few to be scored out of sample" in caplog.text


def test_real_counts(read_real):
    adata = read_real("renge23_hipsc_ko.h5ad")
    sh.pp.prepare(adata, **CALL, normalize="log1p", n_top_genes=60, n_comps=20)
    assert adata.var["highly_variable"].sum() == 60
    control = (adata.obs["perturbation"] == "control").to_numpy()
    found = adata.obsm["X_pca"][control].astype(float).var(axis=0, ddof=1)
    known = (
        sparse.csc_matrix(adata.X)[:, adata.var["highly_variable"].to_numpy()][control]
        .toarray()
        .astype(float)
    )
    expected = np.linalg.eigvalsh(np.cov(known.T))[::-1][:20]
    np.testing.assert_allclose(adata.uns["pca"]["variance"], expected, rtol=1e-6)
    assert 0.8 < found.sum() / expected.sum() < 1


def test_the_genes_are_those_of_scanpy(counts):
    sc.pp.normalize_total(counts, target_sum=300)
    for base in (None, 2):
        adata = counts.copy()
        sc.pp.log1p(adata, base=base)
        adata.X = adata.X.astype(np.float64)
        expected = sc.pp.highly_variable_genes(adata, n_top_genes=25, inplace=False)
        sh.pp.prepare(adata, **CALL, n_top_genes=25, n_comps=5, fit_on="all")
        chosen = adata.var["highly_variable"].to_numpy()
        score = expected["dispersions_norm"].to_numpy()
        assert score[chosen].min() >= score[~chosen].max() - 1e-6
        assert abs(int(chosen.sum()) - 25) <= 2  # ties
