"""Features of crops in obsm, of real and of predicted ones."""

import numpy as np
import pytest
from scipy import stats
from tests.helpers import contents

import shoal as sh


@pytest.fixture(scope="module")
def made():
    adata = sh.ds.simulate_images(n_cells=60, n_control=150, rng=2)
    sh.pp.prepare_images(adata, use_rep="crops")
    sh.pp.measure_images(adata, use_rep="crops", nucleus="DNA")
    return adata


@pytest.fixture
def adata(made):
    return made.copy()


def test_features_follow_the_parameters_that_the_cells_were_drawn_from(adata):
    features, truth = adata.obsm["crops_features"], adata.obs
    pairs = {
        "nucleus area": "nucleus_radius",
        "actin area": "cell_radius",
    }
    part = (truth["nucleus_radius"] / truth["cell_radius"]) ** 2
    share = truth["nuclear_share"]
    density = np.log(share / part * (1 - part) / (1 - share))
    assert stats.spearmanr(features["protein nucleus to ring"], density)[0] > 0.7
    for feature, parameter in pairs.items():
        assert stats.spearmanr(features[feature], truth[parameter])[0] > 0.8, feature
    rough = features["actin texture"][(truth["perturbation"] == "P3").to_numpy()]
    control = features["actin texture"][(truth["perturbation"] == "control").to_numpy()]
    assert rough.median() > 1.3 * control.median()


def test_brightness_of_plates_is_taken_out(adata):
    control = (adata.obs["perturbation"] == "control").to_numpy()
    features, batch = adata.obsm["crops_features"][control], adata.obs["batch"][control].to_numpy()
    bright = features["DNA foreground"]
    ratio = bright[batch == "B1"].mean() / bright[batch == "B2"].mean()
    assert ratio == pytest.approx(1, abs=0.08)


def test_crops_in_a_file_give_the_same(adata, tmp_path, monkeypatch):
    zarr = pytest.importorskip("zarr")
    expected = adata.obsm["crops_features"]
    crops = adata.obsm["crops"]
    adata.obsm["crops"] = zarr.array(crops, chunks=(32, *crops.shape[1:]))
    monkeypatch.setattr(sh.settings, "block_bytes", 40 * crops[0].nbytes)
    sh.pp.measure_images(adata, use_rep="crops", nucleus="DNA")
    np.testing.assert_allclose(adata.obsm["crops_features"], expected)


def test_a_prediction_that_copies_the_cells_has_their_features(adata):
    adata.obsm["X_copy"] = adata.obsm["crops"].astype(np.float32)
    sh.pp.measure_images(adata, use_rep="crops", prediction="copy", nucleus="DNA")
    np.testing.assert_allclose(adata.obsm["copy_features"], adata.obsm["crops_features"], rtol=1e-4)


def test_other_functions_take_them_as_rows(adata):
    sh.tl.distance(adata, use_rep="crops_features")
    assert adata.uns["distance"]["table"].shape[0] == 6


def test_what_is_refused(adata):
    with pytest.raises(KeyError, match="'DAPI' is not in the channels"):
        sh.pp.measure_images(adata, use_rep="crops", nucleus="DAPI")
    adata.obsm["X_small"] = adata.obsm["crops"][..., :16]
    with pytest.raises(ValueError, match=r"\(3, 32, 16\).*have \(3, 32, 32\)"):
        sh.pp.measure_images(adata, use_rep="crops", prediction="small")
    bad = adata.obsm["crops"].astype(np.float32)
    bad[4, 0, 0, 0] = np.nan
    adata.obsm["X_bad"] = bad
    with pytest.raises(ValueError, match="1 crops of obsm/X_bad hold NaN.*'4'"):
        sh.pp.measure_images(adata, use_rep="crops", prediction="bad")


def test_a_slot_of_the_user_is_kept_and_our_own_is_replaced(adata):
    sh.pp.measure_images(adata, use_rep="crops")
    assert "nucleus area" not in adata.obsm["crops_features"]
    adata.obsm["mine"] = np.ones((adata.n_obs, 2))
    before = contents(adata)
    with pytest.raises(ValueError, match="overwrite=True"):
        sh.pp.measure_images(adata, use_rep="crops", key_added="mine")
    assert contents(adata) == before
