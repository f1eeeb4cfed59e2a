"""Images that a model cannot learn from, or was not trained on."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import shoal as sh

from .conftest import TINY, fitted, prepared, screen_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_images_that_were_not_prepared():
    with pytest.raises(KeyError, match=r"no scale yet: call sh\.pp\.prepare_images"):
        fitted(screen_of())


def test_no_slot_is_named(screen):
    with pytest.raises(ValueError, match=r"name it, as in sh\.tl\.fit\(adata, 'cellflux', use_rep"):
        sh.tl.fit(screen, "cellflux")


def test_a_slot_of_rows():
    adata = screen_of()
    adata.obsm["rows"] = np.ones((adata.n_obs, 5))
    with pytest.raises(ValueError, match=r"crops are \(n_obs, channels, height, width\)"):
        sh.tl.fit(adata, "cellflux", use_rep="rows")


def test_principal_components_are_asked_for(screen):
    with pytest.raises(ValueError, match="latent='autoencoder'"):
        sh.tl.fit(screen, "cellflux", use_rep="crops", config={"n_latent": 10})


def test_images_that_cannot_be_halved_often_enough():
    adata = prepared(size=10)
    with pytest.raises(ValueError, match=r"cannot be halved 2 times: crop or pad"):
        fitted(adata, config={"multipliers": (1, 1, 1)})


def test_other_channels_than_in_training(model):
    other = prepared(channels=("actin", "DNA"))
    with pytest.raises(ValueError, match=r"bring them into that order.*\[:, \[1, 0\]\]"):
        model.predict("dark", adata=other)
    with pytest.raises(ValueError, match="bring images of these channels"):
        model.predict("dark", adata=prepared(channels=("DNA", "tubulin")))


def test_more_channels_than_in_training(model):
    adata = screen_of()
    adata.obsm["crops"] = np.concatenate([adata.obsm["crops"], adata.obsm["crops"][:, :1]], axis=1)
    sh.pp.prepare_images(adata, use_rep="crops", channels=["DNA", "actin", "ER"])
    with pytest.raises(ValueError, match="bring the 2 channels of training, in the order"):
        model.predict("dark", adata=adata)


@pytest.mark.parametrize(("size", "fix"), [(12, "crop them to the middle"), (6, "larger crops")])
def test_another_size_than_in_training(model, size, fix):
    with pytest.raises(ValueError, match=rf"\(2, {size}, {size}\).*\(2, 8, 8\): .*{fix}.*resize"):
        model.predict("dark", adata=prepared(size=size))


def test_another_depth_than_in_training(model):
    with pytest.raises(ValueError, match="uint16 from 0 to 65535, and the model was trained on"):
        model.predict("dark", adata=prepared(dtype="uint16"))


def test_plain_arrays_have_no_plate(model, screen):
    with pytest.raises(KeyError, match=r"call sh\.pp\.prepare_images"):
        model.transport(screen.obsm["crops"][:3], "dark")


def test_pixels_that_are_no_numbers():
    adata = prepared(dtype="float32")
    adata.obsm["crops"][3, 0, 2, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fitted(adata)


def test_one_cell_of_a_treatment_is_trained_on_and_told_of(caplog):
    adata = prepared()
    rare = (adata.obs["drug"] == "dark").to_numpy(copy=True)
    rare[np.flatnonzero(rare)[0]] = False
    with caplog.at_level("WARNING", logger="shoal"):
        model = fitted(adata[~rare].copy())
    assert "'dark'" in caplog.text
    assert model.predict("dark", n_cells=2).obsm["crops"].shape == (2, 2, 8, 8)


def test_a_screen_is_as_before_after_an_error():
    adata = prepared(size=10)
    before = (list(adata.obs), list(adata.obsm), list(adata.uns))
    with pytest.raises(ValueError, match="cannot be halved"):
        sh.tl.fit(adata, "cellflux", use_rep="crops", config=TINY | {"multipliers": (1, 1, 1)})
    assert (list(adata.obs), list(adata.obsm), list(adata.uns)) == before


def test_names_of_the_model_need_images():
    adata = ad.AnnData(np.ones((4, 2)), obs={"drug": ["control", "a"] * 2})
    sh.pp.annotate(adata, "drug", control="control")
    with pytest.raises(ValueError, match="CellFlux learns from images"):
        sh.tl.fit(adata, "cellflux")
