"""Lists, tables and matrices of any kind as arrays of numbers that can be computed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._validate import shown
from ._cells import Cells, densify

if TYPE_CHECKING:
    from numpy.typing import NDArray


def numbers(value: Any, name: str) -> NDArray[Any]:
    if type(value) is np.ndarray and _is_plain(value.dtype) and value.ndim:
        return value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        msg = f"{name} is a masked array; fill or drop the masked values"
        raise TypeError(msg)
    if value is None or isinstance(value, (str, bytes, dict, set)) or hasattr(value, "obs_names"):
        raise TypeError(_not_numbers(name, type(value).__name__))
    dense = densify(value) if sparse.issparse(value) else value
    try:
        found = np.asarray(dense)
    except ValueError as error:
        msg = f"{name} must be a table of numbers with rows of one length: {error}"
        raise ValueError(msg) from None
    if found.ndim == 0:
        raise TypeError(_not_numbers(name, repr(value)))
    if found.dtype == object:
        if any(isinstance(one, (str, bytes)) for one in found.flat):
            raise TypeError(_not_numbers(name, "text"))
        try:
            return found.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(_not_numbers(name, "objects")) from None
    return found.astype(_plain(found.dtype, name), copy=False)


def matrix(value: Any, name: str) -> Any:
    if not sparse.issparse(value):
        return numbers(value, name)
    kept = value.tocsr()
    if not _is_plain(kept.dtype):
        kept = kept.astype(_plain(kept.dtype, name))
    if not kept.has_canonical_format:
        kept = kept.copy()
        kept.sum_duplicates()
    return kept


def several(value: Any, name: str) -> Any:
    if isinstance(value, Cells):
        return value
    if not isinstance(value, Sequence) or isinstance(value, str):
        msg = f"{name} must be a list of populations, one matrix of cells each"
        raise TypeError(msg)
    return [matrix(cells, f"{name}[{i}]") for i, cells in enumerate(value)]


def booleans(value: Any, name: str) -> NDArray[Any]:
    found = np.asarray(value)
    if found.ndim == 0 or np.ma.is_masked(value):
        msg = f"{name} must be an array of booleans, not {shown(value)}"
        raise ValueError(msg)
    whole = found.dtype == object and all(isinstance(one, (bool, np.bool_)) for one in found.flat)
    return found.astype(bool) if whole else found


def groups(value: Any, name: str) -> NDArray[Any]:
    if value is None or isinstance(value, (str, bytes)) or np.ndim(value) != 1:
        msg = f"{name} must be a list of numbers or names, not {value!r}"
        raise TypeError(msg)
    n_missing = int(pd.isna(pd.Series(value, dtype=object)).sum())
    if n_missing:
        msg = f"{name} has {n_missing} missing values; every row belongs to one"
        raise ValueError(msg)
    found = np.asarray(value)
    mixed = found.dtype == object and any(isinstance(one, str) for one in found)
    return found.astype(str) if mixed else found  # as in a list of numbers and names


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Return whether numbers can be computed with as they are."""
    return dtype.kind == "f" and dtype.itemsize in (4, 8) and dtype.isnative


def _plain(dtype: np.dtype[Any], name: str) -> Any:
    """Return the number type to compute with, or raise ``TypeError`` if there is none."""
    if dtype.kind not in "fbiu":
        raise TypeError(_not_numbers(name, f"values of type {dtype}"))
    return np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64


def _not_numbers(name: str, what: str) -> str:
    return f"{name} must be an array of real numbers, not {what}"
