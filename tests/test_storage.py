"""The same values in any storage give the same numbers, in every public function, and stay as they were."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._matrix import as_rows

from .everything import FUNCTIONS, compare, expected, quiet, screen
from .helpers import dense


def unsorted(x):
    """Return CSR whose rows list their columns from the last to the first."""
    x = sparse.csr_matrix(x)
    for start, end in zip(x.indptr[:-1], x.indptr[1:], strict=True):
        x.indices[start:end], x.data[start:end] = (
            x.indices[start:end][::-1].copy(),
            x.data[start:end][::-1].copy(),
        )
    return sparse.csr_matrix((x.data, x.indices, x.indptr), shape=x.shape)


def unsummed(x):
    """Return CSR in which every value is stored as two halves, one after all others of its row."""
    x = sparse.csr_matrix(x)
    rows = [np.arange(*ends) for ends in zip(x.indptr[:-1], x.indptr[1:], strict=True)]
    twice = np.concatenate([np.concatenate([row, row]) for row in rows])
    return sparse.csr_matrix((x.data[twice] / 2, x.indices[twice], 2 * x.indptr), shape=x.shape)


def with_zeros(x):
    """Return CSR that stores every value, the zeros too, and an entry and its negative."""
    n, d = x.shape
    columns = np.tile(np.arange(d), n)
    return sparse.csr_matrix((dense(x).ravel(), columns, np.arange(0, n * d + 1, d)), shape=(n, d))


def with_data(x, data):
    """Return CSR with values of a type that scipy lets nobody compute with."""
    x = x.copy()
    x.data = data
    return x


def read_only(x):
    for part in (x.data, x.indices, x.indptr) if sparse.issparse(x) else (x,):
        part.flags.writeable = False
    return x


def wide_indices(x):
    x = sparse.csr_array(x)
    x.indices, x.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    return x


def mapped(x, folder):
    np.save(folder / "x.npy", dense(x))
    return np.load(folder / "x.npy", mmap_mode="r")


def lazy(x, rows, columns, form=None, dtype=np.float64):
    array = da.from_array(dense(x).astype(dtype), chunks=(rows, columns))
    return array if form is None else array.map_blocks(form, dtype=dtype)


STORAGES = {
    "csr float32": lambda x: x.astype(np.float32),
    "unsorted": unsorted,
    "unsummed": unsummed,
    "unsummed float32": lambda x: unsummed(x).astype(np.float32),
    "stored zeros": with_zeros,
    "read-only": lambda x: read_only(unsummed(x)),
    "csr big-endian": lambda x: with_data(x, x.data.astype(">f8")),
    "csr float16": lambda x: with_data(x, x.data.astype(np.float16)),
    "csr array": sparse.csr_array,
    "csr array, int64 indices": wide_indices,
    "csc": sparse.csc_matrix,
    "csc array, read-only": lambda x: read_only(sparse.csc_array(x)),
    "dense": dense,
    "dense float32": lambda x: dense(x).astype(np.float32),
    "dense float16": lambda x: dense(x).astype(np.float16),
    "dense big-endian": lambda x: dense(x).astype(">f8"),
    "dense big-endian float32, read-only": lambda x: read_only(dense(x).astype(">f4")),
    "dense, columns first": lambda x: np.asfortranarray(dense(x)),
    "dense, every other": lambda x: np.repeat(np.repeat(dense(x), 2, 0), 2, 1)[::2, ::2],
    "dense, backwards": lambda x: np.ascontiguousarray(dense(x)[::-1, ::-1])[::-1, ::-1],
    "masked, nothing masked": lambda x: np.ma.masked_array(dense(x)),
    "mapped": mapped,
    "dask": lambda x: lazy(x, 71, 40),
    "dask by columns": lambda x: lazy(x, 300, 13),
    "dask both ways": lambda x: lazy(x, 71, 13, dtype=np.float32),
    "dask of csr": lambda x: lazy(x, 71, 40, sparse.csr_matrix),
    "dask of unsummed csr": lambda x: lazy(x, 71, 40, unsummed),
    "dask of csc": lambda x: lazy(x, 71, 40, sparse.csc_matrix),
    "dask of csr by columns": lambda x: lazy(x, 71, 13, sparse.csr_matrix),
    "dask of csr arrays": lambda x: lazy(x, 71, 40, sparse.csr_array),
}
LONG = ("benchmark", "evaluate_as_cell_eval")
UNREAD = ("csr big-endian", "csr float16")  # scipy cannot take rows of these
SINGLE = 1e-5  # energy distances are computed in the precision of the data


def change(x, storage, folder):
    form = STORAGES[storage]
    return form(x, folder) if form is mapped else form(x)


def stored(storage, folder) -> ad.AnnData:
    """Return the screen with X and the counts in another storage."""
    adata = screen()
    (folder / "counts").mkdir(exist_ok=True)
    counts = adata.layers.pop("counts")
    adata.X = change(adata.X, storage, folder)
    adata.layers["counts"] = change(counts, storage, folder / "counts")
    return adata


def parts(matrix) -> list[np.ndarray]:
    """Return copies of the arrays that hold a matrix; none if it is not in memory."""
    if sparse.issparse(matrix):
        return [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    return [np.array(matrix)] if isinstance(matrix, np.ndarray) else []


def check(name, storage, folder):
    adata = stored(storage, folder)
    values = adata.X
    before = parts(values)
    with quiet():
        found = FUNCTIONS[name](adata)
    compare(found, expected(name), SINGLE if name in LONG else 1e-10)
    for own, old in zip(parts(values), before, strict=True):
        np.testing.assert_array_equal(own, old, err_msg=f"{name} changed the matrix")


@pytest.mark.parametrize("storage", STORAGES)
def test_numbers_do_not_depend_on_storage(storage, tmp_path):
    for name in FUNCTIONS:
        if name not in LONG and not (name == "filter_cells" and storage in UNREAD):
            check(name, storage, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["unsummed float32", "dense big-endian", "dask both ways"])
@pytest.mark.parametrize("name", LONG)
def test_nor_do_those_of_suites_and_benchmarks(name, storage, tmp_path):
    check(name, storage, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("n_latent", [5, None])
def test_networks_are_trained_alike(n_latent, tmp_path):
    pytest.importorskip("lightning")
    made = []
    for storage in ("csr float32", "dense", "unsummed", "csc", "dask of csr", "dense big-endian"):
        adata = stored(storage, tmp_path)
        adata.obs["split"] = "train"
        config = {"width": 16, "n_latent": n_latent}
        with quiet():
            model = sh.tl.fit(adata, "flow", max_steps=3, config=config, rng=0)
            made.append(dense(model.predict("g3", n_cells=20, rng=1).X))
    for values in made[1:]:
        np.testing.assert_allclose(values, made[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "storage", ["unsummed", "csc", "dense big-endian", "dask of csr", "mapped"]
)
@pytest.mark.parametrize("apart", [False, True])
def test_predictions_are_read_alike(storage, apart, tmp_path):
    tables = []
    for change_it in (False, True):
        adata = screen()
        with quiet():
            sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="made", subset="test")
            values = sparse.csr_matrix(np.nan_to_num(dense(adata.layers["made"])))
            adata.layers["made"] = change(values, storage, tmp_path) if change_it else values
            prediction = "made"
            if apart:
                obs = adata.obs[["target", "batch"]]
                prediction = ad.AnnData(adata.layers["made"], obs=obs, var=adata.var[[]])
            sh.tl.evaluate(
                adata, prediction=prediction, min_cells=10, n_comps=5, baselines=None, n_draws=1
            )
        tables.append(adata.uns["evaluation"]["table"])
    pd.testing.assert_frame_equal(tables[1], tables[0], rtol=1e-9, atol=1e-9)


# -- views and files -------------------------------------------------------------------------------


def view(adata):
    """Return the screen as a view of a larger one, in which its rows are in another order."""
    order = np.random.default_rng(1).permutation(adata.n_obs)
    other = adata[:50].copy()
    other.obs_names = [f"other{i}" for i in range(50)]
    larger = ad.concat([adata[order], other], merge="same", uns_merge="same")
    return larger[adata.obs_names]


def cut(adata):
    """Return the screen cut out of one in which names of cells and of genes repeat."""
    n, d = adata.shape
    rows, columns = [*range(n), *range(9)], [*range(d), 0, 1]
    obs, var = adata.obs.iloc[rows], adata.var.iloc[columns]
    named = {key: layer for key, layer in adata.layers.items() if key is not None}  # X is None
    layers = {key: layer[rows][:, columns] for key, layer in named.items()}
    obsm = {key: values[rows] for key, values in adata.obsm.items()}
    whole = ad.AnnData(adata.X[rows][:, columns], obs, var, uns=adata.uns, obsm=obsm, layers=layers)
    assert not whole.obs_names.is_unique
    assert not whole.var_names.is_unique
    return whole[:n, :d].copy()


VIEWS = {
    "view": view,
    "cut out of one with repeated names": cut,
    "view of a view": lambda adata: view(adata)[::-1][::-1, adata.var_names],
    "view of dense cells": lambda adata: view(with_x(adata, dense(adata.X))),
    "view of csc": lambda adata: view(with_x(adata, sparse.csc_array(adata.X))),
}


def with_x(adata, x):
    adata.X = x
    return adata


@pytest.mark.parametrize("kind", VIEWS)
def test_views(kind):
    for name in FUNCTIONS:
        if name not in LONG:
            with quiet():
                found = FUNCTIONS[name](VIEWS[kind](screen()))
            compare(found, expected(name))


@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "unsummed", "dense big-endian"])
def test_a_file(kind, tmp_path):
    adata = screen()
    make = {
        "csr": sparse.csr_matrix,
        "csc": sparse.csc_matrix,
        "dense": dense,
        "unsummed": unsummed,
    }
    with_x(adata, make.get(kind, lambda x: dense(x).astype(">f8"))(adata.X))
    adata.write_h5ad(tmp_path / "a.h5ad")
    for name in FUNCTIONS:
        if name in LONG or name in ("normalise", "filter_cells"):
            continue
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        try:
            with quiet():
                found = FUNCTIONS[name](backed)
        finally:
            backed.file.close()
        compare(found, expected(name))


def test_a_lazy_matrix_beside_tables_in_memory(tmp_path):
    pytest.importorskip("xarray")
    screen().write_zarr(tmp_path / "a.zarr")
    lazy = ad.experimental.read_lazy(tmp_path / "a.zarr")
    with pytest.raises(TypeError, match=r"only the matrix may be lazy: AnnData\(lazy\.X, obs="):
        sh.tl.coherence(lazy)
    adata = ad.AnnData(lazy.X, obs=lazy.obs.to_memory(), var=lazy.var.to_memory())
    sh.pp.annotate(adata, "target", control="control", batch_key="batch")
    compare(FUNCTIONS["coherence"](adata), expected("coherence"))


def test_masked_values_are_refused():
    for name in ("coherence", "distance", "prepare", "embed", "evaluate", "predict", "split"):
        adata = screen()
        x = dense(adata.X)
        adata.X = np.ma.masked_array(x, mask=x > 2.0)
        with quiet(), pytest.raises(ValueError, match=r"X holds \d+ masked values"):
            FUNCTIONS[name](adata)


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        *((np.asarray, dtype) for dtype in ("int8", "uint8", "int64", ">i2", "float16")),
        *((sparse.csc_matrix, dtype) for dtype in ("int8", "uint16", "int64")),
    ],
)
def test_counts_of_any_type(form, dtype):
    adata = screen()
    counts = dense(adata.layers["counts"])
    adata.layers["counts"] = form(counts.astype(dtype))
    np.testing.assert_array_equal(dense(adata.layers["counts"]), counts)
    with quiet():
        compare(FUNCTIONS["normalise"](adata), expected("normalise"))


def test_a_file_is_not_normalised(tmp_path):
    screen().write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"to_memory\(\)"):
        sh.pp.prepare(backed, layer="counts", normalize="log1p")
    assert "X_pca" not in backed.obsm
    backed.file.close()


# -- representations -------------------------------------------------------------------------------

REPRESENTATIONS = {
    "int8": lambda x: x.astype(np.int8),
    "int64, columns first": lambda x: np.asfortranarray(x.astype(np.int64)),
    "float16": lambda x: x.astype(np.float16),
    "big-endian": lambda x: x.astype(">i4"),
    "csr": lambda x: sparse.csr_matrix(x.astype(np.int16)),
    "csc array": lambda x: sparse.csc_array(x.astype(np.float32)),
    "dask": lambda x: da.from_array(x, chunks=(90, 2)),
    "table": lambda x: table(x),
    "table of nullable integers": lambda x: table(x).astype("Int64"),
    "table of both": lambda x: table(x).astype({"c0": "float32", "c1": "Int8"}),
}


def table(x):
    return pd.DataFrame(x, index=screen().obs_names, columns=[f"c{i}" for i in range(x.shape[1])])


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_representations(kind):
    for name in ("coherence_of_integers", "distance_of_integers"):
        adata = screen()
        adata.obsm["rep"] = REPRESENTATIONS[kind](adata.obsm["rep"])
        with quiet():
            found = FUNCTIONS[name](adata)
        compare(found, expected(name))


def test_booleans_are_zeros_and_ones():
    tables = []
    for dtype in (bool, np.float64):
        adata = screen()
        adata.obsm["rep"] = (adata.obsm["rep"] > 0).astype(dtype)
        tables.append(FUNCTIONS["distance_of_integers"](adata))
    compare(*tables)


def masked(x):
    return np.ma.masked_array(x.astype(float), mask=np.arange(x.size).reshape(x.shape) == 7)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda x: x + 1j, "obsm/rep holds complex numbers"),
        (lambda x: x.astype(object), "obsm/rep holds Python objects"),
        (lambda x: x.astype(str), "obsm/rep holds no numbers .dtype <U"),
        (masked, "obsm/rep holds 1 masked values"),
        (
            lambda x: table(x).assign(c1="a", c2=pd.Categorical(["b"] * len(x))),
            "obsm/rep holds columns that are no numbers: c1, c2",
        ),
    ],
)
@pytest.mark.parametrize("function", [sh.tl.coherence, sh.tl.distance])
def test_what_is_no_number_is_refused(function, form, message):
    adata = screen()
    adata.obsm["rep"] = form(adata.obsm["rep"])
    with pytest.raises(ValueError, match=message):
        function(adata, use_rep="rep")


def test_what_is_no_matrix_is_refused():
    with pytest.raises(TypeError, match="obsm/rep is of type list, which is not read here"):
        as_rows([[1.0, 2.0]], slot="obsm/rep")
