"""Channels and intensities of crops: per plate, by its controls, and what is refused."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from tests.helpers import contents

import shoal as sh
from shoal.core._images import ImageScale

SIZE = (12, 10)


def crops_of(level, *, dtype=np.uint8, noise=8.0, rng=0):
    """Return crops of two channels whose pixels scatter around a level, one level a cell."""
    rng = np.random.default_rng(rng)
    values = np.asarray(level)[:, None, None, None] + rng.normal(
        scale=noise, size=(len(level), 2, *SIZE)
    )
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else np.rint(values).astype(dtype)


def screen(crops, *, n=120, plates=2):
    """Return controls and two drugs on some plates."""
    obs = pd.DataFrame(
        {
            "drug": np.resize(["none", "a", "b"], n),
            "plate": [f"P{i}" for i in np.arange(n) * plates // n],
        },
        index=[f"cell{i}" for i in range(n)],
    )
    adata = ad.AnnData(obs=obs, obsm={"crops": crops})
    sh.pp.annotate(adata, "drug", control="none", batch_key="plate")
    return adata


def prepare(adata, **how):
    sh.pp.prepare_images(adata, use_rep="crops", **{"channels": ["DNA", "actin"], **how})


def scale(adata):
    return ImageScale.read(adata, "crops")


@pytest.fixture
def adata():
    level = np.where(np.arange(120) < 60, 60, 120)
    return screen(crops_of(level))


def test_the_scale_is_the_percentiles_of_the_dequantised_controls_of_a_plate(adata):
    prepare(adata, low=10, high=90)
    table = adata.uns["images"]["crops"]["table"]
    control, plate = (adata.obs[k].to_numpy() for k in ("drug", "plate"))
    rng = np.random.default_rng(1)
    for row in table.itertuples():
        c = ["DNA", "actin"].index(row.channel)
        pixels = adata.obsm["crops"][(control == "none") & (plate == row.plate), c]
        even = pixels + rng.random(pixels.shape)
        assert row.low == pytest.approx(np.percentile(even, 10), abs=0.3)
        assert row.high == pytest.approx(np.percentile(even, 90), abs=0.3)
        assert row.n_controls == 20


def test_plates_of_different_brightness_look_the_same(adata):
    prepare(adata)
    found = scale(adata)
    unit = found.to_unit(adata.obsm["crops"], found.plates_of(adata), rng=0)
    one, two = (unit[adata.obs["plate"] == p].mean() for p in ("P0", "P1"))
    assert abs(one - two) < 0.02
    assert unit.dtype == np.float32
    assert abs(np.percentile(unit, 0.1) + 1) < 0.1
    assert abs(np.percentile(unit, 99.9) - 1) < 0.1


def test_treated_cells_never_enter_the_scale(adata):
    prepare(adata)
    before = adata.uns["images"]["crops"]["table"].copy()
    crops = adata.obsm["crops"].copy()
    crops[adata.obs["drug"] != "none"] += 90
    adata.obsm["crops"] = crops
    prepare(adata)
    pd.testing.assert_frame_equal(adata.uns["images"]["crops"]["table"], before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int32])
def test_there_and_back_is_the_same_image(dtype):
    crops = crops_of(np.full(120, 100), dtype=dtype)
    crops = crops / 400 if np.dtype(dtype).kind == "f" else crops
    adata = screen(crops.astype(dtype))
    prepare(adata)
    found = scale(adata)
    plates = found.plates_of(adata)
    back = found.from_unit(found.to_unit(crops, plates), plates)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, crops, rtol=1e-5 if np.dtype(dtype).kind == "f" else 0)
    if np.dtype(dtype).kind != "f":
        noisy = found.from_unit(found.to_unit(crops, plates, rng=0), plates)
        assert (noisy != crops).mean() < 1e-4  # noise stays within a whole number
        floats = found.from_unit(found.to_unit(crops, plates), plates, dtype=np.float32)
        np.testing.assert_allclose(floats, crops, atol=1e-3)


def test_dequantised_pixels_are_spread_evenly_within_a_whole_number(adata):
    prepare(adata)
    found = scale(adata)
    crops = np.full((200, 2, *SIZE), 70, dtype=np.uint8)
    plates = np.zeros(200, dtype=int)
    low, high = found.ends(plates)
    rest = (found.to_unit(crops, plates, rng=0) + 1) / 2 * (high - low) + low - 70
    assert rest.min() >= -1e-4
    assert rest.max() <= 1 + 1e-4
    assert rest.mean() == pytest.approx(0.5, abs=0.01)
    assert rest.std() == pytest.approx(12**-0.5, abs=0.01)


def test_intensities_are_cut_to_the_range_of_the_type(adata):
    prepare(adata)
    found = scale(adata)
    far = np.full((1, 2, *SIZE), 50.0)
    assert found.from_unit(far, [0]).max() == 255
    assert found.from_unit(-far, [0]).max() == 0


@pytest.mark.parametrize("storage", ["h5py", "zarr", "dask"])
def test_any_storage_gives_the_same_and_is_read_by_blocks(adata, storage, tmp_path, monkeypatch):
    crops = adata.obsm["crops"]
    prepare(adata)
    expected = adata.uns["images"]["crops"]
    if storage == "h5py":
        file = h5py.File(tmp_path / "crops.h5", "w")
        stored = file.create_dataset("crops", data=crops, chunks=(16, *crops.shape[1:]))
    elif storage == "zarr":
        zarr = pytest.importorskip("zarr")
        stored = zarr.array(crops, chunks=(16, *crops.shape[1:]))
    else:
        stored = pytest.importorskip("dask.array").from_array(crops, chunks=(16, -1, -1, -1))
    monkeypatch.setattr(sh.settings, "block_bytes", 16 * crops[0].nbytes)
    other = screen(crops)
    other.obsm["crops"] = stored
    prepare(other)
    found = other.uns["images"]["crops"]
    for name in ("table", "brightness"):
        pd.testing.assert_frame_equal(found[name], expected[name])


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_it_lasts_in_a_file(adata, form, tmp_path):
    prepare(adata)
    getattr(adata, f"write_{form}")(tmp_path / "screen")
    again = getattr(ad, f"read_{form}")(tmp_path / "screen")
    one, two = scale(adata), scale(again)
    assert (one.channels, one.plates, one.size, one.dtype) == (
        two.channels,
        two.plates,
        two.size,
        two.dtype,
    )
    np.testing.assert_array_equal(one.low, two.low)
    prepare(again, channels=None)  # which are recorded
    assert scale(again).channels == ("DNA", "actin")


def test_several_slots_of_crops_are_kept_beside_each_other(adata):
    prepare(adata)
    adata.obsm["small"] = adata.obsm["crops"][..., :8, :8]
    sh.pp.prepare_images(adata, use_rep="small", channels=["DNA", "actin"])
    assert scale(adata).size == SIZE
    assert ImageScale.read(adata, "small").size == (8, 8)


# -- brightness ------------------------------------------------------------------------------------


def test_brightness_that_alone_tells_a_drug_from_controls_is_said(adata, caplog):
    crops = adata.obsm["crops"].copy()
    crops[adata.obs["drug"] == "b", 1] += 10
    adata.obsm["crops"] = crops
    prepare(adata)
    said = [text for text in caplog.messages if "brightness alone" in text]
    assert len(said) == 1
    assert "'b' by 'actin'" in said[0]
    assert "'a'" not in said[0]
    table = adata.uns["images"]["crops"]["brightness"].set_index(["perturbation", "channel"])
    assert table.loc[("b", "actin"), "auc"] > 0.99
    assert abs(table.loc[("a", "actin"), "auc"] - 0.5) < 0.2


def test_equal_brightness_is_not_warned_of(adata, caplog):
    prepare(adata)
    assert not [text for text in caplog.messages if "brightness" in text]


# -- bad input -------------------------------------------------------------------------------------


def spoilt(change):
    crops = crops_of(np.full(120, 100), dtype=np.float32) / 400
    return screen(change(crops))


def at(place, value):
    def change(crops):
        crops[place] = value
        return crops

    return change


def eight_and_sixteen(crops):
    crops = (crops * 255).astype(np.uint16)
    crops[60:] *= 200
    return crops


BAD = {
    "NaN pixels": (at((3, 0, 1, 1), np.nan), {}, "1 crops of obsm/crops hold NaN.*cell3"),
    "infinite pixels": (at((3, 0, 1, 1), np.inf), {}, "NaN or infinite"),
    "beyond 1": (at((3, 0, 1, 1), 7.0), {}, r"outside of 0 to 1.*value_range=\(0, 7\)"),
    "below 0": (at((3, 0, 1, 1), -1.0), {}, "outside of 0 to 1"),
    "constant crop": (at(3, 0.25), {}, "1 crops .* same intensity in all pixels.*cell3"),
    "constant channel": (at((slice(None), 1), 0.25), {}, "'actin' has nearly one intensity"),
    "channels last": (lambda x: np.moveaxis(x, 1, -1), {}, "np.moveaxis"),
    "channel number": (lambda x: x, {"channels": ["DNA"]}, "has 2 channels"),
    "channel twice": (lambda x: x, {"channels": ["DNA", "DNA"]}, "name of its own"),
    "no channels": (lambda x: x, {"channels": None}, "have no names"),
    "three axes": (lambda x: x[:, 0], {}, r"crops\[:, None\]"),
    "a mask": (lambda x: x > 0.25, {}, "mask"),
    "8 and 16 bits": (eight_and_sixteen, {}, "8-bit images on the plates 'P0'"),
    "range upside down": (lambda x: x, {"value_range": (1, 0)}, "below the largest"),
    "low above high": (lambda x: x, {"low": 50, "high": 40}, "must be below high"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_are_refused_and_nothing_is_written(case):
    change, how, message = BAD[case]
    adata = spoilt(change)
    before = contents(adata)
    with pytest.raises(ValueError, match=message):
        prepare(adata, **how)
    assert contents(adata) == before


def test_floats_beyond_one_with_a_declared_range_are_taken():
    adata = spoilt(lambda x: x * 4000)
    prepare(adata, value_range=(0, 4096))
    assert scale(adata).value_range == (0, 4096)


def test_a_plate_without_controls_is_refused(adata):
    adata.obs["drug"] = np.where(adata.obs["plate"] == "P1", "a", adata.obs["drug"])
    with pytest.raises(ValueError, match="plates 'P1' of obs.'plate'. have no control cells"):
        prepare(adata)
    sh.pp.prepare_images(
        adata[adata.obs["plate"] == "P0"].copy(), use_rep="crops", channels=["DNA", "actin"]
    )


def test_a_cell_without_plate_is_refused(adata):
    adata.obs["plate"] = adata.obs["plate"].astype(object)
    adata.obs.loc["cell7", "plate"] = None
    with pytest.raises(ValueError, match="1 cells have no plate.*cell7"):
        prepare(adata)


def test_one_cell_a_treatment_is_scaled_and_not_judged_by_its_brightness(caplog):
    crops = crops_of(np.full(120, 100))
    adata = screen(crops)
    adata.obs["drug"] = ["none" if i % 2 else f"drug{i}" for i in range(120)]
    crops[0] += 50
    prepare(adata)
    assert not [text for text in caplog.messages if "brightness" in text]


def test_few_controls_of_a_plate_are_said(caplog):
    adata = screen(crops_of(np.full(120, 100)), plates=12)
    prepare(adata)
    assert sum("fewer than 20 control cells" in text for text in caplog.messages) == 1


def test_other_crops_than_those_prepared_are_refused(adata):
    prepare(adata)
    adata.obsm["crops"] = adata.obsm["crops"][..., :8]
    with pytest.raises(ValueError, match=r"\(2, 12, 8\).*prepare_images.*again"):
        scale(adata)
    del adata.uns["images"]
    with pytest.raises(KeyError, match="no scale yet"):
        scale(adata)


def test_new_plates_are_refused(adata):
    prepare(adata)
    adata.obs["plate"] = adata.obs["plate"].replace({"P1": "P9"})
    with pytest.raises(ValueError, match="plates 'P9'"):
        scale(adata).plates_of(adata)


def test_images_of_another_kind_than_in_training_are_refused(adata):
    prepare(adata)
    trained = scale(adata)
    trained.require_like(trained)
    other = screen(adata.obsm["crops"][:, ::-1])
    prepare(other, channels=["actin", "DNA"])
    with pytest.raises(ValueError, match=r"\[:, \[1, 0\]\]"):
        scale(other).require_like(trained)
    other = screen(adata.obsm["crops"][:, :1])
    prepare(other, channels=["DNA"])
    with pytest.raises(ValueError, match="channels that both have"):
        scale(other).require_like(trained)
    other = screen(adata.obsm["crops"][..., :8, :8])
    prepare(other)
    with pytest.raises(ValueError, match="8 x 8 pixels.*read_crops"):
        scale(other).require_like(trained)
    with pytest.raises(ValueError, match=r"\[..., 2:10, 1:9\]"):
        trained.require_like(scale(other))
    other = screen(adata.obsm["crops"].astype(np.uint16) * 100)
    prepare(other)
    with pytest.raises(ValueError, match="uint16 from 0 to 65535"):
        scale(other).require_like(trained)


def test_a_slot_of_the_user_is_not_overwritten(adata):
    adata.uns["images"] = {"mine": 1}
    with pytest.raises(ValueError, match="overwrite=True"):
        prepare(adata)
    prepare(adata, overwrite=True)
    assert adata.uns["images"]["mine"] == 1
    prepare(adata)
