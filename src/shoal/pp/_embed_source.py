"""Tables that users hold: rows looked up by name in a DataFrame, a file or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from ..core._table_files import read_file
from ._embed_names import Matched, OtherNames, second_names
from ._vector_files import READERS, by_name
from ._vector_h5ad import is_h5ad, read_vectors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData

Source: TypeAlias = "pd.DataFrame | pd.Series | AnnData | Mapping[str, Any] | str | Path"


@dataclass(frozen=True)
class Vectors:
    """Vectors by key (a gene, a drug), and why other keys have none.

    Attributes
    ----------
    values
        (n_found, d) floats, index = key.
    absent
        Key -> why it has no vector.
    known
        Keys of the source, among which messages look for a name like a missing one.
    fitted_on, n_fit
        Cells of the screen that the vectors were fitted on (``"none"``, ``"control"``, ``"train"``,
        ``"all"``), and their number.
    smiles
        Key -> canonical SMILES, of drugs.
    matched
        Which names the keys have in the source, if that was looked for.
    origin
        Where the vectors come from, if not from a source of the user's.
    """

    values: pd.DataFrame
    absent: Mapping[str, str] = field(default_factory=dict)
    known: Collection[str] = ()
    fitted_on: str = "none"
    n_fit: int = 0
    smiles: Mapping[str, str] = field(default_factory=dict)
    matched: Matched | None = None
    origin: str = ""


def from_table(
    source: Source,
    keys: Sequence[str],
    *,
    others: OtherNames | None = None,
    slot: str | None = None,
) -> Vectors:
    """Look the vectors up; a row of zeros, or one with missing values, is no vector.

    Parameters
    ----------
    source
        Vectors by name.
    keys
        Names that are looked for.
    others
        Other names of genes in the screen.
    slot
        Slot of an AnnData or an h5ad file.

    Raises
    ------
    ValueError
        If a column is not numeric, or there is no vector at all.
    """
    others = OtherNames() if others is None else others
    frame, second = second_names(named_rows(source, keys, others=others, slot=slot))
    if not frame.size:
        rows, columns = frame.shape
        what = f"it has {rows} rows and {columns} columns of numbers"
        msg = f"source: {describe(source)} holds no vectors: {what}"
        raise ValueError(msg)
    matched = others.match(keys, frame.index, second)
    found = rows_of(frame, list(matched.called.values()))
    found = found.set_axis(pd.Index(list(matched.called), dtype=object), axis=0)
    text = [str(c) for c, dtype in found.dtypes.items() if not _is_real(dtype)]
    if text:
        hint = ", or read it as edges with method='network'" if "target" in text else ""
        msg = (
            f"source: {len(text)} of its {found.shape[1]} columns are not numbers "
            f"({', '.join(text[:6])}); drop them{hint}"
        )
        raise ValueError(msg)
    values = found.to_numpy(dtype=np.float64)
    with np.errstate(over="ignore"):
        stored = values.astype(np.float32)  # as embeddings are
    finite, zero = np.isfinite(values).all(axis=1), ~values.any(axis=1)
    fits = np.isfinite(stored).all(axis=1) & stored.any(axis=1)
    reasons = {
        "its vector holds missing or infinite values": ~finite,
        "its vector is all zeros": zero,
        "its values are too large or too small for single precision": finite & ~zero & ~fits,
    }
    absent = dict(matched.absent)
    for reason, at in reasons.items():
        absent |= dict.fromkeys(found.index[at], reason)
    good = finite & fits
    table = pd.DataFrame(values[good], index=found.index[good])
    return Vectors(table, absent, frame.index, matched=matched)


def _is_real(dtype: Any) -> bool:
    numeric = pd.api.types.is_numeric_dtype(dtype)
    return numeric and not pd.api.types.is_complex_dtype(dtype)


def look_up(source: Source, keys: Sequence[str]) -> tuple[pd.DataFrame, pd.Index]:
    """Return the rows of the `keys` that the source holds (index = key), and all that it holds.

    Names are the index, or the first column if that is text and the index is but numbers.

    Raises
    ------
    ValueError
        If a key has several rows.
    """
    frame = named_rows(source, keys)
    return rows_of(frame, keys), frame.index


def named_rows(
    source: Source,
    keys: Sequence[str],
    *,
    others: OtherNames | None = None,
    slot: str | None = None,
) -> pd.DataFrame:
    """Return all rows of a source, by name.

    Some of the `keys`, or their other names, must be names. They tell an index of names from row
    numbers, and rows of an AnnData from its columns.
    """
    if others is not None:
        keys = [*keys, *(name for key in keys for name in others.of.get(key, ()))]
    frame = _as_frame(source, keys, slot)
    known = _names(frame.index, "its index")
    as_column = frame.shape[1] > 1 and not pd.api.types.is_numeric_dtype(frame.iloc[:, 0])
    if as_column and (isinstance(frame.index, pd.RangeIndex) or not known.isin(keys).any()):
        column = frame.iloc[:, 0]
        return frame.iloc[:, 1:].set_axis(_names(column, f"its column {column.name!r}"), axis=0)
    return frame.set_axis(known, axis=0)


def _names(column: Any, where: str) -> pd.Index:
    """Return names as text, without blanks at their ends.

    Raises
    ------
    ValueError
        If a name is missing.
    """
    names = pd.Index(column)
    text = names.astype(str).str.strip()
    missing = np.flatnonzero(names.isna() | (text == ""))
    if len(missing):
        rows = ", ".join(str(i + 1) for i in missing[:6])
        msg = (
            f"source: {len(missing)} rows have no name in {where} (row {rows} of {len(names)}); "
            "drop them, or give them names"
        )
        raise ValueError(msg)
    return text


def rows_of(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the `keys` that a table by name holds, in their order.

    Raises
    ------
    ValueError
        If a key has several rows.
    """
    known = frame.index
    twice = sorted(set(known[known.duplicated()]) & set(keys))
    if twice:
        msg = f"source holds several rows for {', '.join(map(repr, twice[:12]))}; keep one of each"
        raise ValueError(msg)
    first = pd.Series(np.arange(len(known)), index=known)
    held = [key for key in keys if key in first.index]
    return frame.iloc[first.loc[held].to_numpy(dtype=np.int64)].set_axis(
        pd.Index(held, dtype=object), axis=0
    )


def describe(source: Source | None) -> str:
    """Say in a few words what a source is, without the folder it lies in."""
    if source is None or isinstance(source, str | Path):
        return "" if source is None else Path(source).name
    if isinstance(source, list | tuple):
        return ", ".join(map(str, source))
    return f"{type(source).__name__} of {len(source)}"


def _as_frame(source: Source, keys: Sequence[str], slot: str | None) -> pd.DataFrame:
    if is_h5ad(source):
        return read_vectors(source, keys, slot)
    if slot is not None:
        msg = f"slot={slot!r} is a place in an AnnData or an h5ad file, and source is neither"
        raise ValueError(msg)
    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, pd.Series):
        return source.to_frame()
    if isinstance(source, str | Path):
        return read_file(Path(source), also=READERS)
    if not isinstance(source, Mapping):
        msg = (
            "source must be a DataFrame, a mapping of names, an AnnData or a path, not "
            f"{type(source).__name__}"
        )
        raise TypeError(msg)
    if source and all(isinstance(value, str) for value in source.values()):  # such as SMILES
        texts = [[value] for value in source.values()]
        return pd.DataFrame(texts, index=pd.Index(map(str, source), dtype=object))
    return by_name(source, f"a {type(source).__name__}")
