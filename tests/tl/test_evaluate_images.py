"""Judging of predicted images: the truth scores 1, a copy 0, and what is no prediction is refused."""

import numpy as np
import pytest
from tests.helpers import contents

import shoal as sh
from shoal.evaluation._image_contenders import COPY, INTENSITY, NEAREST, OTHER, SECOND

ACCEPT = {"use_rep": "crops", "nucleus": "DNA", "accept": "same_condition"}


def start(adata, rng):
    """Return a control of the plate of each cell."""
    control = adata.obs["perturbation"] == "control"
    pool = {b: adata.obs_names[control & (adata.obs["batch"] == b)] for b in ("B1", "B2")}
    return [rng.choice(pool[batch]) for batch in adata.obs["batch"]]


@pytest.fixture(scope="module")
def made():
    """Treatments of one plate are held out; two predictions start from the controls of that plate."""
    adata = sh.ds.simulate_images(n_cells=120, n_control=200, rng=0)
    sh.pp.prepare_images(adata, use_rep="crops")
    held = (adata.obs["batch"] == "B2") & (adata.obs["perturbation"] != "control")
    adata.obs["split"] = np.where(held, "test", "train")
    cells = start(adata, np.random.default_rng(1))
    own = list(adata.obs["perturbation"].astype(str))
    for key, treatments in (("truth", own), ("copy", "control")):
        made = sh.ds.counterfactual_images(adata, treatments, cells=cells)
        adata.obsm[f"X_{key}"] = made.astype(np.float32)
    return adata


@pytest.fixture(scope="module")
def judged(made):
    adata = made.copy()
    for key in ("truth", "copy"):
        sh.tl.evaluate_images(adata, prediction=key, **ACCEPT, key_added=f"{key}_judged")
    return adata


@pytest.fixture
def adata(made):
    return made.copy()


def test_the_truth_scores_one_and_a_copy_zero(judged):
    truth, copy = (judged.uns[f"{key}_judged"]["params"]["score"] for key in ("truth", "copy"))
    assert truth == pytest.approx(1, abs=0.15)
    assert copy == pytest.approx(0, abs=0.08)
    table = judged.uns["truth_judged"]["contenders"]
    assert set(table.index) == {"truth", SECOND, COPY, OTHER, NEAREST, INTENSITY}
    assert table.loc[COPY, "score"] == 0
    assert table.loc[SECOND, "score"] == pytest.approx(1)
    assert table.loc[INTENSITY, "score"] < 0.5
    low, high = table.loc["truth", ["score_low", "score_high"]]
    assert low < truth < high
    assert low > table.loc[INTENSITY, "score_high"]


def test_floors_are_zero_and_every_condition_is_computed_anew(judged):
    values = judged.uns["truth_judged"]["values"].set_index(["contender", "condition"])
    second, copy = values.loc[SECOND], values.loc[COPY]
    assert (second["energy"].abs() < 0.3).all()
    alive = ["P1", "P2", "P3", "P4"]
    for metric in ("frechet", "kernel", "energy"):
        assert (second.loc[alive, metric] < 0.3 * copy.loc[alive, metric]).all()
    assert copy["frechet"].nunique() == len(copy)


def test_a_treatment_that_does_nothing_is_at_the_floor(judged):
    values = judged.uns["copy_judged"]["values"].set_index(["contender", "condition"])
    assert abs(values.loc[("copy", "P6"), "energy"]) < 0.3


def test_features_say_what_was_missed(judged):
    features = judged.uns["copy_judged"]["features"].set_index(["condition", "feature"])
    moved = features.loc[("P4", "protein nucleus to ring")]
    assert moved["response"] > 4
    assert moved["missed"] == pytest.approx(1, abs=0.1)
    moved = judged.uns["truth_judged"]["features"].set_index(["condition", "feature"])
    assert moved.loc[("P4", "protein nucleus to ring"), "missed"] < 0.15


def test_the_verdict(judged, adata, caplog):
    assert "6 conditions" in judged.uns["truth_judged"]["params"]["verdict"]
    assert "no better than that baseline" in judged.uns["copy_judged"]["params"]["verdict"]
    assert "same_condition" in judged.uns["copy_judged"]["params"]["caution"]


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_it_lasts_in_a_file(judged, form, tmp_path):
    import anndata as ad

    getattr(judged, f"write_{form}")(tmp_path / "screen")
    again = getattr(ad, f"read_{form}")(tmp_path / "screen")
    assert again.uns["truth_judged"]["contenders"].equals(judged.uns["truth_judged"]["contenders"])


def test_the_order_of_rows_does_not_matter(judged, adata):
    shuffled = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    sh.tl.evaluate_images(shuffled, prediction="truth", **ACCEPT)
    one, two = (
        a.uns[key]["contenders"]
        for a, key in ((judged, "truth_judged"), (shuffled, "image_evaluation"))
    )
    columns = ["frechet", "energy"]
    np.testing.assert_allclose(one.loc[SECOND, columns], two.loc[SECOND, columns], rtol=1e-6)


def test_a_network_of_the_user_makes_the_features(adata):
    seen = []

    def pooled(images):
        seen.append((images.dtype, images.min(), images.max()))
        n, c, h, w = images.shape
        return images.reshape(n, c, h // 8, 8, w // 8, 8).mean(axis=(3, 5)).reshape(n, -1)

    sh.tl.evaluate_images(adata, prediction="truth", features=pooled, n_draws=1, **ACCEPT)
    dtype, low, high = seen[0]
    assert dtype == np.float32
    assert -1.5 < low < -0.8
    assert high > 0.8
    table = adata.uns["image_evaluation"]["contenders"]
    assert table.loc["truth", "frechet_score"] > 0.8
    assert adata.uns["image_evaluation"]["params"]["features"] == "given"


def test_without_a_split_there_are_no_baselines_of_training(adata):
    del adata.obs["split"]
    with pytest.raises(ValueError, match="split=None aloud"):
        sh.tl.evaluate_images(adata, prediction="truth", **ACCEPT)
    sh.tl.evaluate_images(adata, prediction="truth", use_rep="crops", split=None, n_draws=1)
    table = adata.uns["image_evaluation"]["contenders"]
    assert set(table.index) == {"truth", SECOND, COPY, OTHER}
    assert "no held-out split" in adata.uns["image_evaluation"]["params"]["caution"]


def test_an_unseen_perturbation_has_the_mean_brightness_of_all(adata):
    adata.obs["split"] = np.where(adata.obs["perturbation"] == "P2", "test", "train")
    sh.tl.evaluate_images(adata, prediction="truth", use_rep="crops", n_draws=1)
    table = adata.uns["image_evaluation"]["contenders"]
    assert table.loc[INTENSITY, "score"] < 0.7


def test_images_in_a_file_give_the_same_and_are_read_by_blocks(judged, adata, monkeypatch):
    zarr = pytest.importorskip("zarr")
    for key in ("crops", "X_truth"):
        adata.obsm[key] = zarr.array(adata.obsm[key], chunks=(32, 3, 32, 32))
    monkeypatch.setattr(sh.settings, "block_bytes", 40 * 3 * 32 * 32 * 4)
    sh.tl.evaluate_images(adata, prediction="truth", **ACCEPT)
    found = adata.uns["image_evaluation"]["contenders"]
    expected = judged.uns["truth_judged"]["contenders"]
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4)


# -- bad input -------------------------------------------------------------------------------------


def refused(adata, message, error=ValueError, **how):
    before = contents(adata)
    with pytest.raises(error, match=message):
        sh.tl.evaluate_images(adata, **{"prediction": "truth", **ACCEPT, **how})
    assert contents(adata) == before


def test_a_split_that_is_trained_on_is_refused_unless_accepted(adata):
    refused(adata, "same_condition", accept=())


def test_real_images_are_no_prediction(adata):
    refused(adata, "real crops themselves", prediction="crops")
    adata.obsm["X_real"] = adata.obsm["crops"].astype(np.float32)
    refused(adata, "judged by themselves", prediction="real")


def test_predictions_around_zero_are_on_another_scale(adata):
    adata.obsm["X_unit"] = adata.obsm["X_truth"] / 127.5 - 1
    refused(adata, "on another scale than the crops", prediction="unit")


def test_predictions_of_another_size_or_with_nan_are_refused(adata):
    adata.obsm["X_small"] = adata.obsm["X_truth"][..., :16]
    refused(adata, "have .3, 32, 32.", prediction="small")
    adata.obsm["X_nan"] = adata.obsm["X_truth"].copy()
    adata.obsm["X_nan"][adata.obs["split"] == "test", 0, 0, 0] = np.nan
    refused(adata, "NaN or infinite pixels", prediction="nan")


def test_one_cell_a_treatment_cannot_be_judged(adata):
    few = adata[(adata.obs["split"] == "train") | adata.obs_names.isin(["205", "405"])].copy()
    few.obs.loc["205", "split"] = "test"
    refused(few, "lower min_cells= or hold out larger")


def test_cells_without_twin(adata):
    adata.obs["truth_predicted"] = adata.obs["perturbation"] != "P3"
    sh.tl.evaluate_images(adata, prediction="truth", n_draws=1, **ACCEPT)
    missing = adata.uns["image_evaluation"]["missing"]
    assert missing["condition"].tolist() == ["P3"]
    assert "no twin" in missing["why"].iloc[0]
    adata.obs["truth_predicted"] = np.arange(adata.n_obs) % 3 > 0
    refused(adata, "have no twin.*predict them all")


def test_bad_feature_functions_are_refused(adata):
    refused(adata, "features must be a function", TypeError, features="inception.pt")
    refused(adata, "it made an array of shape", features=lambda images: images)
    refused(adata, "NaN", features=lambda images: np.full((len(images), 2), np.nan))


def test_other_arguments(adata):
    refused(adata, "'DAPI' is not in the channels", KeyError, nucleus="DAPI")
    refused(adata, "min_cells", min_cells=4)
    refused(adata, "no_such", KeyError, prediction="no_such")
    del adata.uns["images"]
    refused(adata, "no scale yet", KeyError)


@pytest.mark.filterwarnings("error")
def test_a_constant_prediction_gets_numbers_and_a_low_score(adata):
    flat = np.full_like(adata.obsm["X_truth"], 60.0)
    adata.obsm["X_flat"] = flat
    sh.tl.evaluate_images(adata, prediction="flat", n_draws=1, **ACCEPT)
    table = adata.uns["image_evaluation"]["contenders"]
    assert np.isfinite(table.loc["flat"]).all()
    assert table.loc["flat", "score"] < 0


def test_the_evaluation_of_genes_sends_images_here(adata):
    with pytest.raises(ValueError, match="X_truth.*sh.tl.evaluate_images judges"):
        sh.tl.evaluate(adata, prediction="truth", accept="same_condition")
