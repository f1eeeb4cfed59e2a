"""Pictures of crops, and distributions of their features."""

import numpy as np
import pytest

import shoal as sh
from shoal.core._image_colours import BLUE, GAP, colours_of, composite, mosaic


@pytest.fixture(scope="module")
def adata():
    adata = sh.ds.simulate_images(n_perturbations=4, n_cells=20, n_control=60, size=16, rng=0)
    sh.pp.prepare_images(adata, use_rep="crops")
    adata.obsm["X_made"] = sh.ds.counterfactual_images(adata, "P4").astype(np.float32)
    adata.obs["made_source"] = adata.obs_names[np.arange(adata.n_obs) % 60]
    for prediction in (None, "made"):
        sh.pp.measure_images(adata, use_rep="crops", prediction=prediction, nucleus="DNA")
    return adata


def picture(ax):
    return ax.get_images()[0].get_array()


def test_a_line_a_perturbation_and_a_column_a_kind(adata):
    axes = sh.pl.images(adata, ["P1", "P4"], use_rep="crops", prediction="made", n_cells=3)
    assert axes.shape == (2, 3)
    assert [ax.get_title(loc="left") for ax in axes[1]] == ["control", "made", "P4, real"]
    assert picture(axes[0, 0]).shape == (3 * 16 + 2 * GAP, 4 * 16 + 3 * GAP, 3)
    labels = [label.get_text() for label in axes[0, 0].get_xticklabels()]
    assert labels == ["all", "DNA", "actin", "protein"]
    bars = [line.get_color() for line in axes[0, 0].lines]
    np.testing.assert_allclose(bars, colours_of(labels[1:]))


def test_the_control_is_the_cell_that_the_prediction_starts_from(adata):
    from shoal.core._image_pictures import shown_cells
    from shoal.core._image_reading import crops

    treated = np.flatnonzero(adata.obs["perturbation"] == "P2")
    control = np.flatnonzero(adata.obs["perturbation"] == "control")
    how = {"treated": treated, "control": control, "n_cells": 5}
    read = crops(adata, "crops")
    start, rows = shown_cells(adata, read, prediction="made", rng=np.random.default_rng(0), **how)
    assert list(adata.obs_names[start]) == list(adata.obs["made_source"].iloc[rows])
    start, rows = shown_cells(adata, read, prediction=None, rng=np.random.default_rng(0), **how)
    assert (read.plates[start] == read.plates[rows]).all()


def test_brightness_is_the_same_in_all_panels(adata):
    axes = sh.pl.images(adata, "P4", use_rep="crops", prediction="made", separate=False)[0]
    real, made = (picture(ax).mean() for ax in (axes[2], axes[1]))
    assert made == pytest.approx(real, rel=0.1)
    brighter = adata.copy()
    brighter.obsm["X_made"] = np.clip(adata.obsm["X_made"] * 2, 0, 255)
    axes = sh.pl.images(brighter, "P4", use_rep="crops", prediction="made", separate=False)[0]
    assert picture(axes[1]).mean() > 1.3 * picture(axes[2]).mean()


def test_some_channels_and_no_prediction(adata):
    axes = sh.pl.images(adata, "P1", use_rep="crops", channels=["protein"])
    assert axes.shape == (1, 2)
    image = picture(axes[0, 0])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])  # one channel is grey


def test_several_predictions_are_columns(adata):
    axes = sh.pl.images(adata, "P1", use_rep="crops", prediction=["made", "crops"], n_cells=2)
    assert axes.shape == (1, 4)


def test_colours():
    colours = colours_of(["p65", "DAPI"])
    np.testing.assert_array_equal(colours[1], BLUE)
    light = composite(np.array([[[[1.0]], [[0.5]]]]), colours)
    np.testing.assert_allclose(
        light[0, 0, 0], np.clip(colours[0] + colours[1] / 2, 0, 1), rtol=1e-6
    )
    whole = mosaic(np.zeros((2, 1, 3, 4, 3)))
    assert whole.shape == (6 + GAP, 4, 3)
    assert (whole[3 : 3 + GAP] == 1).all()


def test_features_that_move_most_come_first(adata):
    axes = sh.pl.image_features(adata, "P4", use_rep="crops", prediction="made", most=4)
    titles = [ax.get_title(loc="left") for ax in axes]
    assert len(titles) == 4
    assert any("protein" in title for title in titles)
    assert len(axes[0].lines) == 3
    named = sh.pl.image_features(
        adata, "P4", use_rep="crops", prediction="made", features=["nucleus area"]
    )
    assert [ax.get_title(loc="left") for ax in named] == ["nucleus area"]


def test_what_is_refused(adata):
    with pytest.raises(KeyError, match="'P9' is not in"):
        sh.pl.images(adata, "P9", use_rep="crops")
    with pytest.raises(KeyError, match="'DAPI' is not in the channels"):
        sh.pl.images(adata, "P1", use_rep="crops", channels=["DAPI"])
    with pytest.raises(ValueError, match="name at least one"):
        sh.pl.images(adata, [], use_rep="crops")
    with pytest.raises(KeyError, match="measure_images"):
        sh.pl.image_features(adata, "P1", use_rep="other", prediction="made")
    with pytest.raises(KeyError, match="'size' is not in"):
        sh.pl.image_features(adata, "P1", use_rep="crops", prediction="made", features=["size"])
    bare = adata.copy()
    bare.obs["made_predicted"] = False
    with pytest.raises(ValueError, match="no cell of 'P1'"):
        sh.pl.images(bare, "P1", use_rep="crops", prediction="made")
