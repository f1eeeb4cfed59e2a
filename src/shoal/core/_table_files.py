"""Tables in files: text, parquet, and arrays of names and vectors."""

from __future__ import annotations

import warnings
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from .._validate import one_of, some

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": r"\s+"}
PACKED = {".gz", ".bz2", ".xz", ".zip"}


def read_file(
    path: Path, *, also: Mapping[str, Callable[[Path], pd.DataFrame]] = MappingProxyType({})
) -> pd.DataFrame:
    """Read csv, tsv, txt (separated by white space), parquet, or npz of names and vectors.

    Text files may be compressed.

    Parameters
    ----------
    path
        The file.
    also
        Further endings, and who reads a file with such a one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is of another kind, or damaged.
    ImportError
        If parquet cannot be read here.
    """
    if not path.is_file():
        msg = f"source: there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in PACKED]
    kind = suffixes[-1] if suffixes else ""
    known = (*SEPARATORS, ".parquet", ".npz", *also)
    one_of(kind, known, name=f"source: the ending of {path.name!r}")
    if kind in also:
        return also[kind](path)
    try:
        if kind == ".npz":
            arrays = _arrays_of(path)
        elif kind == ".parquet":
            return pd.read_parquet(path)
        else:
            return _read_text(path, SEPARATORS[kind])
    except ImportError as err:
        msg = f"pandas cannot read {path.name!r} without a parquet library: pip install pyarrow"
        raise ImportError(msg) from err
    except (OSError, EOFError, LookupError, TypeError, ValueError, BadZipFile, zlib.error) as err:
        msg = f"source: {path.name!r} cannot be read as a {kind} file: {why_not(err)}"
        raise ValueError(msg) from err
    return _names_and_vectors(arrays, path.name)


def why_not(err: BaseException) -> str:
    """Return why a table cannot be read, with what to do if its text is in another encoding."""
    if isinstance(err, UnicodeDecodeError):
        return "it is no text in UTF-8; save it anew, in Excel as 'CSV UTF-8'"
    return str(err).strip()


def joined_by(columns: pd.Index, sep: str) -> str:
    """Return what joins the columns of a table instead of `sep`; empty if nothing else seems to."""
    if len(columns) != 1:
        return ""
    header = str(columns[0])
    return next((one for one in (";", "\t", ",") if one in header and one not in sep), "")


def _read_text(path: Path, sep: str) -> pd.DataFrame:
    """Read a table whose first column holds names, of which ``NA`` may be one."""
    columns = pd.read_csv(path, sep=sep, nrows=0, index_col=False).columns
    first, other = columns[0], joined_by(columns, sep)
    if other:
        own = "blanks" if sep == SEPARATORS[".txt"] else repr(sep)
        msg = f"its columns are joined by {other!r}; write it with {own}"
        raise ValueError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(path, sep=sep, dtype={first: str}, index_col=False)
        except pd.errors.ParserWarning as err:
            msg = "its header has fewer names than its rows have values; name every column"
            raise ValueError(msg) from err
    header = pd.read_csv(path, sep=sep, header=None, nrows=1, dtype=str).iloc[0].tolist()
    if not _are_names(header):
        msg = f"its first row, {some(header, 4)}, holds values: name every column"
        raise ValueError(msg)
    named: dict[str, Any] = {
        "usecols": [first],
        "dtype": str,
        "na_filter": False,
        "index_col": False,
    }
    table[first] = pd.read_csv(path, sep=sep, **named)[first].to_numpy(dtype=object)
    return table


def _are_names(header: list[Any]) -> bool:
    """Return whether the first row of a file names its columns, and is no row of values.

    Numbers are names if they number columns: whole, and rising.
    """
    numbers = pd.to_numeric(pd.Series(header[1:], dtype=object), errors="coerce").dropna()
    return bool((numbers % 1 == 0).all() and (np.diff(numbers) > 0).all())


def _arrays_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _names_and_vectors(arrays: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return a table of one array of names and one of vectors (n, d), or of an array per name."""
    several = list(arrays.values())
    are_vectors = all(a.ndim == 1 and a.dtype.kind in "fiub" for a in several)
    if are_vectors and len({len(a) for a in several}) == 1:
        return pd.DataFrame(np.stack(several), index=pd.Index(list(arrays), dtype=object))
    names = [a for a in arrays.values() if a.ndim == 1 and a.dtype.kind in "US"]
    tables = [a for a in arrays.values() if a.ndim == 2 and a.dtype.kind in "fiub"]
    if len(names) != 1 or len(tables) != 1 or len(names[0]) != len(tables[0]):
        shapes = ", ".join(f"{key!r} {a.dtype} {a.shape}" for key, a in arrays.items())
        msg = (
            f"{name!r} must hold one array of names (n,) and one of vectors (n, d), or a vector of "
            f"the same length for every name; it holds {shapes}"
        )
        raise ValueError(msg)
    return pd.DataFrame(tables[0], index=pd.Index(names[0].astype(str), dtype=object))
