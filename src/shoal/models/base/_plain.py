"""Values as plain data: JSON for what is text and numbers, arrays for the rest, nothing that runs.

Every value comes back with the type that it had: tuples, arrays of any order, tensors, sparse
matrices and tables among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

KIND = "$"  # key that marks a JSON object which stands for another kind of value
HOLDS = (
    "numbers, text, arrays, tensors, scipy sparse matrices, DataFrames, and lists, tuples and "
    "dicts of these"
)


def to_plain(value: Any, arrays: dict[str, np.ndarray], *, where: str = "") -> Any:
    """Return what JSON can hold in place of a value, and add its arrays to `arrays`.

    Parameters
    ----------
    value
        Number, text, ``None``, array, tensor, scipy sparse matrix, DataFrame, or list, tuple or
        mapping of these.
    arrays
        Is added to. The key of each array is its place, ``"vocabulary.vectors"`` say.
    where
        Place of the value, if it is part of another.

    Raises
    ------
    TypeError
        If the value is, or holds, anything else; the message names its place.
    """

    def inner(part: Any, name: object) -> Any:
        return to_plain(part, arrays, where=f"{where}.{name}" if where else str(name))

    def several(parts: Any) -> list[Any]:
        return [inner(part, i) for i, part in enumerate(parts)]

    def kept(kind: str, array: np.ndarray) -> dict[str, str]:
        key = where if where not in arrays else f"{where}#{len(arrays)}"
        arrays[key] = array
        return {KIND: kind, "key": key}

    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return several(value)
    if isinstance(value, tuple):
        return {KIND: "tuple", "items": several(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and KIND not in value:
            return {key: inner(part, key) for key, part in value.items()}
        return {KIND: "dict", "keys": several(value), "values": several(value.values())}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcU":
        return kept("array", value)
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return {KIND: "objects", "items": several(value)}
    if hasattr(value, "detach"):  # a tensor; this file does without torch
        return kept("tensor", value.detach().cpu().numpy())
    if sparse.issparse(value):
        csr = value.tocsr()
        parts = {name: inner(getattr(csr, name), name) for name in ("data", "indices", "indptr")}
        form = {"form": value.format, "array": isinstance(value, sparse.sparray)}
        return {KIND: "sparse", **form, **parts, "shape": list(value.shape)}
    if isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, i] for i in range(value.shape[1])]
        return {
            KIND: "table",
            "index": _column(value.index, inner, "index"),
            "columns": several(value.columns),
            "values": [_column(column, inner, i) for i, column in enumerate(columns)],
        }
    msg = (
        f"{where} is a {type(value).__name__}, which a model file cannot hold: it holds {HOLDS}. "
        f"The value is {value!r:.80}"
    )
    raise TypeError(msg)


def from_plain(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value that `to_plain` was given."""
    if isinstance(value, list):
        return [from_plain(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind is None:
        return {key: from_plain(part, arrays) for key, part in value.items()}
    return _READERS[kind](value, arrays)


def _column(values: Any, inner: Any, name: object) -> dict[str, Any]:
    """Return the values of a column or index of a table, its type and its name."""
    dtype = str(values.dtype)
    plain = values.to_numpy() if values.dtype.kind in "biufc" else list(values)
    if dtype == "category":
        msg = f"the column {values.name!r} of a table is categorical: save it as text"
        raise TypeError(msg)
    return {"values": inner(plain, name), "dtype": dtype, "name": values.name}


def _tuple(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Any, ...]:
    return tuple(from_plain(value["items"], arrays))


def _dict(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[Any, Any]:
    keys, values = (from_plain(value[name], arrays) for name in ("keys", "values"))
    return dict(zip(keys, values, strict=True))


def _array(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return arrays[value["key"]]


def _objects(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    made = np.empty(len(value["items"]), dtype=object)
    made[:] = from_plain(value["items"], arrays)
    return made


def _tensor(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    import torch

    return torch.from_numpy(arrays[value["key"]])


def _sparse(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    parts = tuple(_array(value[name], arrays) for name in ("data", "indices", "indptr"))
    make = sparse.csr_array if value["array"] else sparse.csr_matrix
    return make(parts, shape=tuple(value["shape"])).asformat(value["form"])


def _table(value: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    def read(column: dict[str, Any]) -> dict[str, Any]:
        return {**column, "values": from_plain(column["values"], arrays)}

    index = read(value["index"])
    rows = pd.Index(index["values"], dtype=index["dtype"], name=index["name"])
    columns = [
        pd.Series(each["values"], dtype=each["dtype"], index=rows)
        for each in map(read, value["values"])
    ]
    made = pd.DataFrame(dict(enumerate(columns)), index=rows)
    return made.set_axis(pd.Index(from_plain(value["columns"], arrays)), axis=1)


_READERS = {
    "tuple": _tuple,
    "dict": _dict,
    "array": _array,
    "objects": _objects,
    "tensor": _tensor,
    "sparse": _sparse,
    "table": _table,
}
