"""Crops from fields of view: the right pixels, and clear words about files that cannot be used."""

import numpy as np
import pandas as pd
import pytest

import shoal as sh

SIZE = (60, 80)
NO_TIFF = "tifffile (extra 'images') is not installed: reading of TIFF is NOT tested"


def field(seed, n_channels=2, dtype=np.uint16):
    return np.random.default_rng(seed).integers(0, 200, (n_channels, *SIZE)).astype(dtype)


def tiff(path, values, **how):
    tifffile = pytest.importorskip("tifffile", reason=NO_TIFF)
    tifffile.imwrite(path, values, **how)


def ome_zarr(path, values, *, version="0.4", labels=None, axes=("c", "y", "x")):
    zarr = pytest.importorskip("zarr")
    group = zarr.create_group(str(path), zarr_format=2 if version == "0.4" else 3)
    array = group.create_array("0", shape=values.shape, chunks=values.shape, dtype=values.dtype)
    array[...] = values
    about = {"multiscales": [{"datasets": [{"path": "0"}], "axes": [{"name": a} for a in axes]}]}
    if labels is not None:
        about["omero"] = {"channels": [{"label": label} for label in labels]}
    group.attrs.update(about if version == "0.4" else {"ome": about})


def centres(**columns):
    return pd.DataFrame({"y": [30, 20.4, 41], "x": [40, 25.6, 30], **columns})


@pytest.fixture
def two_sites(tmp_path):
    """Return tables of two sites in OME-Zarr, and the images."""
    images = [field(0), field(1)]
    for i, values in enumerate(images):
        ome_zarr(tmp_path / f"s{i}.zarr", values, labels=["DNA", "actin"])
    fields = pd.DataFrame(
        {
            "path": [tmp_path / f"s{i}.zarr" for i in (0, 1)],
            "plate": "P1",
            "site": [1, 2],
            "drug": ["none", "a"],
        }
    )
    cells = centres(plate="P1", site=[2, 1, 2])
    cells.index = ["a", "b", "c"]
    return fields, cells, images


def test_crops_are_the_pixels_around_the_centres(two_sites):
    fields, cells, images = two_sites
    adata = sh.ds.read_crops(fields, cells, size=10)
    assert list(adata.obs_names) == ["b", "a", "c"]  # field by field
    crops = adata.obsm["crops"]
    assert crops.shape == (3, 2, 10, 10)
    assert crops.dtype == np.uint16
    np.testing.assert_array_equal(crops[0], images[0][:, 15:25, 21:31])
    np.testing.assert_array_equal(crops[1], images[1][:, 25:35, 35:45])
    assert list(adata.obs["drug"]) == ["none", "a", "a"]
    assert set(adata.obs) == {"plate", "site", "drug", "y", "x"}
    assert list(adata.uns["images"]["crops"]["channels"]) == ["DNA", "actin"]


def test_an_odd_size_has_the_centre_in_its_middle(two_sites):
    fields, cells, images = two_sites
    crops = sh.ds.read_crops(fields, cells, size=5).obsm["crops"]
    np.testing.assert_array_equal(crops[1][:, 2, 2], images[1][:, 30, 40])


def test_tiff_with_all_channels_and_one_file_a_channel_are_the_same(tmp_path):
    values = field(0)
    tiff(tmp_path / "all.tif", values, metadata={"axes": "CYX"})
    for name, plane in zip(("DNA", "actin"), values, strict=True):
        tiff(tmp_path / f"{name}.tif", plane)
    one = pd.DataFrame({"path": [tmp_path / "all.tif"], "well": ["A01"]})
    several = pd.DataFrame(
        {
            "path": [tmp_path / "DNA.tif", tmp_path / "actin.tif"],
            "well": "A01",
            "channel": ["DNA", "actin"],
        }
    )
    cells = centres(well="A01")
    first = sh.ds.read_crops(one, cells, size=12, channels=["DNA", "actin"])
    second = sh.ds.read_crops(several, cells, size=12)
    np.testing.assert_array_equal(first.obsm["crops"], second.obsm["crops"])
    np.testing.assert_array_equal(first.obsm["crops"][0], values[:, 24:36, 34:46])
    assert list(second.uns["images"]["crops"]["channels"]) == ["DNA", "actin"]
    assert "channel" not in second.obs
    swapped = sh.ds.read_crops(several, cells, size=12, channels=["actin"])
    np.testing.assert_array_equal(swapped.obsm["crops"][:, 0], first.obsm["crops"][:, 1])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_kinds_of_tiff(tmp_path, compression):
    values = field(3, n_channels=3, dtype=np.uint8)
    pages, colour = tmp_path / "pages.tif", tmp_path / "colour.tif"
    tiff(pages, values, photometric="minisblack", compression=compression)
    tiff(colour, np.moveaxis(values, 0, -1), photometric="rgb", compression=compression)
    cells = centres()
    for path in (pages, colour):
        adata = sh.ds.read_crops(
            pd.DataFrame({"path": [path]}), cells, size=8, channels=["a", "b", "c"]
        )
        np.testing.assert_array_equal(adata.obsm["crops"][0], values[:, 26:34, 36:44])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_versions_of_ome_zarr_and_axes_of_length_one(tmp_path, version):
    values = field(4)
    path = tmp_path / "image.zarr"
    ome_zarr(path, values[None, :, None], version=version, axes=tuple("tczyx"))
    adata = sh.ds.read_crops(
        pd.DataFrame({"path": [path]}), centres(), size=8, channels=["DNA", "actin"]
    )
    np.testing.assert_array_equal(adata.obsm["crops"][0], values[:, 26:34, 36:44])


def test_into_zarr(two_sites, tmp_path):
    fields, cells, _ = two_sites
    out = tmp_path / "crops.zarr"
    expected = sh.ds.read_crops(fields, cells, size=10)
    adata = sh.ds.read_crops(fields, cells, size=10, out=out)
    assert not isinstance(adata.obsm["crops"], np.ndarray)
    np.testing.assert_array_equal(adata.obsm["crops"][:], expected.obsm["crops"])
    with pytest.raises(FileExistsError, match="exists"):
        sh.ds.read_crops(fields, cells, size=10, out=out)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".shoal")]


def test_a_failed_run_leaves_nothing(two_sites, tmp_path):
    fields, cells, _ = two_sites
    cells.loc["c", "y"] = 1000
    with pytest.raises(ValueError, match="outside"):
        sh.ds.read_crops(fields, cells, size=10, out=tmp_path / "crops.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s0.zarr", "s1.zarr"]


def test_cells_at_the_border(two_sites, caplog):
    fields, cells, images = two_sites
    cells.loc["c", ["y", "x"]] = [2, 79]
    dropped = sh.ds.read_crops(fields, cells, size=10)
    assert list(dropped.obs_names) == ["b", "a"]
    assert "1 of 3 cells are left out" in caplog.text
    padded = sh.ds.read_crops(fields, cells, size=10, border="pad").obsm["crops"][2]
    np.testing.assert_array_equal(padded[:, 3:, :6], images[1][:, 0:7, 74:80])
    np.testing.assert_array_equal(padded[:, 0, 0], images[1][:, 0, 74])
    np.testing.assert_array_equal(padded[:, 5, 9], images[1][:, 2, 79])
    with pytest.raises(ValueError, match="1 crops of 10 pixels reach over the edge.*'c'"):
        sh.ds.read_crops(fields, cells, size=10, border="raise")
    with pytest.raises(ValueError, match="no cell is left"):
        sh.ds.read_crops(fields, cells, size=100)


def test_read_prepared_and_measured(two_sites):
    fields, cells, _ = two_sites
    adata = sh.ds.read_crops(fields, cells, size=16)
    sh.pp.annotate(adata, "drug", control="none", batch_key="plate")
    sh.pp.prepare_images(adata, use_rep="crops")
    sh.pp.measure_images(adata, use_rep="crops", nucleus="DNA")
    assert np.isfinite(adata.obsm["crops_features"].to_numpy()).all()


# -- bad input -------------------------------------------------------------------------------------


def refused(fields, cells, message, error=ValueError, **how):
    with pytest.raises(error, match=message):
        sh.ds.read_crops(fields, cells, **{"size": 10, **how})


def test_tables_that_do_not_fit(two_sites):
    fields, cells, _ = two_sites
    refused(fields, cells.drop(columns="y"), "'y' is not in centres", KeyError)
    refused(fields.drop(columns="path"), cells, "'path' is not in fields", KeyError)
    refused(fields.to_dict(), cells, "must be a table", TypeError)
    refused(fields.iloc[:1], cells, "2 cells are in fields that are not in the table.*site='2'")
    refused(fields.drop(columns="site"), cells, "two files show plate='P1'")
    refused(fields, cells.drop(columns=["plate", "site"]), "no column in common")
    refused(fields, cells.assign(y=[1, np.nan, "far"]), "2 cells have no centre")
    refused(fields, cells.set_axis(["a", "a", "b"]), "names repeat")
    refused(fields.iloc[:0], cells, "fields has no rows")


def test_exchanged_coordinates_are_seen(two_sites):
    fields, cells, _ = two_sites
    cells.loc["b", ["y", "x"]] = [75, 30]
    refused(fields, cells, "outside of .*60 x 80 pixels.*'b' at y=75, x=30.*exchanged")


def test_channels_that_do_not_fit(two_sites):
    fields, cells, _ = two_sites
    refused(fields, cells, "'DAPI' is not in the channels", KeyError, channels=["DAPI"])


def test_fields_of_another_kind(two_sites, tmp_path):
    fields, cells, _ = two_sites
    ome_zarr(tmp_path / "eight.zarr", field(1, dtype=np.uint8), labels=["DNA", "actin"])
    ome_zarr(tmp_path / "three.zarr", field(1, n_channels=3), labels=["DNA", "actin", "ER"])
    ome_zarr(tmp_path / "order.zarr", field(1), labels=["actin", "DNA"])
    for name in ("eight", "three", "order"):
        other = fields.assign(path=[fields["path"][0], tmp_path / f"{name}.zarr"])
        refused(other, cells, "read fields of one kind")


def test_unnamed_channels_need_names(tmp_path):
    ome_zarr(tmp_path / "image.zarr", field(0))
    fields = pd.DataFrame({"path": [tmp_path / "image.zarr"]})
    refused(fields, centres(), "have no names: give channels=")
    refused(fields, centres(), "are not 3", channels=["a", "b", "c"])


def test_files_that_are_no_images(tmp_path):
    cells = centres()
    refused(pd.DataFrame({"path": [tmp_path / "none.tif"]}), cells, "no file", FileNotFoundError)
    (tmp_path / "image.png").write_bytes(b"png")
    refused(pd.DataFrame({"path": [tmp_path / "image.png"]}), cells, "neither a TIFF")
    (tmp_path / "folder").mkdir()
    refused(pd.DataFrame({"path": [tmp_path / "folder"]}), cells, "cannot be read|no image")
    ome_zarr(tmp_path / "stack.zarr", np.zeros((2, 3, *SIZE), np.uint8), axes=tuple("czyx"))
    refused(pd.DataFrame({"path": [tmp_path / "stack.zarr"]}), cells, "one time point and depth")


def test_corrupt_tiff(tmp_path):
    whole, broken = tmp_path / "whole.tif", tmp_path / "broken.tif"
    tiff(whole, field(0), metadata={"axes": "CYX"})
    fields, cells = pd.DataFrame({"path": [broken]}), centres()
    content = whole.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    refused(fields, cells, r"broken.tif.*(cut off|cannot be read)", channels=["a", "b"])
    broken.write_bytes(b"not a tiff at all")
    refused(fields, cells, "broken.tif.*cannot be read", channels=["a", "b"])
    broken.write_bytes(b"")
    refused(fields, cells, "broken.tif.*cannot be read", channels=["a", "b"])
    tiff(whole, field(0), compression="zlib", metadata={"axes": "CYX"})
    content = bytearray(whole.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    broken.write_bytes(bytes(content))
    refused(fields, cells, "broken.tif.*cannot be read", channels=["a", "b"])


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tifffile", None)
    (tmp_path / "image.tif").write_bytes(b"II*")
    fields = pd.DataFrame({"path": [tmp_path / "image.tif"]})
    refused(fields, centres(), r"shoal\[images\]", ImportError)
