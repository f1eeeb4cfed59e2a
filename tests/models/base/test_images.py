"""Cells that are images: from a slot of obsm to a network and back, in their shape and without float64."""

from __future__ import annotations

from typing import ClassVar

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pytest
import zarr

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")

from torch import nn  # noqa: E402

import shoal as sh  # noqa: E402
from shoal.models import PerturbationModel  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (2, 8, 6)
LEVEL = {"control": (60, 60), "A": (160, 60), "B": (60, 120)}  # brightness of the two channels


class ConvNetwork(nn.Module):
    """One convolution, and a brightness of each channel that the perturbation sets."""

    def __init__(self, n_channels, n_vector):
        super().__init__()
        self.convolution = nn.Conv2d(n_channels, n_channels, 3, padding=1)
        self.brightness = nn.Linear(n_vector, n_channels)
        self.seen = []  # shapes and dtypes of the batches

    def loss(self, batch, generator):
        self.seen.append((batch.source.shape, batch.target.shape, batch.source.dtype))
        asked = (batch.condition, batch.batch_index)
        made = self.sample(batch.source, *asked, generator=generator)
        change = (made.mean(1) - batch.target.mean(1)) / 255
        return {"loss": (change**2).mean()}

    def sample(self, source, condition, batch_index, *, generator):
        images = source / 255
        moved = self.convolution(images.flatten(0, 1)).view_as(images)
        bright = self.brightness(condition["parts"].sum(1))
        return 255 * (images + moved + bright[:, None, :, None, None])


class Conv(PerturbationModel):
    """Moves the brightness of images."""

    takes_images = True
    defaults: ClassVar = {
        "max_steps": 60,
        "lr": 3e-2,
        "ema": None,
        "set_size": 8,
        "batch_conditions": 2,
    }

    def make_network(self, n_dims, n_vector, n_contexts, n_batches):
        return ConvNetwork(self.space.shape[0], n_vector)


def crops_of(label, dtype="uint8"):
    """Return noisy images (n, *SHAPE) whose brightness depends on the perturbation."""
    level = np.array([LEVEL[name] for name in label])
    noise = np.random.default_rng(0).normal(scale=10, size=(len(label), *SHAPE))
    return (level[:, :, None, None] + noise).round().astype(dtype)


def screen_of(crops):
    """Return a screen that holds nothing but images."""
    label = np.repeat(list(LEVEL), 40)
    adata = ad.AnnData(obs={"perturbation": label}, obsm={"crops": crops(label)})
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


@pytest.fixture
def screen():
    return screen_of(crops_of)


@pytest.fixture(scope="module")
def trained():
    """A trained model and its screen, which no test changes."""
    adata = screen_of(crops_of)
    return fit(adata), adata


def fit(adata, model=Conv, **options):
    options = {"config": {"n_latent": None}, "accelerator": "cpu"} | options
    return sh.tl.fit(adata, model, use_rep="crops", **options)


def test_a_convolution_learns_from_batches_of_images(trained):
    model, adata = trained
    assert model.module.seen[0] == ((2, 8, *SHAPE), (2, 8, *SHAPE), torch.float32)
    loss = model.history["train_loss"]["train_loss"]
    assert loss.iloc[-1] < 0.1 * loss.iloc[0]
    assert model.vocabulary.features == ("crops: 2 x 8 x 6",)
    assert model.vocabulary.cell_shape == SHAPE
    assert adata.obsm["crops"].dtype == np.uint8
    assert "cells of shape 2 x 8 x 6" in model._model_summary_string


def test_the_images_are_kept_as_bytes_while_training(trained, monkeypatch):
    from shoal.models.base import _training

    kept = []
    original = _training.ResidentStore

    def store(values, sampler):
        kept.append((values.shape, values.dtype))
        return original(values, sampler)

    monkeypatch.setattr(_training, "ResidentStore", store)
    fit(trained[1].copy(), max_steps=1)
    assert kept == [((120, *SHAPE), np.uint8)]


def test_predictions_are_images_beside_cells(trained, tmp_path):
    model, _ = trained
    made = model.predict(["A", "B"], n_cells=30)
    assert made.X is None
    assert made.shape == (60, 0)
    images = made.obsm["crops"]
    assert images.shape == (60, *SHAPE)
    assert images.dtype == np.float32
    for name in ("A", "B"):
        level = images[(made.obs["perturbation"] == name).to_numpy()].mean((0, 2, 3))
        np.testing.assert_allclose(level, LEVEL[name], atol=12)
    made.write_h5ad(tmp_path / "made.h5ad")
    np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "made.h5ad").obsm["crops"], images)


def test_twins_stand_in_a_slot_of_obsm(trained, tmp_path):
    model, adata = trained
    adata = adata.copy()
    sh.tl.predict(adata, model, key_added="conv")
    control = (adata.obs["perturbation"] == "control").to_numpy()
    twins = adata.obsm["X_conv"]
    assert twins.shape == (120, *SHAPE)
    assert twins.dtype == np.float32
    np.testing.assert_array_equal(twins[control], adata.obsm["crops"][control])
    assert np.isfinite(twins).all()
    np.testing.assert_array_equal(adata.obs["conv_predicted"], ~control)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    back = ad.read_h5ad(tmp_path / "screen.h5ad")
    np.testing.assert_array_equal(back.obsm["X_conv"], twins)


def test_given_images_are_transported(trained):
    model, adata = trained
    given = adata.obsm["crops"][:10]
    made = model.transport(given, "A")
    assert made.shape == given.shape
    with pytest.raises(ValueError, match=r"they must be \(n, 2, 8, 6\)"):
        model.transport(given[:, :1], "A")


def test_a_saved_model_knows_the_shape(trained, tmp_path):
    model, adata = trained
    model.save(tmp_path / "model")
    again = Conv.load(tmp_path / "model", adata)
    one, two = (each.predict("A", n_cells=5, rng=1).obsm["crops"] for each in (model, again))
    np.testing.assert_array_equal(one, two)
    smaller = adata.copy()
    smaller.obsm["crops"] = adata.obsm["crops"][..., :4]
    with pytest.raises(ValueError, match=r"shape \(2, 8, 4\), and .* shape \(2, 8, 6\)"):
        Conv.load(tmp_path / "model", smaller)


def in_file(crops, kind, folder):
    """Return images in a file, or as dask blocks."""
    if kind == "dask":
        return da.from_array(crops, chunks=(50, 1, 8, 6))
    if kind == "zarr":
        array = zarr.open(folder / "x.zarr", mode="w", shape=crops.shape, dtype=crops.dtype)
        array[:] = crops
        return array
    with h5py.File(folder / "x.h5", "w") as file:
        file["crops"] = crops
    return h5py.File(folder / "x.h5", "r")["crops"]


@pytest.mark.parametrize("store", ["resident", "streamed"])
@pytest.mark.parametrize("kind", ["dask", "zarr", "h5"])
def test_images_in_a_file_train_the_same_model(kind, store, tmp_path):
    options = {"max_steps": 5, "store": store}
    adata = screen_of(lambda label: in_file(crops_of(label), kind, tmp_path))
    model, expected = fit(adata, **options), fit(screen_of(crops_of), **options)
    for name, weight in expected.module.state_dict().items():
        torch.testing.assert_close(model.module.state_dict()[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_other_dtypes_train_the_same_model(dtype, trained):
    adata = screen_of(lambda label: crops_of(label, dtype))
    one, two = fit(adata, max_steps=5), fit(trained[1].copy(), max_steps=5)
    for name, weight in two.module.state_dict().items():
        torch.testing.assert_close(one.module.state_dict()[name], weight, rtol=0, atol=0)


def test_validation_measures_images(screen):
    rng = np.random.default_rng(0)
    screen.obs["split"] = np.where(rng.random(120) < 0.3, "val", "train")
    screen.obs.loc[screen.obs["perturbation"] == "control", "split"] = "train"
    model = fit(screen, max_steps=20, val_every=10)
    assert (model.history["val_energy"]["val_energy"] > 0).all()


def test_images_with_a_pixel_that_is_no_number_are_refused():
    def crops(label):
        values = crops_of(label, "float32")
        values[[3, 5], 0, 0, 0] = np.nan
        return values

    with pytest.raises(ValueError, match="NaN or infinite values in 2 of 120 cells"):
        fit(screen_of(crops))


CALLS = {
    "a baseline": lambda adata: sh.tl.fit(adata, "mean_shift", use_rep="crops"),
    "a network of features": lambda adata: sh.tl.fit(adata, "flow", use_rep="crops"),
    "components of images": lambda adata: fit(adata, config={"n_latent": 10}),
    "coherence": lambda adata: sh.tl.coherence(adata, use_rep="crops"),
    "distance": lambda adata: sh.tl.distance(adata, use_rep="crops"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whatever_takes_rows_refuses_images_and_says_what_takes_them(screen, call):
    match = r"obsm/crops holds an array of shape \(2, 8, 6\).*takes_images = True"
    with pytest.raises(ValueError, match=match):
        call(screen)
