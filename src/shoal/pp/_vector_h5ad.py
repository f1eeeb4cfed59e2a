"""Vectors in an AnnData or an h5ad file: which slot holds them, and their table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import pandas as pd
from scipy import sparse

from .._h5ad import read
from .._logging import logger
from .._validate import key_in, some

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDES = {"obsm": "obs_names", "varm": "var_names"}


def is_h5ad(source: Any) -> bool:
    """Whether a source is an AnnData, or the path of an h5ad file."""
    if isinstance(source, ad.AnnData):
        return True
    return isinstance(source, str | Path) and Path(source).suffix.lower() == ".h5ad"


def read_vectors(
    source: ad.AnnData | str | Path, names: Sequence[str], slot: str | None
) -> pd.DataFrame:
    """Return the vectors of an AnnData or an h5ad file, index = name.

    Parameters
    ----------
    source
        The AnnData, or the path of the file.
    names
        Names of which some should have a vector. They tell whether rows or columns are names.
    slot
        ``"X"``, ``"obsm/KEY"`` or ``"varm/KEY"``. ``None`` takes the only slot of vectors beside
        the names, or ``X`` if there is none and the rows are the names.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or several slots could be meant, or none.
    KeyError
        If there is no such slot.
    """
    if isinstance(source, ad.AnnData):
        return _table(source, names, slot, "source")
    path = Path(source)
    if not path.is_file():
        msg = f"source: there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    try:
        held = read(path, backed=True)
    except (OSError, KeyError, TypeError, ValueError) as err:
        msg = f"source: {path.name!r} cannot be read as an h5ad file: {err}"
        raise ValueError(msg) from err
    try:
        return _table(held, names, slot, path.name)
    finally:
        held.file.close()


def _table(held: ad.AnnData, names: Sequence[str], slot: str | None, file: str) -> pd.DataFrame:
    slot = _recognised(held, names, file) if slot is None else slot
    side, _, key = slot.partition("/")
    if slot == "X":
        if _matrix(held) is None:
            msg = f"source: {file} has no X; name the slot that holds the vectors with slot="
            raise ValueError(msg)
        values, index = held.X[:], held.obs_names
    elif side in SIDES and key:
        key_in(key, list(getattr(held, side)), where=f"{file}: {side}")
        values, index = getattr(held, side)[key], getattr(held, SIDES[side])
    else:
        msg = f"slot={slot!r} is not known; write 'X', 'obsm/KEY' or 'varm/KEY'"
        raise ValueError(msg)
    if len(values.shape) != 2:
        msg = f"source: {slot} of {file} has the shape {values.shape}; vectors are a table (n, d)"
        raise ValueError(msg)
    if isinstance(values, pd.DataFrame):
        return values.set_axis(index, axis=0)
    return pd.DataFrame(values.toarray() if sparse.issparse(values) else values, index=index)


def _recognised(held: ad.AnnData, names: Sequence[str], file: str) -> str:
    """Return the slot whose rows bear the names, if there is but one; say which it is."""
    wanted = set(names)
    rows, columns = (len(wanted.intersection(i)) for i in (held.obs_names, held.var_names))
    side = "varm" if columns > rows else "obsm"
    slots = [f"{side}/{key}" for key in getattr(held, side)]
    if len(slots) > 1:
        msg = (
            f"source: {file} holds vectors of {SIDES[side]} in {some(slots)}; say which with "
            f"slot=, such as slot={slots[0]!r}"
        )
        raise ValueError(msg)
    if not slots and (side == "varm" or _matrix(held) is None):
        msg = (
            f"source: {file} holds no vectors of {SIDES[side]}: its {side} is empty"
            f"{' and it has no X' if side == 'obsm' else ''}; name the slot with slot= ('X', "
            "'obsm/KEY' or 'varm/KEY')"
        )
        raise ValueError(msg)
    found, level = (slots[0], logging.INFO) if slots else ("X", logging.WARNING)
    logger.log(level, "vectors are taken from %s of %s, by %s", found, file, SIDES[side])
    return found


def _matrix(held: ad.AnnData) -> Any:
    """Return ``X``, or ``None`` if there is none; a file without one raises when it is asked."""
    try:
        return held.X
    except KeyError:
        return None
