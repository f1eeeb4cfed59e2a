from __future__ import annotations

import inspect
import itertools
import tracemalloc
import warnings
from itertools import combinations

import anndata as ad
import dask.array as da
import mudata as md
import numpy as np
import pytest
import scperturb
import zarr
from scipy import sparse

import shoal as sh

KEYS = {"perturbation_key": "perturbation", "control": "control"}
PURE = {
    "edistance": sh.metrics.edistance,
    "energy": sh.metrics.energy_distance,
    "mmd": sh.metrics.mmd,
}
each_metric = pytest.mark.parametrize("metric", list(PURE))


def table(adata, **options):
    sh.tl.distance(adata, **(KEYS | options))
    return adata.uns["distance"]["table"]


def part(adata, name, where=True):
    return np.asarray(adata.X)[(adata.obs["perturbation"] == name).to_numpy() & where]


# -- numbers ---------------------------------------------------------------------------------------------------------


@each_metric
@pytest.mark.parametrize("biased", [False, True])
def test_equals_the_pure_function(metric, biased, screen_adata):
    found = table(screen_adata, metric=metric, biased=biased)
    control = part(screen_adata, "control")
    assert found.index.tolist() == ["A", "B", "C+D"]
    assert found["n_cells"].tolist() == [40, 30, 25]
    for name, value in found["distance"].items():
        assert value == pytest.approx(
            PURE[metric](part(screen_adata, name), control, biased=biased), rel=1e-10
        )


def test_equals_scperturb(screen_adata):
    screen_adata.obsm["X_pca"] = screen_adata.X + 100.0
    options = {"obs_key": "perturbation", "obsm_key": "X_pca", "verbose": False, "n_jobs": 1}
    one = scperturb.edist_to_control(screen_adata, control="control", **options)["distance"].astype(
        float
    )
    found = table(screen_adata, use_rep="X_pca")["distance"]
    np.testing.assert_allclose(found, one.loc[found.index], rtol=1e-10)
    all_pairs = scperturb.edist(screen_adata, **options).astype(float)
    table(screen_adata, use_rep="X_pca", pairwise=True)
    square = sh.tl.distance_matrix(screen_adata)
    np.testing.assert_allclose(
        square, all_pairs.loc[square.index, square.columns], rtol=1e-10, atol=1e-10
    )


@each_metric
def test_pairwise_equals_the_pure_function(metric, screen_adata):
    found = table(
        screen_adata,
        metric=metric,
        pairwise=True,
        **({"bandwidth": 4.0} if metric == "mmd" else {}),
    )
    assert len(found) == 6
    for row in found.itertuples():
        x, y = part(screen_adata, row.perturbation), part(screen_adata, row.other)
        options = {"bandwidth": 4.0} if metric == "mmd" else {}
        assert row.distance == pytest.approx(PURE[metric](x, y, **options), rel=1e-10)
    square = sh.tl.distance_matrix(screen_adata)
    assert square.index.tolist() == square.columns.tolist() == ["control", "A", "B", "C+D"]
    assert (np.diag(square) == 0).all()
    assert (square == square.T).all(axis=None)


@each_metric
@pytest.mark.parametrize("pairwise", [False, True])
def test_strata_are_averaged_and_never_compared(metric, pairwise, screen_adata, rng):
    options = {"metric": metric, "pairwise": pairwise, "strata": "batch"} | (
        {"bandwidth": 3.0} if metric == "mmd" else {}
    )
    x = screen_adata.X.copy()
    screen_adata.obs["batch"] = rng.choice(["b0", "b1"], p=[0.7, 0.3], size=screen_adata.n_obs)
    found = table(screen_adata, **options)["distance"].to_numpy()
    by_hand, weight = 0.0, 0.0
    for batch in ("b0", "b1"):
        here = (screen_adata.obs["batch"] == batch).to_numpy()
        a, c = part(screen_adata, "A", here), part(screen_adata, "control", here)
        h = len(a) * len(c) / (len(a) + len(c))
        extra = {"bandwidth": 3.0} if metric == "mmd" else {}
        by_hand, weight = by_hand + h * PURE[metric](a, c, **extra), weight + h
    assert found[0] == pytest.approx(by_hand / weight, rel=1e-10)
    screen_adata.X = (
        x + 50 * (screen_adata.obs["batch"] == "b1").to_numpy()[:, None]
    )  # a batch effect
    np.testing.assert_allclose(
        table(screen_adata, **options)["distance"], found, rtol=1e-9, atol=1e-9
    )


KINDS = ("float32", "csr", "csc", "dask", "dask_csr", "zarr", "backed", "backed_csr", "int")


@pytest.mark.parametrize(
    ("metric", "kind"),  # energy and mmd take the same pairs of cells
    [*itertools.product(("edistance", "energy"), KINDS), ("mmd", "csr")],
)
def test_matrix_kinds(metric, kind, screen_adata, tmp_path):
    dense = np.round(screen_adata.X / 2)  # whole numbers, many of them 0, exact in every type
    screen_adata.X = dense
    options = {"metric": metric, "n_perms": 19, "alpha": 0.5, "rng": 1}
    expected = table(screen_adata, **options)
    plain, csr = dense.astype("float32"), sparse.csr_matrix(dense)
    if kind.startswith("backed"):
        screen_adata.X = csr if kind == "backed_csr" else dense
        screen_adata.write_h5ad(tmp_path / "x.h5ad")
        screen_adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    else:
        screen_adata.X = {
            "float32": lambda: plain,
            "int": lambda: dense.astype("int32"),
            "csr": lambda: csr,
            "csc": lambda: csr.tocsc(),
            "dask": lambda: da.from_array(plain, chunks=(37, 5)),
            "dask_csr": lambda: da.from_array(dense, chunks=(37, 12)).map_blocks(sparse.csr_matrix),
            "zarr": lambda: zarr.create_array(tmp_path / "x.zarr", data=plain, chunks=(20, 12)),
        }[kind]()
    found = table(screen_adata, **options)
    np.testing.assert_allclose(found["distance"], expected["distance"], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found["pvalue"], expected["pvalue"])


@each_metric
def test_an_offset_costs_no_digits(metric, screen_adata):
    expected = table(screen_adata, metric=metric)["distance"]
    screen_adata.obsm["far"] = screen_adata.X + 1e6
    found = table(screen_adata, metric=metric, use_rep="far")["distance"]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@each_metric
def test_block_size_and_row_order_do_not_matter(metric, screen_adata, rng, monkeypatch):
    options = {"metric": metric, "n_perms": 29, "alpha": 0.5, "rng": 1}
    expected = table(screen_adata, **options)
    order = rng.permutation(screen_adata.n_obs)
    shuffled = table(screen_adata[order].copy(), metric=metric)
    np.testing.assert_allclose(shuffled["distance"], expected["distance"], rtol=1e-10)
    monkeypatch.setattr(sh.settings, "block_bytes", 3_000)
    found = table(screen_adata, **options)
    np.testing.assert_allclose(found["distance"], expected["distance"], rtol=1e-10)
    np.testing.assert_array_equal(found["pvalue"], expected["pvalue"])


def test_energy_memory_is_bounded_by_the_block(rng, monkeypatch):
    monkeypatch.setattr(sh.settings, "block_bytes", 2 * 2**20)
    adata = ad.AnnData(rng.normal(size=(5_000, 10)).astype("float32"))
    adata.obs["perturbation"] = np.where(np.arange(5_000) % 2 == 0, "control", "A")
    tracemalloc.start()
    table(adata, metric="energy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6  # all pairs of controls alone would be 50 MB


# -- test ------------------------------------------------------------------------------------------------------------


@each_metric
@pytest.mark.parametrize("strata", [None, "batch"])
def test_permutation_finds_the_effects(metric, strata, screen_adata):
    found = table(screen_adata, metric=metric, n_perms=199, strata=strata, rng=0)
    again = table(screen_adata, metric=metric, n_perms=199, strata=strata, rng=0)
    assert found.equals(again)
    assert found.loc["A", "pvalue"] == 1 / 200
    assert found.loc["B", "pvalue"] <= 0.03
    assert found.loc["C+D", "pvalue"] > 0.02
    assert found.loc["A", "qvalue"] == pytest.approx(
        3 / 200 if found.loc["B", "pvalue"] > 1 / 200 else 1.5 / 200
    )
    plain = table(screen_adata, metric=metric, strata=strata)
    np.testing.assert_allclose(plain["distance"], found["distance"], rtol=1e-10)


@each_metric
def test_many_relabellings_reach_the_exact_pvalue(metric):
    """3 and 4 cells: all 35 relabellings can be listed."""
    x = np.array([0.0, 1.0, 2.0, 2.5, 4.0, 5.5, 7.0])[:, None]
    adata = ad.AnnData(x, obs={"perturbation": ["A"] * 3 + ["control"] * 4})
    options = {"bandwidth": 2.0} if metric == "mmd" else {}
    values = []
    for chosen in combinations(range(7), 3):
        rest = [i for i in range(7) if i not in chosen]
        values.append(PURE[metric](x[list(chosen)], x[rest], **options))
    exact = np.mean(np.array(values) >= values[0] - 1e-9)
    found = table(adata, metric=metric, n_perms=2500, rng=0, **options)["pvalue"].iloc[0]
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2500))


def test_batch_confounded_labels_need_strata(rng):
    """No effect, but batches with a shift and unequal shares of the perturbation."""
    n = 300
    batch = rng.random(n) < 0.5
    label = np.where(rng.random(n) < np.where(batch, 0.7, 0.3), "A", "control")
    adata = ad.AnnData(rng.normal(size=(n, 5)) + 2.0 * batch[:, None])
    adata.obs["perturbation"], adata.obs["batch"] = label, batch.astype(str)
    assert table(adata, n_perms=99, rng=0).loc["A", "pvalue"] == 0.01
    assert table(adata, n_perms=99, rng=0, strata="batch").loc["A", "pvalue"] > 0.1


def test_too_few_relabellings_are_told(screen_adata):
    with pytest.warns(
        UserWarning, match=r"alone among 3 cannot reach alpha=0.05.*n_perms=59 would do"
    ):
        table(screen_adata, n_perms=58)
    for options in ({"n_perms": 59}, {"n_perms": 19, "alpha": 0.2}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table(screen_adata, **options)
    with pytest.warns(UserWarning, match="n_perms=58 would do"):
        table(screen_adata, n_perms=19, correction="holm-sidak")


# -- writing and refusing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairwise", [False, True])
def test_survives_h5ad(pairwise, screen_adata, tmp_path):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].replace({"A": "a/b"})
    written = table(
        screen_adata, pairwise=pairwise, metric="mmd", bandwidth=[1, 2], strata=["batch"]
    )
    square = sh.tl.distance_matrix(screen_adata) if pairwise else None
    screen_adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    entry = back.uns["distance"]
    np.testing.assert_array_equal(entry["table"]["distance"], written["distance"])
    assert entry["schema"] == ("distance_pairwise/1" if pairwise else "distance/1")
    assert entry["params"]["bandwidth"] == "1.0,2.0"
    assert entry["params"]["control"] == "control"
    if pairwise:
        assert sh.tl.distance_matrix(back).equals(square)
    else:
        assert "a/b" in entry["table"].index
        with pytest.raises(ValueError, match="pairwise=True"):
            sh.tl.distance_matrix(back)


def test_annotated_views_mudata_key_and_missing_labels(screen_adata):
    expected = table(screen_adata.copy(), key_added=None)["distance"]
    extra = screen_adata[:5].copy()
    extra.obs["perturbation"] = None
    with pytest.warns(UserWarning, match="names are not unique"):
        both = ad.concat([screen_adata, extra])
    sh.pp.annotate(both, "perturbation", control="control", missing="ignore")
    sh.tl.distance(both, key_added="d2")
    np.testing.assert_allclose(both.uns["d2"]["table"]["distance"], expected)
    view = screen_adata[:, :]
    assert table(view)["distance"].equals(expected)
    assert not screen_adata.uns
    mdata = md.MuData({"rna": screen_adata.copy()})
    sh.tl.distance(mdata, "perturbation", control="control", mod="rna")
    assert mdata.mod["rna"].uns["distance"]["table"]["distance"].equals(expected)


def test_small_groups_are_named(screen_adata):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].astype(object)
    screen_adata.obs.iloc[0, 0] = "alone"
    with pytest.warns(UserWarning, match="no distance for 'alone': at least 2 cells"):
        found = table(screen_adata, n_perms=99, rng=0)
    assert found.loc["alone"].isna().tolist() == [False, True, True, True]
    assert found.drop(index="alone").notna().all(axis=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table(screen_adata, metric="energy", biased=True)["distance"].notna().all()
    screen_adata.obs["batch"] = np.where(
        screen_adata.obs["perturbation"] == "B", "b2", screen_adata.obs["batch"]
    )
    screen_adata.obs.iloc[[1, 70], 1] = "b2"  # a control and a cell of A
    with (
        pytest.warns(UserWarning, match="no distance for 'B', 'alone'"),
        pytest.warns(UserWarning, match="1 perturbed cells are left out"),
    ):
        found = table(screen_adata, strata="batch")
    assert found["distance"].isna().to_dict() == {
        "A": False,
        "B": True,
        "C+D": False,
        "alone": True,
    }


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"metric": "cosine"},
            ValueError,
            "metric='cosine' is not known; choose one of 'edistance'",
        ),
        ({"correction": "bh"}, ValueError, "correction='bh'"),
        ({"bandwidth": 2.0}, ValueError, "belongs to metric='mmd'"),
        ({"metric": "mmd", "bandwidth": 0}, ValueError, "above 0"),
        ({"n_perms": -1}, ValueError, "n_perms must be a whole number"),
        ({"alpha": 0}, ValueError, "alpha must be a number between 0 and 1"),
        ({"pairwise": True, "n_perms": 9}, ValueError, "pairwise=True has no test"),
        ({"control": "ctrl"}, KeyError, "Did you mean"),
        ({"strata": "bach"}, KeyError, "Did you mean 'batch'"),
        ({"use_rep": "X_pca"}, KeyError, "X_pca"),
        ({"layer": "counts"}, KeyError, "counts"),
        ({"rng": np.random.RandomState(0)}, TypeError, "RandomState"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(options, error, message, screen_adata):
    with pytest.raises(error, match=message):
        table(screen_adata, **options)
    assert not screen_adata.uns


@each_metric
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_values_that_are_not_finite_are_refused(metric, kind, screen_adata):
    x = screen_adata.X.copy()
    x[[0, 3], 2] = np.nan, np.inf
    screen_adata.X = kind(x)
    with pytest.raises(
        ValueError, match="X holds NaN or infinite values in 2 of 155 cells, such as 'cell0'"
    ):
        table(screen_adata, metric=metric)


def test_missing_strata_and_too_few_controls_are_refused(screen_adata):
    screen_adata.obs["batch"] = screen_adata.obs["batch"].replace({"b0": None})
    with pytest.raises(ValueError, match=r"78 cells have no value in strata=\['batch'\]") as err:
        table(screen_adata, strata="batch")
    kept = eval(str(err.value).split("adata = ")[1].split(", fill")[0], {"adata": screen_adata})
    assert kept.n_obs == screen_adata.n_obs - 78
    with pytest.raises(ValueError, match="no stratum has more than 1 control cells"):
        table(screen_adata[59:].copy())


def test_strata_are_the_recorded_batch_by_default(screen_adata):
    pooled = table(screen_adata).copy()
    sh.pp.annotate(screen_adata, **KEYS, batch_key="batch")
    within = table(screen_adata).copy()
    np.testing.assert_array_equal(
        within["distance"], table(screen_adata, strata="batch")["distance"]
    )
    np.testing.assert_array_equal(pooled["distance"], table(screen_adata, strata=None)["distance"])
    assert (within["distance"] != pooled["distance"]).any()


def test_strata_have_one_default_everywhere():
    functions = [sh.tl.coherence, sh.tl.coherence_null, sh.tl.distance, sh.pp.embed]
    for function in functions:
        assert inspect.signature(function).parameters["strata"].default == "auto", function


@pytest.mark.parametrize("metric", ["edistance", "energy", "mmd"])
def test_permutations_do_not_depend_on_the_order_of_rows(screen_adata, rng, metric):
    options = {"metric": metric, "n_perms": 99, "alpha": 0.5, "rng": 1, "strata": "batch"}
    expected = table(screen_adata, **options)
    shuffled = table(screen_adata[rng.permutation(screen_adata.n_obs)].copy(), **options)
    assert expected["pvalue"].tolist() == shuffled["pvalue"].tolist()
    np.testing.assert_allclose(expected["distance"], shuffled["distance"], rtol=1e-9)


@pytest.mark.parametrize("n_perms", [-1, 2.5, np.nan])
def test_numbers_of_permutations_that_make_no_sense(screen_adata, n_perms):
    with pytest.raises(ValueError, match="n_perms must be a whole number"):
        table(screen_adata, n_perms=n_perms)
