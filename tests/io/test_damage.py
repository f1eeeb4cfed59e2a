"""Files that are damaged, cut short or something else end in a message with their name."""

from __future__ import annotations

import shutil

import anndata as ad
import h5py
import mudata
import numpy as np
import pytest
from scipy import sparse
from typer.testing import CliRunner

import shoal as sh
from shoal.cli import app

from . import screens
from .test_open import write_10x

KINDS = ("a.h5ad", "a.h5mu", "a.h5", "a.zarr", "b.zarr")
AGAIN = "copy or download it again"
OTHERS = {
    "empty": (b"", rf"is empty \(0 bytes\).*{AGAIN}"),
    "text": (b"cell,gene\n1,2\n", rf"is no HDF5 file, so it is neither .*{AGAIN}"),
    "gzip": (b"\x1f\x8b\x08abc", "compressed with gzip: unpack it first, with gunzip"),
    "zip": (b"PK\x03\x04abc", "a zip: unpack it first"),
    "page": (b"\n<!DOCTYPE html><html>", "a web page, .* download it again"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with one screen as h5ad, h5mu, zarr, zarr of a MuData, and one as h5 of 10x."""
    folder = tmp_path_factory.mktemp("files")
    adata = screens.state()
    adata.X, adata.layers["copy"] = sparse.csr_matrix(adata.X), sparse.csr_matrix(adata.X)
    adata.write_h5ad(folder / "a.h5ad")
    adata.write_zarr(folder / "a.zarr")
    both = mudata.MuData({"rna": adata, "adt": screens.proteins(adata)})
    both.write_h5mu(folder / "a.h5mu")
    both.write_zarr(folder / "b.zarr")
    write_10x(folder / "a.h5", *screens.tenx()[:2])
    return folder


def refused(path, *, backed=False):
    """Return the message, which names the file."""
    with pytest.raises(OSError, match=r"\w") as caught:
        sh.io.read(path, backed=backed)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "zarr" not in kind])
def test_files_cut_short(whole, tmp_path, kind, share):
    content = (whole / kind).read_bytes()
    (tmp_path / kind).write_bytes(content[: int(len(content) * share)])
    assert AGAIN in refused(tmp_path / kind)


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("a.h5ad", "X/data"),
        ("a.h5ad", "layers/copy/indices"),
        ("a.h5ad", "obs/gem_group"),
        ("a.h5ad", "obs/target_gene/codes"),
        ("a.h5mu", "mod/rna/X/data"),
        ("a.h5mu", "mod/rna/obs/gem_group"),
        ("a.h5", "matrix/barcodes"),
        ("a.h5", "matrix/features/id"),
        ("a.h5", "matrix/shape"),
    ],
)
def test_a_part_is_missing_or_has_another_length(whole, tmp_path, kind, inside):
    path = shutil.copy(whole / kind, tmp_path / kind)
    with h5py.File(path, "a") as file:
        kept = file[inside][:]
        attributes = dict(file[inside].attrs)
        del file[inside]
    assert AGAIN in refused(path)
    with h5py.File(path, "a") as file:
        file[inside] = kept[:-1]
        file[inside].attrs.update(attributes)
    assert AGAIN in refused(path)


@pytest.mark.parametrize("kind", ["h5ad", "h5mu"])
def test_a_sparse_matrix_that_points_beyond_itself(whole, tmp_path, kind):
    path = shutil.copy(whole / f"a.{kind}", tmp_path / f"a.{kind}")
    with h5py.File(path, "a") as file:
        at = file["X/indices" if kind == "h5ad" else "mod/rna/X/indices"]
        at[3] = 1_000_000
    assert "is damaged: the sparse matrix 'X' contradicts itself" in refused(path)


@pytest.mark.parametrize("kind", ["a.zarr", "b.zarr"])
def test_blocks_of_a_store_are_missing(whole, tmp_path, kind):
    path = tmp_path / kind
    for part, file in [("data", "0"), ("indices", "0"), ("indptr", "0")]:
        shutil.copytree(whole / kind, path)
        folder = path / ("" if kind == "a.zarr" else "mod/rna") / "X" / part
        found = [one for one in folder.rglob(file) if one.is_file()]
        if part != "indptr":
            found[0].unlink()
            assert f"1 of 1 blocks of X/{part} are missing" in refused(path)
            found[0].write_bytes(b"x")
        else:
            found[0].write_bytes(b"x")
        assert f"cannot be read as a zarr store of {'an AnnData' * (kind[0] == 'a')}" in refused(
            path
        )
        shutil.rmtree(path)


def test_a_store_of_zeros_alone_is_whole(tmp_path):
    adata = screens.state()
    adata.layers["none"] = sparse.csr_matrix(adata.shape)
    adata.layers["dense"] = np.zeros(adata.shape)
    adata.write_zarr(tmp_path / "a.zarr")
    assert sh.io.read(tmp_path / "a.zarr").layers["none"].nnz == 0


@pytest.mark.parametrize("kind", ["a.zarr", "b.zarr"])
def test_stores_without_metadata(whole, tmp_path, kind):
    path = shutil.copytree(whole / kind, tmp_path / kind)
    metadata = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")
    for name in metadata:
        if (path / name).exists():
            (path / name).write_text("{")
    assert "cannot be read as a zarr store" in refused(path)
    for name in metadata:
        (path / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=rf"a zarr store without the metadata .*{AGAIN}"):
        sh.io.read(path)


def test_what_holds_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="is a folder without a zarr store; it holds nothing"):
        sh.io.read(tmp_path / "folder")
    mudata.MuData({}).write_h5mu(tmp_path / "a.h5mu")
    with pytest.raises(ValueError, match="a MuData without a modality, so it holds no cells"):
        sh.io.read(tmp_path / "a.h5mu")
    h5py.File(tmp_path / "a.h5ad", "w").close()
    with pytest.raises(ValueError, match=r"holds no AnnData \(it has nothing\)"):
        sh.io.read(tmp_path / "a.h5ad")


@pytest.mark.parametrize("kind", OTHERS)
def test_files_that_are_something_else(tmp_path, kind):
    content, said = OTHERS[kind]
    path = tmp_path / "a.h5ad"
    path.write_bytes(content)
    with pytest.raises(OSError, match=said):
        sh.io.read(path)
    for command in ("measure", "run"):
        done = CliRunner().invoke(app, [command, str(path), "-o", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-1].startswith(f"error: {path} is ")
        assert not (tmp_path / "out").exists()


def test_what_is_no_damage_stays_what_it_is(whole, tmp_path, monkeypatch):
    path = shutil.copy(whole / "a.h5ad", tmp_path / "a.h5ad")
    for error in (MemoryError("too large"), PermissionError(13, "Permission denied")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(ad, "read_h5ad", fail)
        with pytest.raises(type(error)) as caught:
            sh.io.read(path)
        assert caught.value is error


@pytest.mark.parametrize("backed", [False, True])
def test_a_file_without_a_matrix_is_whole(tmp_path, backed):
    adata = screens.state()
    adata.obsm["X_image"] = np.ones((adata.n_obs, 2))
    bare = ad.AnnData(None, obs=adata.obs, obsm=dict(adata.obsm), layers={"copy": adata.X})
    bare.write_h5ad(tmp_path / "a.h5ad")
    assert sh.io.read(tmp_path / "a.h5ad", backed=backed).obsm["X_image"].shape[1] == 2
