"""Pickles of names and vectors, read without running any code that they ask for."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import re
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PLAIN_TYPE = re.compile(r"[fiubUS]\d+")  # numbers and text: no objects, no records
DAMAGED = (
    pickle.UnpicklingError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
)
KNOWN = {
    ("collections", "OrderedDict"): "dict",
    ("_codecs", "encode"): "bytes",
    ("numpy", "dtype"): "type",
    ("numpy", "ndarray"): "array",
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "buffer",
    ("numpy._core.numeric", "_frombuffer"): "buffer",
}


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds: dictionaries, lists, text, numbers and arrays of numpy.

    Unpickling calls whatever functions a file names. Here none is called: the few names that numpy
    and Python write for plain data stand for notes of ours, which are made into arrays afterwards.

    Raises
    ------
    ValueError
        If the file names anything else, or is damaged.
    """
    try:
        with OPEN.get(path.suffix.lower(), open)(path, "rb") as raw:
            found = _Reader(raw).load()
        return _plain(found)
    except _CodeError as err:
        msg = (
            f"source: {path.name!r} asks for {err.args[0]}, and reading that would run code. Only "
            "dictionaries, lists, text, numbers and numpy arrays are read from a pickle. If you "
            "trust the file, load it yourself, and pass a mapping of names to vectors"
        )
        raise ValueError(msg) from err
    except DAMAGED as err:
        msg = f"source: {path.name!r} cannot be read as a pickle: {err}"
        raise ValueError(msg) from err


class _CodeError(Exception):
    """A pickle names a function or class that is not plain data."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            msg = f"{module}.{name}"
            raise _CodeError(msg)
        return _Note(KNOWN[module, name])

    def persistent_load(self, pid: Any) -> Any:
        msg = f"an object outside of the file, {str(pid)[:40]!r}"
        raise _CodeError(msg)


class _Note:
    """What a pickle says of one thing: its kind, the arguments of its call, and its state."""

    __slots__ = ("arguments", "kind", "state")

    def __init__(self, kind: str, arguments: tuple[Any, ...] = ()):
        self.kind, self.arguments, self.state = kind, arguments, None

    def __call__(self, *arguments: Any) -> Any:
        if self.kind == "dict":
            return dict(*arguments)
        if self.kind == "bytes":
            text, encoding = arguments
            if encoding != "latin1":
                msg = f"_codecs.encode by {encoding!r}"
                raise _CodeError(msg)
            return text.encode("latin1")
        return _Note(self.kind, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _plain(found: Any) -> Any:
    """Return a value with arrays in the place of notes."""
    if isinstance(found, _Note):
        return _array(found)
    if isinstance(found, dict):
        return {_plain(key): _plain(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        numbers = all(isinstance(value, int | float) for value in found)
        return found if numbers else [_plain(value) for value in found]
    if found is None or isinstance(found, str | bytes | bytearray | int | float):
        return found
    msg = f"a {type(found).__name__}"
    raise _CodeError(msg)


def _array(note: _Note) -> Any:
    """Return the array, or the single number, that a note describes."""
    if note.kind == "array" and isinstance(note.state, tuple) and len(note.state) == 5:
        _, shape, kind, is_fortran, raw = note.state
        order = "F" if is_fortran else "C"
    elif note.kind == "buffer" and len(note.arguments) == 4:
        raw, kind, shape, order = note.arguments
    elif note.kind == "scalar" and len(note.arguments) == 2:
        kind, raw = note.arguments
        shape, order = (), "C"
    else:
        msg = f"a numpy {note.kind} without content"
        raise _CodeError(msg)
    if isinstance(raw, list):  # objects, each pickled by itself
        values = np.empty(len(raw), dtype=object)
        values[:] = [_plain(value) for value in raw]
    else:
        values = np.frombuffer(raw, dtype=_type(kind))
    values = values.reshape(shape, order=order)
    return values.item() if note.kind == "scalar" else values


def _type(note: Any) -> np.dtype[Any]:
    """Return the type of the entries of an array, which is one of numbers or text."""
    if not isinstance(note, _Note) or note.kind != "type" or not note.arguments:
        msg = "an array of an unknown type"
        raise _CodeError(msg)
    text = str(note.arguments[0])
    if not PLAIN_TYPE.fullmatch(text):
        msg = f"an array of the type {text!r}"
        raise _CodeError(msg)
    order = note.state[1] if isinstance(note.state, tuple) and len(note.state) > 1 else "="
    return np.dtype(text).newbyteorder(order if order in ("<", ">") else "=")
