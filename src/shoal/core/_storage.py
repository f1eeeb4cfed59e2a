"""One form for the values of cells, however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .._typing import Matrix


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


def plain(values: Any, slot: str = "the matrix") -> Any:
    """Return a dense array that is no subclass, such as a masked array.

    Raises
    ------
    TypeError
        If it does not hold real numbers.
    ValueError
        If values are masked.
    """
    check_numbers(values, slot)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        msg = (
            f"{slot} holds {int(np.ma.count_masked(values))} masked values, which are missing: "
            "fill them, or drop these cells"
        )
        raise ValueError(msg)
    return np.asarray(values)


def numbers_of(table: Any, slot: str) -> Any:
    """Return a DataFrame as an array; missing values become NaN.

    Raises
    ------
    TypeError
        If a column holds no numbers.
    """
    from pandas.api import types

    odd = [str(name) for name, own in table.items() if not types.is_numeric_dtype(own)]
    if odd:
        msg = (
            f"{slot} holds columns that are no numbers: {', '.join(odd[:8])}; keep the others, "
            "such as with .select_dtypes('number')"
        )
        raise TypeError(msg)
    if any(types.is_extension_array_dtype(own) for own in table.dtypes):
        return table.to_numpy(dtype=np.float64, na_value=np.nan)
    return table.to_numpy()


def check_numbers(values: Any, slot: str) -> None:
    """Raise ``TypeError`` if values are no real numbers: text, objects, dates or complex."""
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "f") not in "buif":
        msg = (
            f"{slot} holds values of type {dtype}, and real numbers are needed; convert them, such "
            "as with .astype('float32')"
        )
        raise TypeError(msg)


def working_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the type in which values of a type are kept: native float32 for float32, else float64.

    Half precision, whole numbers and booleans are exact in float64.
    """
    single = np.dtype(dtype).newbyteorder("=") == np.float32
    return np.dtype(np.float32 if single else np.float64)
