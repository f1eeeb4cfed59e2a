"""tl.coherence by replicates: which column, which design, what is said where nothing can be."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import sparse

import shoal as sh

D = 8
COLUMNS = ["magnitude_replicate", "pvalue_replicate", "qvalue_replicate", "n_replicates"]


def screen(layout, *, between=0.3, shift=None, n=40, seed=0, key="guide"):
    """Return a screen of (perturbation, replicate label) pairs; each pair moves its cells alike."""
    rng = np.random.default_rng(seed)
    owner, label = (np.repeat([pair[i] for pair in layout], n) for i in (0, 1))
    moved = between * rng.normal(size=(len(layout), D))
    for i, (name, _) in enumerate(layout):
        moved[i] += (shift or {}).get(name, 0.0)
    x = rng.normal(size=(len(owner), D)) + np.repeat(moved, n, axis=0)
    obs = pd.DataFrame({"perturbation": owner, key: label})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return AnnData(np.zeros((len(obs), 2)), obs=obs, obsm={"X_pca": x})


def guides(names, k, prefix="g"):
    return [(name, f"{prefix}_{name}_{i}") for name in names for i in range(k)]


def measured(adata, control="control", annotate=None, **arguments):
    if annotate is not None:
        sh.pp.annotate(adata, "perturbation", control=control, **annotate)
        sh.tl.coherence(adata, **arguments)
    else:
        sh.tl.coherence(adata, "perturbation", control=control, **arguments)
    return adata.uns["coherence"]["table"], adata.uns["coherence"]["params"]


def test_guides_that_differ_are_no_response():
    """By cells everything responds. By guides only what its guides share does."""
    names = [f"p{i}" for i in range(12)]
    layout = guides(names, 3) + guides(["control"], 6)
    adata = screen(layout, shift={"p0": 1.0, "p1": 1.0})
    table, params = measured(adata, annotate={"guide_key": "guide"})
    assert (table["qvalue"] < 0.05).sum() >= 11
    assert set(table.index[table["qvalue_replicate"] < 0.05]) == {"p0", "p1"}
    assert (table["n_replicates"] == 3).all()
    assert params["replicate_key"] == "guide"
    assert params["replicate_design"] == "two samples"
    assert params["n_control_replicates"] == 6
    assert params["replicate_note"] == ""


def test_donors_that_differ_are_no_response():
    """Halves of untreated donors: each donor is treated or control, and nothing was done."""
    by_cells, by_donors = [], []
    for seed in range(60):
        layout = [("treated" if i < 4 else "control", f"d{i}") for i in range(8)]
        adata = screen(layout, seed=seed, key="donor", n=25)
        table, _ = measured(adata, strata=None, replicate_key="donor")
        by_cells.append(table["pvalue"].iloc[0] < 0.05)
        by_donors.append(table["pvalue_replicate"].iloc[0] < 0.05)
    assert np.mean(by_cells) > 0.6
    assert np.mean(by_donors) < 0.12


@pytest.mark.parametrize("nested", [True, False])
def test_paired_design_takes_differences_within_donors(nested):
    """Donors differ much, the response little, and every donor has both kinds of cells."""
    layout = [(name, f"d{i}") for i in range(6) for name in ("control", "treated")]
    adata = screen(layout, between=0.0, shift={"treated": 0.6}, key="donor")
    donor = pd.factorize(adata.obs["donor"])[0]
    adata.obsm["X_pca"] += 3 * np.random.default_rng(1).normal(size=(6, D))[donor]
    table, params = measured(
        adata, annotate={"batch_key": "donor"}, strata="donor" if nested else None
    )
    assert params["replicate_design"] == "paired"
    assert params["replicate_key"] == "donor"
    assert table["n_replicates"].iloc[0] == 6
    assert table["pvalue_replicate"].iloc[0] < 1e-3
    assert table["magnitude_replicate"].iloc[0] == pytest.approx(0.6 * np.sqrt(D), rel=0.15)


def test_nothing_is_added_where_no_replicates_are_recorded():
    layout = guides(["p", "control"], 3)
    plain, params = measured(screen(layout))
    assert not set(COLUMNS) & set(plain.columns)
    assert params["replicate_key"] == ""
    assert "recorded" in params["replicate_note"]
    asked, _ = measured(screen(layout), replicate_key="guide")
    rest = asked.drop(columns=COLUMNS)
    pd.testing.assert_frame_equal(rest, plain)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (guides(["p", "q"], 3) + guides(["control"], 1), "control has 1"),
        (guides(["p", "q"], 1) + guides(["control"], 4), "no perturbation has 2"),
    ],
)
def test_a_single_replicate_is_said(layout, words):
    adata = screen(layout)
    table, params = measured(adata, annotate={"guide_key": "guide"})
    assert table["pvalue_replicate"].isna().all()
    assert table["qvalue_replicate"].isna().all()
    assert words in params["replicate_note"]


def test_rows_with_few_replicates_are_flagged():
    layout = guides(["p"], 1) + guides(["q", "r", "control"], 4)
    table, params = measured(screen(layout), annotate={"guide_key": "guide"})
    assert table["flags"].tolist() == ["few_replicates", "", ""]
    assert np.isfinite(table["pvalue_replicate"]).tolist() == [False, True, True]
    assert params["replicate_note"] == ""


def test_small_replicates_are_not_counted():
    adata = screen(guides(["p"], 3) + guides(["control"], 4))
    drop = (adata.obs["guide"] == "g_p_0").to_numpy() & (np.arange(adata.n_obs) >= 10)
    table, _ = measured(adata[~drop].copy(), annotate={"guide_key": "guide"})
    assert table["n_replicates"].iloc[0] == 2


def test_batches_are_taken_where_guides_say_nothing():
    layout = [(name, f"b{i}") for i in range(4) for name in ("control", "p", "q")]
    adata = screen(layout, key="batch")
    adata.obs["guide"] = adata.obs["perturbation"]
    _, params = measured(adata, annotate={"guide_key": "guide", "batch_key": "batch"})
    assert params["replicate_key"] == "batch"
    _, params = measured(adata, replicate_key="guide")
    assert params["replicate_key"] == "guide"
    assert "control has 1" in params["replicate_note"]


def test_the_order_of_rows_does_not_matter():
    layout = guides(["p", "q", "r"], 3) + guides(["control"], 4)
    adata = screen(layout, shift={"p": 1.0})
    adata.obs["batch"] = np.tile(["a", "b"], adata.n_obs // 2)
    adata.obsm["X_pca"][::2] += 2.0  # batch
    table, _ = measured(adata, annotate={"guide_key": "guide", "batch_key": "batch"})
    order = np.random.default_rng(2).permutation(adata.n_obs)
    shuffled, _ = measured(adata[order].copy())
    pd.testing.assert_frame_equal(shuffled[COLUMNS], table[COLUMNS], rtol=1e-7)


@pytest.fixture(scope="module")
def simulated():
    adata = sh.ds.simulate(n_perturbations=4, n_cells=90, n_control=200, n_genes=40, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch", guide_key="guide")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.tl.coherence(adata, use_rep="X")
    return adata


@pytest.mark.parametrize("kind", ["dense", "float32", "csr", "csc", "dask", "backed"])
def test_any_storage_gives_the_same_numbers(simulated, kind, tmp_path):
    adata, expected = simulated.copy(), simulated.uns["coherence"]["table"]
    x = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    if kind == "dask":
        dask = pytest.importorskip("dask.array")
        adata.X = dask.from_array(x, chunks=(70, 40))
    else:
        make = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}.get(kind, np.asarray)
        adata.X = make(x.astype(np.float32) if kind == "float32" else x)
    if kind == "backed":
        adata.write_h5ad(tmp_path / "screen.h5ad")
        adata = read_h5ad(tmp_path / "screen.h5ad", backed="r")
    sh.tl.coherence(adata, use_rep="X")
    table = adata.uns["coherence"]["table"]
    assert np.isfinite(table["pvalue_replicate"]).all()
    pd.testing.assert_frame_equal(table[COLUMNS], expected[COLUMNS], rtol=1e-4)


def test_it_survives_the_file(simulated, tmp_path):
    simulated.write_h5ad(tmp_path / "screen.h5ad")
    again = read_h5ad(tmp_path / "screen.h5ad").uns["coherence"]
    expected = simulated.uns["coherence"]
    pd.testing.assert_frame_equal(
        again["table"][COLUMNS], expected["table"][COLUMNS], check_names=False
    )
    assert again["params"]["replicate_key"] == "guide"


def test_depth_is_taken_out():
    """Guides whose cells are deeper all differ alike. At equal depth nothing is left."""
    layout = guides(["p"], 4) + guides(["control"], 6)
    adata = screen(layout, between=0.05, n=80)
    rng = np.random.default_rng(3)
    log = rng.normal(size=adata.n_obs) + (adata.obs["perturbation"] == "p").to_numpy()
    adata.obs["total_counts"] = np.exp(log)
    adata.obsm["X_pca"] += log[:, None]
    raw, _ = measured(adata, annotate={"guide_key": "guide"})
    flat, _ = measured(adata, depth_key="total_counts")
    assert raw["pvalue_replicate"].iloc[0] < 1e-3
    assert flat["pvalue_replicate"].iloc[0] > 0.01


def test_wrong_columns_are_refused():
    adata = screen(guides(["p", "control"], 3))
    with pytest.raises(KeyError, match="replicate_key"):
        measured(adata, replicate_key="gide")
    with pytest.raises(TypeError, match="must name one column"):
        measured(adata, replicate_key=["guide", "perturbation"])
    with pytest.raises(ValueError, match="column of perturbations"):
        measured(adata, replicate_key="perturbation")
    assert "coherence" not in adata.uns
