"""Rows read by position: every kind of matrix gives the rows of the dense one, and reads little more than them."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

from shoal import settings
from shoal.core import _matrix
from shoal.core._choose import choose
from shoal.core._matrix import as_rows

from ..helpers import dense

N, D = 400, 7
KINDS = (
    "dense",
    "csr",
    "csc",
    "h5 dense",
    "h5 csr",
    "h5 csr chunked",
    "zarr dense",
    "zarr csr",
    "dask",
    "dask csr",
)


@pytest.fixture
def x(rng):
    return (rng.normal(size=(N, D)) * (rng.random((N, D)) < 0.5)).astype(np.float32)


def stored(x, kind, folder):
    """Return the matrix as the kind that is asked for."""
    where, _, form = kind.partition(" ")
    if where in ("dense", "csr", "csc"):
        return {"dense": x, "csr": sparse.csr_matrix(x), "csc": sparse.csc_matrix(x)}[where]
    if where == "dask":
        array = da.from_array(x, chunks=(90, D if form else 3))
        return array.map_blocks(sparse.csr_matrix) if form else array
    adata = ad.AnnData(x if form == "dense" else sparse.csr_matrix(x))
    if where == "h5":
        adata.write_h5ad(folder / "x.h5ad", compression="gzip" if "chunked" in form else None)
        return ad.read_h5ad(folder / "x.h5ad", backed="r").X
    adata.write_zarr(folder / "x.zarr")
    group = zarr.open(folder / "x.zarr", mode="r")["X"]
    return group if form == "dense" else ad.io.sparse_dataset(group)


INDEX = {
    "scattered": np.array([0, 3, 4, 90, 91, 200, 399]),
    "a run": np.arange(37, 120),
    "all": np.arange(N),
    "one": np.array([250]),
    "none": np.arange(0),
}


@pytest.mark.parametrize("block_bytes", [600, 2**25])
@pytest.mark.parametrize("gap_bytes", [1, 2**15])
@pytest.mark.parametrize("kind", KINDS)
def test_takes_the_rows_of_the_dense_matrix(x, kind, block_bytes, gap_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "block_bytes", block_bytes)
    monkeypatch.setattr(_matrix, "GAP_BYTES", gap_bytes)
    source = stored(x, kind, tmp_path)
    rows, columns = as_rows(source), as_rows(source, np.array([5, 2]))
    for name, index in INDEX.items():
        for taken, expected in (
            (rows.take(index), x[index]),
            (columns.take(index), x[index][:, [5, 2]]),
        ):
            assert sparse.issparse(taken) == ("cs" in kind), name
            np.testing.assert_array_equal(dense(taken), expected, err_msg=name)
            assert np.issubdtype(taken.dtype, np.floating)


class Spy:
    """A matrix in a file, as far as Rows can tell, that counts the rows read from it."""

    def __init__(self, x, chunks=None):
        self.x, self.shape, self.dtype, self.chunks, self.read = x, x.shape, x.dtype, chunks, 0

    def __getitem__(self, key):
        self.read += len(self.x[key])
        return self.x[key]


@pytest.mark.parametrize(("chunks", "most"), [(None, 4), ((10, D), 14)])
def test_reads_no_more_than_what_is_near(x, chunks, most, monkeypatch):
    monkeypatch.setattr(_matrix, "GAP_BYTES", 1)
    spy = Spy(x, chunks)
    np.testing.assert_array_equal(
        as_rows(spy).take(np.array([0, 100, 109, 300])), x[[0, 100, 109, 300]]
    )
    assert spy.read <= most


def test_dask_computes_only_the_blocks_that_hold_the_rows(x):
    computed = []
    array = da.from_array(x, chunks=(100, D)).map_blocks(
        lambda b: (computed.append(len(b)), b)[1], meta=x[:0]
    )
    as_rows(array).take(np.array([101, 150, 399]))
    assert sum(computed) == 200


# -- images ----------------------------------------------------------------------------------------


def images_in(images, kind, folder):
    """Return images as the kind that is asked for, cut along every axis in a file."""
    if kind == "dense":
        return images
    if kind == "dask":
        return da.from_array(images, chunks=(90, 1, 3, 2))
    if kind == "zarr":
        chunks = (16, 1, 3, 2)
        array = zarr.open(
            folder / "x.zarr", mode="w", shape=images.shape, dtype=images.dtype, chunks=chunks
        )
        array[:] = images
        return array
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(16, 1, 3, 2))
    return h5py.File(folder / "x.h5", "r")["x"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", ["dense", "dask", "zarr", "h5"])
def test_images_are_read_in_their_shape_and_type(rng, kind, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "block_bytes", 2000)
    images = rng.integers(0, 250, (N, 2, 3, 4)).astype(dtype)
    rows = as_rows(images_in(images, kind, tmp_path))
    assert rows.shape == (N, 2, 3, 4)
    assert rows.cell_shape == (2, 3, 4)
    blocks = list(rows.blocks())
    assert len(blocks) > 1
    for where, block in blocks:
        assert block.dtype == dtype
        np.testing.assert_array_equal(block, images[where])
    for name, index in INDEX.items():
        taken = rows.take(index)
        assert taken.dtype == dtype
        np.testing.assert_array_equal(taken, images[index], err_msg=name)


def test_a_block_of_images_is_no_larger_than_the_settings_allow(rng, monkeypatch):
    monkeypatch.setattr(settings, "block_bytes", 1000)
    spy = Spy(rng.integers(0, 250, (N, 2, 3, 4)).astype(np.uint8))
    assert max(block.nbytes for _, block in as_rows(spy).blocks()) == 41 * 24


def test_images_are_refused_where_rows_are_needed(rng):
    adata = ad.AnnData(obsm={"crops": rng.normal(size=(N, 2, 3, 4))})
    match = r"obsm/crops holds an array of shape \(2, 3, 4\) for each cell.*takes_images = True"
    with pytest.raises(ValueError, match=match):
        choose(adata, use_rep="crops")
    assert choose(adata, use_rep="crops", images=True)[1] == "obsm/crops"
    with pytest.raises(ValueError, match=r"the matrix holds an array of shape \(2, 3, 4\)"):
        as_rows(adata.obsm["crops"], np.array([0]))
    with pytest.raises(ValueError, match=r"expected the values of cells, .* not 1-D"):
        as_rows(np.zeros(4))


def test_the_same_file_is_known_and_matrices_in_memory_are_not(tmp_path):
    paths = []
    for kind, x in {"dense": np.ones((4, 3)), "csr": sparse.csr_matrix(np.ones((4, 3)))}.items():
        for name in ("one", "two"):
            paths.append(tmp_path / f"{kind}_{name}.h5ad")
            ad.AnnData(x).write_h5ad(paths[-1])
    opened = [ad.read_h5ad(path, backed="r") for path in paths]
    try:
        for i, one in enumerate(opened):
            same = [as_rows(one.X).is_same_file(as_rows(other.X)) for other in opened]
            assert same == [i == j for j in range(len(opened))]
        assert not as_rows(np.ones((4, 3))).is_same_file(as_rows(opened[0].X))
    finally:
        for one in opened:
            one.file.close()
    x = np.ones((4, 3))
    assert not as_rows(x).is_same_file(as_rows(x))


def test_the_same_dask_array_is_known():
    one, other = (da.from_array(np.full((4, 3), value)) for value in (1.0, 2.0))
    assert as_rows(one).is_same_file(as_rows(one))
    assert not as_rows(one).is_same_file(as_rows(other))
