"""The same values in any storage give the same numbers, in every public function, and stay as they were."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

import shoal as sh
from shoal.core._matrix import as_rows

from .everything import FUNCTIONS, flat, screen
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
    "csr big-endian": lambda x: x.astype(">f8"),
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
SLOW = ("benchmark", "evaluate", "evaluate_as_cell_eval")
EXACT = 1e-10
SINGLE = {"energy": 1e-5}  # computed in the precision of the data


@functools.cache
def expected(name: str) -> dict[str, np.ndarray]:
    with quiet():
        return FUNCTIONS[name](screen())


@contextlib.contextmanager
def quiet():
    """Silence notices and warnings, which tests of their own look at."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def stored(form, folder) -> ad.AnnData:
    """Return the screen with X and counts in another storage."""
    adata = screen()
    change = functools.partial(form, folder=folder) if form is mapped else form
    counts = adata.layers.pop("counts")
    adata.X = change(adata.X)
    (folder / "counts").mkdir(exist_ok=True)
    change = functools.partial(form, folder=folder / "counts") if form is mapped else form
    adata.layers["counts"] = change(counts)
    return adata


def parts(matrix) -> list[np.ndarray]:
    """Return copies of the arrays that hold a matrix; of one that is not in memory, none."""
    if sparse.issparse(matrix):
        return [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    return [np.array(matrix)] if isinstance(matrix, np.ndarray) else []


def compare(found, wanted, tolerance=EXACT):
    assert list(found) == list(wanted)
    for column, values in wanted.items():
        own = found[column]
        if column.rpartition("/")[2] in ("seconds", "seconds_predict", "train_seconds"):
            continue
        if np.asarray(values).dtype.kind in "OUbT":
            np.testing.assert_array_equal(own, values, err_msg=column)
        else:
            np.testing.assert_allclose(own, values, rtol=tolerance, atol=tolerance, err_msg=column)


@pytest.mark.parametrize("storage", STORAGES)
def test_numbers_do_not_depend_on_storage(storage, tmp_path):
    for name in FUNCTIONS:
        adata = stored(STORAGES[storage], tmp_path)
        values = adata.X
        before = parts(values)
        with quiet():
            found = FUNCTIONS[name](adata)
        compare(found, expected(name))
        for own, old in zip(parts(values), before, strict=True):
            np.testing.assert_array_equal(own, old, err_msg=f"{name} changed the matrix")
