"""tl.predict on AnnData, with baselines: which cell gets which twin, what is written, and what is left alone."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh

from ..helpers import dense, slots, two_days


@pytest.fixture
def adata(rng):
    return two_days(rng)


@pytest.fixture
def copy(adata):
    """A model whose twins are the control cells themselves: what a twin starts from can be read off it."""
    return sh.tl.fit(adata, "control")


# -- what is written -------------------------------------------------------------------------------------------------


def test_every_perturbed_cell_gets_a_twin_and_controls_keep_their_values(adata, copy):
    before = slots(adata)
    assert sh.tl.predict(adata, copy) is None
    layer, x = adata.layers["predicted"], dense(adata.X)
    assert layer.shape == adata.shape
    assert layer.dtype == np.float32
    control = (adata.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_array_equal(dense(layer)[control], x[control])
    np.testing.assert_array_equal(adata.obs["predicted_predicted"], ~control)
    assert adata.obs["predicted_predicted"].dtype == bool
    source = adata.obs["predicted_source"]
    assert set(source[control]) == {""}
    at = adata.obs_names.get_indexer(source[~control])
    assert control[at].all()
    np.testing.assert_array_equal(dense(layer)[~control], x[at])
    for key in ("day", "plate"):
        np.testing.assert_array_equal(adata.obs[key].iloc[at], adata.obs[key][~control])
    new = {"predicted_predicted", "predicted_source"}
    told = {"perturbation_predictions"}
    assert slots(adata) == (before[0] | new, before[1] | {"predicted"}, before[2], before[3] | told)


def test_mostly_zeros_are_kept_sparse_and_the_rest_is_not(adata, copy):
    sh.tl.predict(adata, copy)
    assert adata.layers["predicted"].format == "csr"
    sh.tl.predict(adata, copy, key_added="test", subset="test")
    assert adata.layers["test"].format == "csr"
    full = adata.copy()
    full.X = dense(adata.X) + 1
    model = sh.tl.fit(full, "mean_shift")
    sh.tl.predict(full, model)
    assert isinstance(full.layers["predicted"], np.ndarray)
    one = full.obs["perturbation"] == "A"
    control = full.obs["perturbation"] == "control"
    few = full[one | control | (np.arange(full.n_obs) % 3 > 0)].copy()
    sh.tl.predict(few, model, key_added="few", subset=(few.obs["perturbation"] == "A").to_numpy())
    is_small = 2 * (one.sum() + control.sum()) < few.n_obs
    assert sparse.issparse(few.layers["few"]) == is_small


def test_sparse_and_dense_values_have_the_same_twins(adata):
    other = adata.copy()
    other.X = dense(adata.X)
    for each in (adata, other):
        sh.tl.predict(each, sh.tl.fit(each, "mean_shift"), rng=2)
    np.testing.assert_allclose(
        dense(adata.layers["predicted"]), dense(other.layers["predicted"]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("subset", "chosen"),
    [
        ("test", ["B+A"]),
        (["val", "test"], ["B+A", "E"]),
        (("train",), ["A", "C/D"]),
        ("mask", ["C/D"]),
        ("list of bools", ["C/D"]),
        (None, ["A", "B+A", "C/D", "E"]),
    ],
    ids=str,
)
def test_a_subset_by_split_or_by_mask(adata, copy, subset, chosen):
    label = adata.obs["perturbation"]
    mask = label.isin(["C/D", "control"])
    subset = {"mask": mask.to_numpy(), "list of bools": mask.tolist()}.get(str(subset), subset)
    sh.tl.predict(adata, copy, subset=subset)
    np.testing.assert_array_equal(adata.obs["predicted_predicted"], label.isin(chosen))
    missing = np.isnan(dense(adata.layers["predicted"]))
    np.testing.assert_array_equal(missing.any(axis=1), ~label.isin([*chosen, "control"]))


def test_cells_without_a_label_get_no_twin(adata):
    adata.obs["perturbation"] = adata.obs["perturbation"].where(adata.obs["perturbation"] != "E")
    keys = {"context_key": "day", "batch_key": "plate"}
    sh.pp.annotate(adata, "perturbation", control="control", missing="ignore", **keys)
    sh.tl.predict(adata, sh.tl.fit(adata, "control"))
    unlabelled = adata.obs["perturbation"].isna().to_numpy()
    assert np.isnan(dense(adata.layers["predicted"])[unlabelled]).any(axis=1).all()
    assert not adata.obs["predicted_predicted"][unlabelled].any()


def test_predictions_survive_a_file(adata, copy, tmp_path):
    for key, subset in (("all", None), ("some", "test")):
        sh.tl.predict(adata, copy, key_added=key, subset=subset)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    for key in ("all", "some"):
        np.testing.assert_array_equal(dense(back.layers[key]), dense(adata.layers[key]))
        np.testing.assert_array_equal(back.obs[f"{key}_predicted"], adata.obs[f"{key}_predicted"])
        np.testing.assert_array_equal(
            back.obs[f"{key}_source"].astype(str), adata.obs[f"{key}_source"]
        )
    sh.tl.predict(
        back, copy, key_added="some"
    )  # a prediction read from a file may be replaced like any other
    assert back.obs["some_predicted"].sum() == 64


def test_a_representation_is_predicted_in_obsm(adata, rng):
    adata.obsm["X_pca"] = rng.normal(size=(adata.n_obs, 3)).astype(np.float32)
    sh.tl.predict(
        adata, sh.tl.fit(adata, "control", use_rep="X_pca"), key_added="twin", subset="train"
    )
    twin, control = adata.obsm["X_twin"], (adata.obs["perturbation"] == "control").to_numpy()
    assert "twin" not in adata.layers
    np.testing.assert_array_equal(twin[control], adata.obsm["X_pca"][control])
    made = adata.obs["twin_predicted"].to_numpy()
    at = adata.obs_names.get_indexer(adata.obs["twin_source"][made])
    np.testing.assert_array_equal(twin[made], adata.obsm["X_pca"][at])
    assert np.isnan(twin[~made & ~control]).all()


def test_a_layer_is_predicted_from_that_layer(adata):
    adata.layers["log"], adata.X = (
        adata.X.copy(),
        sparse.csr_matrix(adata.X * 0 + np.rint(dense(adata.X))),
    )
    sh.tl.predict(adata, sh.tl.fit(adata, "control", layer="log"))
    control = (adata.obs["perturbation"] == "control").to_numpy()
    np.testing.assert_array_equal(
        dense(adata.layers["predicted"])[control], dense(adata.layers["log"])[control]
    )


def test_what_measures_cells_measures_twins(adata):
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="twin")
    sh.tl.coherence(adata, layer="twin", key_added="twin_coherence")
    assert np.isfinite(adata.uns["twin_coherence"]["table"]["magnitude"]).all()


# -- the same cells in another form ----------------------------------------------------------------------------------


def test_a_seed_decides_and_the_order_of_rows_does_not(adata, copy, rng):
    shuffled = adata[rng.permutation(adata.n_obs)].copy()
    for each in (adata, shuffled):
        sh.tl.predict(each, copy, rng=1)
        sh.tl.predict(each, copy, rng=2, key_added="other")
    one, two = adata.obs["predicted_source"], shuffled.obs["predicted_source"][adata.obs_names]
    pd.testing.assert_series_equal(one, two)
    assert (one != adata.obs["other_source"]).any()


def test_genes_in_another_order_are_put_in_theirs(adata, copy):
    turned = adata[:, ::-1].copy()
    for each in (adata, turned):
        sh.tl.predict(each, copy)
    np.testing.assert_array_equal(
        dense(turned.layers["predicted"])[:, ::-1], dense(adata.layers["predicted"])
    )


def test_a_view_becomes_a_copy_of_its_own(adata, copy):
    view = adata[adata.obs["day"] == 1]
    sh.tl.predict(view, copy)
    assert not view.is_view
    assert view.layers["predicted"].shape == view.shape
    assert "predicted" not in adata.layers
    assert set(view.obs["predicted_source"]) - {""} <= set(view.obs_names)


def test_a_file_is_read_and_not_written(adata, copy, tmp_path):
    adata.write_h5ad(tmp_path / "screen.h5ad")
    sh.tl.predict(adata, copy)
    size = (tmp_path / "screen.h5ad").stat().st_size
    backed = ad.read_h5ad(tmp_path / "screen.h5ad", backed="r")
    sh.tl.predict(backed, copy)
    np.testing.assert_array_equal(
        dense(backed.layers["predicted"]), dense(adata.layers["predicted"])
    )
    with pytest.raises(ValueError, match=r"view of an AnnData backed by a file.*\.to_memory\(\)"):
        sh.tl.predict(backed[:50], copy)
    backed.file.close()
    assert (tmp_path / "screen.h5ad").stat().st_size == size


def test_a_modality(adata, copy):
    mudata = pytest.importorskip("mudata")
    mdata = mudata.MuData(
        {"rna": adata, "protein": ad.AnnData(np.ones((adata.n_obs, 2)), obs=adata.obs[[]])}
    )
    sh.tl.predict(mdata, copy, mod="rna")
    assert "predicted" in mdata.mod["rna"].layers
    with pytest.raises(ValueError, match="say which modality with mod="):
        sh.tl.predict(mdata, copy)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_a_slot_of_the_users_is_not_written_over_but_a_prediction_is(adata, copy):
    adata.layers["mine"] = adata.X.copy()
    with pytest.raises(
        ValueError, match=r"adata\.layers\['mine'\] exists and was not .*overwrite=True"
    ):
        sh.tl.predict(adata, copy, key_added="mine")
    assert "mine_predicted" not in adata.obs
    sh.tl.predict(adata, copy)
    sh.tl.predict(adata, copy, subset="test")
    assert adata.obs["predicted_predicted"].sum() == 20
    assert np.isnan(dense(adata.layers["predicted"])).any(axis=1).sum() == 44


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"subset": "tets"},
            KeyError,
            r"'tets' is not in adata\.obs\['split'\].*'test', 'train', 'val'",
        ),
        ({"subset": ["test", "holdout"]}, KeyError, "'holdout' is not in"),
        (
            {"subset": np.ones(5, dtype=bool)},
            ValueError,
            r"mask of shape \(5,\); it must be \(184,\)",
        ),
        ({"subset": np.zeros(184, dtype=bool)}, ValueError, "nothing to predict"),
        (
            {"guidance": 2},
            TypeError,
            "ControlCopy has no option 'guidance' for predictions; it takes: match_zeros, renew_library",
        ),
        ({"mod": "rna"}, ValueError, "mod='rna' was given but data is an AnnData"),
    ],
)
def test_nothing_is_written_after_an_error(adata, copy, arguments, error, words):
    before = slots(adata)
    with pytest.raises(error, match=words):
        sh.tl.predict(adata, copy, **arguments)
    assert slots(adata) == before


def test_a_mask_of_pandas_means_the_cells_that_its_index_names(adata, copy):
    """In another order it would choose others, without a word."""
    mask = adata.obs["split"] == "test"
    for same in (mask, mask.astype(object), mask.astype("boolean"), mask.reset_index(drop=True)):
        sh.tl.predict(adata, copy, subset=same)
        np.testing.assert_array_equal(
            adata.obs["predicted_predicted"], mask & (adata.obs["perturbation"] != "control")
        )
    with pytest.raises(ValueError, match=r"another order|mask.loc\[adata.obs_names\]"):
        sh.tl.predict(adata, copy, subset=mask[::-1])


def test_perturbations_are_named_by_a_mask(adata, copy):
    with pytest.raises(KeyError, match="Perturbations are named by a mask") as err:
        sh.tl.predict(adata, copy, subset=["A"])
    mask = eval(str(err.value).split("subset=")[1].split('."')[0], {"adata": adata})
    sh.tl.predict(adata, copy, subset=mask)
    assert adata.obs["predicted_predicted"].sum() == (adata.obs["perturbation"] == "A").sum()


def test_a_subset_by_name_needs_a_split(adata, copy):
    del adata.obs["split"]
    with pytest.raises(KeyError, match=r"A subset by name needs sh\.pp\.split\(adata\) first"):
        sh.tl.predict(adata, copy, subset="test")


def test_what_a_model_cannot_predict_is_left_out_and_listed(adata, caplog, tmp_path):
    model = sh.tl.fit(adata, "additive")
    sh.tl.predict(adata, model, key_added="sum")
    said = "'B+A', 'E' cannot be predicted by additive: the parts of each must have"
    assert sum(said in record.getMessage() for record in caplog.records) == 1
    done = adata.obs["sum_predicted"]
    lost = adata.obs["perturbation"].isin(["A+B", "B+A", "E"])
    perturbed = adata.obs["perturbation"].notna() & (adata.obs["perturbation"] != "control")
    assert lost.any()
    assert (done == (perturbed & ~lost)).all()
    assert np.isnan(dense(adata.layers["sum"])[lost]).any(axis=1).all()
    assert np.isfinite(dense(adata.layers["sum"])[done]).all()
    adata.write_h5ad(tmp_path / "x.h5ad")
    entry = ad.read_h5ad(tmp_path / "x.h5ad").uns["perturbation_predictions"]
    assert entry["params"]["skipped"].startswith(said)
    assert entry["table"].loc["sum", "skipped"] == entry["params"]["skipped"]
    caplog.clear()
    sh.tl.predict(adata, model, key_added="sum", subset="train")
    assert not caplog.records
    assert adata.uns["perturbation_predictions"]["params"]["skipped"] == ""


def test_where_a_model_can_predict_nothing_nothing_is_written(adata):
    model, before = sh.tl.fit(adata, "additive"), slots(adata)
    chosen = (adata.obs["perturbation"] == "E").to_numpy()
    with pytest.raises(ValueError, match="'E' cannot be predicted by additive"):
        sh.tl.predict(adata, model, subset=chosen)
    assert slots(adata) == before
    with pytest.raises(ValueError, match="'E' cannot be predicted by additive"):
        model.predict(["A", "E"])


def test_a_query_without_controls(adata, copy):
    with pytest.raises(
        ValueError, match=r"no cell of this AnnData is labelled 'control' in obs\['perturbation'\]"
    ):
        sh.tl.predict(adata[adata.obs["perturbation"] != "control"].copy(), copy)


# -- counts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def normalised(adata, rng):
    """The screen with counts, normalised."""
    adata.X = sparse.csr_matrix(rng.poisson(2.0, adata.shape).astype(np.float32))
    sh.pp.prepare(adata, normalize="log1p", n_comps=3)
    return adata


def test_counts_are_a_layer_of_whole_numbers(normalised, tmp_path, caplog):
    model = sh.tl.fit(normalised, "own_shift")
    sh.tl.predict(normalised, model, key_added="made", counts=True)
    layer, control = normalised.layers["made"], normalised.obs["perturbation"] == "control"
    assert layer.dtype == np.int32
    assert layer.format == "csr"
    own = dense(normalised.layers["counts"])
    np.testing.assert_array_equal(dense(layer)[control], own[control])
    assert "no twin" not in caplog.text
    table = normalised.uns["perturbation_predictions"]["table"]
    assert bool(table.loc["made", "counts"])
    sh.tl.predict(normalised, model, key_added="logged")
    table = normalised.uns["perturbation_predictions"]["table"]
    assert table["counts"].to_dict() == {"made": True, "logged": False}
    normalised.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert back.layers["made"].dtype == np.int32
    assert back.uns["perturbation_predictions"]["table"]["counts"].to_dict() == {
        "made": True,
        "logged": False,
    }


def test_cells_without_a_twin_hold_no_counts_and_that_is_said(normalised, caplog):
    model = sh.tl.fit(normalised, "mean_shift")
    sh.tl.predict(normalised, model, key_added="made", subset="test", counts=True)
    layer, done = dense(normalised.layers["made"]), normalised.obs["made_predicted"]
    control = normalised.obs["perturbation"] == "control"
    assert (layer[done | control].sum(1) > 0).all()
    assert (layer[~done & ~control] == 0).all()
    assert "44 cells have no twin, and zeros" in caplog.text


def test_counts_and_values_of_one_seed_start_from_the_same_cells(normalised):
    model = sh.tl.fit(normalised, "own_shift")
    sh.tl.predict(normalised, model, key_added="made", counts=True, rng=3)
    sh.tl.predict(normalised, model, key_added="logged", rng=3)
    pd.testing.assert_series_equal(
        normalised.obs["made_source"], normalised.obs["logged_source"], check_names=False
    )


def test_readers_of_predictions_refuse_counts(normalised):
    pytest.importorskip("matplotlib")
    model = sh.tl.fit(normalised, "own_shift")
    sh.tl.predict(normalised, model, key_added="made", counts=True)
    cells = model.predict(["A"], n_cells=20, counts=True)
    calls = [
        lambda: sh.tl.evaluate(normalised, prediction="made", split="test"),
        lambda: sh.tl.evaluate(normalised, prediction=cells, split="test"),
        lambda: sh.pl.populations(normalised, "A", prediction="made"),
        lambda: sh.pl.genes(normalised, "A", prediction="made"),
        lambda: sh.pl.transport(normalised, "A", prediction="made"),
        lambda: sh.pl.transport(normalised, "A", prediction=cells),
        lambda: sh.tl.coherence(normalised, layer="made", key_added="k"),
        lambda: sh.tl.distance(normalised, layer="made"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="counts"):
            call()


def test_counts_under_a_name_without_a_record_are_refused_too(normalised):
    pytest.importorskip("matplotlib")
    model = sh.tl.fit(normalised, "own_shift")
    sh.tl.predict(normalised, model, key_added="made", counts=True)
    normalised.layers["mine"] = (normalised.layers["made"] > 1).astype(np.int32)
    for call in (
        lambda: sh.tl.evaluate(normalised, prediction="mine", min_cells=4, split=None),
        lambda: sh.pl.genes(normalised, "A", prediction="mine"),
    ):
        with pytest.raises(ValueError, match="whole numbers"):
            call()


def test_suites_that_take_counts_score_predicted_counts_beside_real_ones(normalised):
    model = sh.tl.fit(normalised, "mean_shift")
    sh.tl.predict(normalised, model, key_added="made", counts=True)
    sh.tl.evaluate(
        normalised,
        prediction="made",
        layer="counts",
        suite="cell_eval",
        min_cells=4,
        baselines=None,
    )
    assert normalised.uns["evaluation"]["params"]["prediction"] == "made"
