"""One form for the values of cells, however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .._typing import Matrix


NO_NUMBERS = {  # by kind of dtype: what values are, and what to do about it
    "c": ("complex numbers", "take the real part, or the modulus"),
    "O": ("Python objects", "turn them into numbers, such as adata.X = adata.X.astype('float32')"),
}


def canonical(matrix: Any) -> Matrix:
    """Return a sparse matrix as CSR in the one form that all statistics are computed from.

    - Rows are sorted by column, entries of one place are added up, and no 0 is stored.
    - Values are native float32 or float64, see `working_dtype`.

    A matrix that has this form already is not copied. The one that is given is never changed.
    """
    check_numbers(matrix, "the matrix")
    shared = matrix.format == "csr"
    csr = matrix if shared else matrix.tocsr()
    # a new object, because scipy keeps what it once found out about the order of the old one
    parts = (csr.data.astype(working_dtype(csr.dtype), copy=False), csr.indices, csr.indptr)
    csr = sparse.csr_matrix(parts, shape=csr.shape, copy=False)
    if csr.has_canonical_format and np.count_nonzero(csr.data) == len(csr.data):
        return csr
    if shared:
        csr = csr.copy()
    csr.sum_duplicates()
    csr.eliminate_zeros()
    return csr


def from_group(backed: Any) -> Any:
    """Read a backed sparse matrix into memory, also of a byte order that scipy does not know."""
    dtype = working_dtype(backed.dtype)
    data, indices, indptr = (backed.group[name][:] for name in ("data", "indices", "indptr"))
    make = sparse.csr_matrix if backed.format == "csr" else sparse.csc_matrix
    return make((data.astype(dtype, copy=False), indices, indptr), shape=backed.shape)


def numbers_of(table: Any, slot: str) -> Any:
    """Return a DataFrame as an array; missing values become NaN.

    Raises
    ------
    ValueError
        If a column holds no numbers.
    """
    from pandas.api import types

    odd = [str(name) for name, own in table.items() if not types.is_numeric_dtype(own)]
    if odd:
        msg = (
            f"{slot} holds columns that are no numbers: {', '.join(odd[:8])}; keep the others, "
            "such as with .select_dtypes('number')"
        )
        raise ValueError(msg)
    if any(types.is_extension_array_dtype(own) for own in table.dtypes):
        return table.to_numpy(dtype=np.float64, na_value=np.nan)
    return table.to_numpy()


def check_numbers(values: Any, slot: str) -> None:
    """Raise an error if values are no matrix of real numbers.

    Raises
    ------
    TypeError
        If they are of a type that is not read.
    ValueError
        If they are complex numbers, text, dates or Python objects, or some are masked.
    """
    if not all(hasattr(values, name) for name in ("shape", "dtype", "__getitem__")):
        msg = (
            f"{slot} is of type {type(values).__name__}, which is not read here; it must be a "
            "dense or sparse matrix, in memory, in a file, in zarr or dask"
        )
        raise TypeError(msg)
    if values.dtype.kind not in "buif":
        what, fix = NO_NUMBERS.get(values.dtype.kind, ("no numbers", "put numbers there"))
        msg = f"{slot} holds {what} (dtype {values.dtype}): {fix}"
        raise ValueError(msg)
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):
        msg = (
            f"{slot} holds {int(np.sum(values.mask))} masked values, which are missing: "
            "fill them, or drop these cells"
        )
        raise ValueError(msg)


def working_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the type in which values of a type are kept: native float32 for float32, else float64.

    Half precision, whole numbers and booleans are exact in float64.
    """
    single = np.dtype(dtype).newbyteorder("=") == np.float32
    return np.dtype(np.float32 if single else np.float64)
