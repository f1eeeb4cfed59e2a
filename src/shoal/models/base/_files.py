"""The file of a saved model: a zip of arrays and JSON, read without running any code."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np

from ... import _h5ad
from ..._staging import staged
from ._plain import from_plain, to_plain

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

MODEL, ADATA = "model.npz", "adata.h5ad"
TEXT = "model.json"  # member of MODEL: everything but the arrays
SCHEMA = "model/2"


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
    """
    if folder.exists() and not overwrite:
        msg = f"{folder} exists; pass overwrite=True to replace the model in it, or another folder"
        raise FileExistsError(msg)
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(to_plain({"schema": SCHEMA, **entry}, arrays))
    with staged(folder) as stage:
        np.savez_compressed(stage / MODEL, **arrays)
        with ZipFile(stage / MODEL, "a", ZIP_DEFLATED) as file:
            file.writestr(TEXT, text)
        if adata is not None:
            _h5ad.write(adata, stage / ADATA)
        elif (folder / MODEL).exists():
            (folder / ADATA).unlink(missing_ok=True)  # that of the model which is replaced


def read_model(folder: Path) -> dict[str, Any]:
    """Read what `write_model` wrote; only arrays, text and numbers are accepted, never code.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    ValueError
        If the file is damaged, or something else.
    """
    path = folder / MODEL
    if not path.exists():
        msg = f"there is no {MODEL} in {folder}; model.save(folder) writes it"
        raise FileNotFoundError(msg)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            plain = json.loads(file[TEXT])
            arrays = {key: file[key] for key in file.files if key != TEXT}
        entry = from_plain(plain, arrays)
    except (BadZipFile, zlib.error, EOFError, LookupError, TypeError, ValueError) as err:
        msg = (
            f"{path} is no model saved by shoal, or it is damaged: it cannot be read as arrays, "
            "text and numbers"
        )
        raise ValueError(msg) from err
    if not isinstance(entry, dict) or entry.get("schema") != SCHEMA:
        msg = f"{path} is not a model saved by this version of shoal (schema {SCHEMA!r})"
        raise ValueError(msg)
    return entry


def as_read(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as it comes back from a file, without writing one."""
    arrays: dict[str, np.ndarray] = {}
    plain: dict[str, Any] = from_plain(to_plain(entry, arrays), arrays)
    return plain


def saved_adata(folder: Path) -> AnnData | None:
    """Return the AnnData that was saved with a model, if one was."""
    import anndata

    return anndata.read_h5ad(folder / ADATA) if (folder / ADATA).exists() else None
