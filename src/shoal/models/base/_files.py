"""The file of a saved model: a zip of arrays and JSON, read without running any code."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np

from ... import _h5ad
from ..._staging import staged
from ..._validate import some
from ._plain import from_plain, to_plain

if TYPE_CHECKING:
    from anndata import AnnData

MODEL, ADATA = "model.npz", "adata.h5ad"
TEXT = "model.json"  # member of MODEL: everything but the arrays
SCHEMA = "model/2"
FINITE = ("weights", "space", "vocabulary")  # parts of a model in which no value may be missing
DAMAGE = (
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Entry(dict[str, Any]):
    """A part of a model file, which says what it lacks."""

    def __missing__(self, key: str) -> Any:
        msg = f"the model file is damaged, or was changed: it lacks {key!r}"
        raise ValueError(msg)


def write_model(
    folder: Path, entry: dict[str, Any], *, adata: AnnData | None, overwrite: bool
) -> None:
    """Write a model, and the AnnData where one is given; an interruption leaves nothing half-done.

    Raises
    ------
    FileExistsError
        If the folder exists and `overwrite` is not set.
    OSError
        If it cannot be written to.
    TypeError
        If the entry holds a value of another kind than `to_plain` takes.
    ValueError
        If a weight is NaN or infinite.
    """
    if folder.exists() and not overwrite:
        msg = f"{folder} exists; pass overwrite=True to replace the model in it, or another folder"
        raise FileExistsError(msg)
    arrays: dict[str, np.ndarray] = {}
    plain = to_plain({"schema": SCHEMA, **entry}, arrays)
    missing = _not_finite(arrays)
    lost = [key for key in missing if _must_be_finite(key)]
    if lost:
        msg = (
            f"{some(lost, 6)} of the model hold NaN or infinite values, so it is of no use: train "
            "it again, with a lower learning rate or on other values"
        )
        raise ValueError(msg)
    text = json.dumps({**plain, "missing": missing})
    with staged(folder) as stage:
        np.savez_compressed(stage / MODEL, **arrays)
        with ZipFile(stage / MODEL, "a", ZIP_DEFLATED) as file:
            file.writestr(TEXT, text)
        if adata is not None:
            _h5ad.write(adata, stage / ADATA)
        elif (folder / MODEL).exists():
            (folder / ADATA).unlink(missing_ok=True)  # that of the model which is replaced


def read_model(folder: str | Path) -> dict[str, Any]:
    """Read what `write_model` wrote; only arrays, text and numbers are accepted, never code.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    ValueError
        If the file is damaged, or something else.
    TypeError
        If `folder` is no path.
    """
    if not isinstance(folder, (str, Path)):
        msg = f"a saved model is a folder, given as a path, not {folder!r}"
        raise TypeError(msg)
    path = Path(folder) / MODEL
    if not path.is_file():
        msg = f"there is no {MODEL} in {folder}; model.save(folder) writes it"
        raise FileNotFoundError(msg)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            plain = json.loads(file[TEXT])
            arrays = {key: file[key] for key in file.files if key != TEXT}
        entry = from_plain(plain, arrays)
    except DAMAGE as err:
        msg = (
            f"{path} is no model saved by shoal, or it is damaged: it cannot be read as arrays, "
            "text and numbers"
        )
        raise ValueError(msg) from err
    if not isinstance(entry, dict) or entry.get("schema") != SCHEMA:
        msg = f"{path} is not a model saved by this version of shoal (schema {SCHEMA!r})"
        raise ValueError(msg)
    lost = sorted(set(_not_finite(arrays)) - set(entry.get("missing", ())))
    if lost:
        msg = (
            f"{path}: {some(lost, 6)} hold NaN or infinite values, which were not there when the "
            "model was saved: the file is damaged, or was changed"
        )
        raise ValueError(msg)
    return entry_of(entry)


def entry_of(entry: dict[str, Any]) -> Entry:
    """Return an entry, of a model or of one within it, whose parts say what they lack."""
    return Entry(
        {
            key: Entry(value) if type(value) is dict and key != "state" else value
            for key, value in entry.items()
        }
    )


def _must_be_finite(key: str) -> bool:
    """Whether no value may be missing in an array, of a model or of one within it."""
    where = key.split(".")
    return "state" not in where and not set(FINITE).isdisjoint(where)


def _not_finite(arrays: dict[str, np.ndarray]) -> list[str]:
    """Return the names of the arrays that hold NaN or infinite values."""
    return [
        key
        for key, values in arrays.items()
        if values.dtype.kind in "fc" and not np.isfinite(values).all()
    ]


def as_read(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as it comes back from a file, without writing one."""
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = from_plain(to_plain(entry, arrays), arrays)
    return entry_of(plain)


def saved_adata(folder: Path) -> AnnData | None:
    """Return the AnnData that was saved with a model, if one was."""
    import anndata

    path = folder / ADATA
    if not path.exists():
        return None
    try:
        return anndata.read_h5ad(path)
    except (OSError, *DAMAGE) as err:
        msg = f"{path}, the screen saved with the model, cannot be read: {err}"
        raise ValueError(msg) from err
