"""Files of names and vectors that other programs write: torch, pickle, safetensors."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._compat import require
from ._vector_pickle import read_pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
TYPES |= {"I8": "i1", "U8": "u1", "BOOL": "?", "BF16": "<u2"}  # safetensors
DAMAGED = (EOFError, IndexError, KeyError, AttributeError, MemoryError, TypeError, OverflowError)
SHOWN = 4  # entries of a file in a message


def by_name(held: Any, file: str) -> pd.DataFrame:
    """Return a table of vectors by name, index = name.

    Parameters
    ----------
    held
        Name -> vector, where a vector is a list, an array or a tensor of one dimension (others may
        be 1); or two entries, a list of n names and an (n, d) array.
    file
        What holds them, for messages, such as the name of a file.

    Raises
    ------
    ValueError
        If it is neither, holds nothing, or vectors differ in length or in their labels.
    """
    if not isinstance(held, Mapping):
        shape = f" of shape {tuple(held.shape)}" if hasattr(held, "shape") else ""
        msg = (
            f"source: {file} holds a {type(held).__name__}{shape}, which has no names: save a "
            "dictionary of names to vectors, or pass a DataFrame with names as index"
        )
        raise ValueError(msg)
    if not held:
        msg = f"source: {file} holds no vectors"
        raise ValueError(msg)
    _same_labels(held, file)
    arrays = {str(name): _to_array(value) for name, value in held.items()}
    if len(arrays) < len(held):
        msg = f"source: {file} holds several vectors of one name, such as 1 and '1'; keep one"
        raise ValueError(msg)
    if len(arrays) == 2 and (pair := _names_and_table(list(arrays.values()))):
        names, table = pair
        return pd.DataFrame(table, index=pd.Index([str(name) for name in names], dtype=object))
    vectors = {name: array.squeeze() for name, array in arrays.items()}
    vectors = {name: array[None] if array.ndim == 0 else array for name, array in vectors.items()}
    if any(array.ndim != 1 or array.dtype.kind not in "fiub" for array in vectors.values()):
        shown = [f"{name!r} {array.dtype} {array.shape}" for name, array in vectors.items()]
        msg = (
            f"source: {file} must hold a vector of numbers for every name; it holds "
            f"{', '.join(shown[:SHOWN])}{', ...' if len(shown) > SHOWN else ''}: what is saved may "
            "be the weights of a network, or one table without names"
        )
        raise ValueError(msg)
    lengths = {len(array) for array in vectors.values()}
    if len(lengths) > 1:
        first = [next(n for n, v in vectors.items() if len(v) == size) for size in sorted(lengths)]
        told = [f"{name!r} ({len(vectors[name])})" for name in first[:2]]
        msg = f"source: in {file} vectors differ in length, such as {' and '.join(told)}"
        raise ValueError(msg)
    return pd.DataFrame(np.stack(list(vectors.values())), index=pd.Index(vectors, dtype=object))


def _same_labels(held: Mapping[Any, Any], file: str) -> None:
    """Raise ``ValueError`` if vectors are Series whose labels are not the same, in one order."""
    labelled = {name: value for name, value in held.items() if isinstance(value, pd.Series)}
    first = next(iter(labelled), None)
    for name, vector in labelled.items():
        if not vector.index.equals(labelled[first].index):
            msg = (
                f"source: the labels of {first!r} and {name!r} of {file} differ or are in another "
                "order; make a table of them: pd.DataFrame(source).T"
            )
            raise ValueError(msg)


def _to_array(value: Any) -> np.ndarray[Any, Any]:
    """Return a list, an array or a tensor as an array; lists of other things as one of objects.

    What a mask hides is missing.
    """
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        tensor = value.detach().cpu()
        tensor = tensor.dequantize() if tensor.is_quantized else tensor
        tensor = tensor.to_dense() if str(tensor.layout) != "torch.strided" else tensor
        value = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if np.ma.is_masked(value):
        value = value.astype(np.float64).filled(np.nan)
    if sparse.issparse(value):
        value = value.toarray()
    try:
        found = np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.asarray(value, dtype=object)
    if found.dtype == object and all(isinstance(one, int | float) for one in found.flat):
        return found.astype(np.float64)
    return found


def _names_and_table(arrays: list[Any]) -> tuple[Any, Any] | None:
    """Return one array of names and one of vectors, if that is what two arrays are."""
    for names, table in (arrays, arrays[::-1]):
        is_names = names.ndim == 1 and (
            names.dtype.kind in "US" or all(isinstance(name, str) for name in names)
        )
        if is_names and table.ndim == 2 and len(names) == len(table):
            return names, table
    return None


def _read_torch(path: Path) -> pd.DataFrame:
    """Read what ``torch.save`` wrote, if it is tensors alone."""
    torch = require("torch", extra="models")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as err:
        msg = (
            f"source: {path.name!r} holds more than tensors, such as a module, and reading that "
            "would run code; it may be damaged, too. Save names and vectors alone: "
            "torch.save({name: tensor}, path)"
        )
        raise ValueError(msg) from err
    except (RuntimeError, *DAMAGED) as err:
        raise _damaged(path, err) from err
    return by_name(held, repr(path.name))


def _read_pickle(path: Path) -> pd.DataFrame:
    """Read a pickle of plain data."""
    return by_name(read_pickle(path), repr(path.name))


def _read_safetensors(path: Path) -> pd.DataFrame:
    """Read tensors by name, or one table whose names are in the file's metadata as JSON."""
    raw = path.read_bytes()
    try:
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size], object_pairs_hook=_once)
        body = memoryview(raw)[8 + size :]
        about = header.pop("__metadata__", {})
        held = {name: _tensor(entry, body) for name, entry in header.items()}
    except (ValueError, *DAMAGED) as err:
        raise _damaged(path, err) from err
    if len(held) == 1:
        table = next(iter(held.values()))
        for text in about.values():
            names = _listed(text)
            if table.ndim == 2 and len(names) == len(table):
                held = {"names": names, "vectors": table}
    return by_name(held, repr(path.name))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dictionary; raise ``ValueError`` if a name stands in it twice."""
    held = dict(pairs)
    if len(held) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        msg = f"{twice!r} is in it twice"
        raise ValueError(msg)
    return held


def _tensor(entry: Mapping[str, Any], body: memoryview) -> np.ndarray[Any, Any]:
    start, end = entry["data_offsets"]
    values = np.frombuffer(body[start:end], dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _listed(text: Any) -> list[str]:
    """Return a JSON list of names; none if the text is something else."""
    try:
        names = json.loads(text)
    except (TypeError, ValueError):
        return []
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else []


def _damaged(path: Path, err: Exception) -> ValueError:
    return ValueError(f"source: {path.name!r} cannot be read as a {path.suffix} file: {err}")


READERS: MappingProxyType[str, Callable[[Path], pd.DataFrame]] = MappingProxyType(
    {
        ".pt": _read_torch,
        ".pth": _read_torch,
        ".pkl": _read_pickle,
        ".pickle": _read_pickle,
        ".safetensors": _read_safetensors,
    }
)
