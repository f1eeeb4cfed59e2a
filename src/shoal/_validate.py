"""Checks that fail early. Messages name the bad value, the valid ones and the fix."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData
    from mudata import MuData
    from pandas import DataFrame, Index

    from ._typing import Bools


def one_of(value: object, choices: Collection[Any], *, name: str) -> None:
    """Raise ``ValueError`` unless `value` is one of `choices`."""
    if not _among(value, choices):
        close = near(value, choices) if isinstance(value, str) else []
        guess = f". Did you mean {some(close)}?" if close else ""
        msg = f"{name}={shown(value)} is not known; choose one of {some(choices)}{guess}"
        raise ValueError(msg)


def key_in(key: str, available: Collection[str], *, where: str, hint: str = "") -> None:
    """Raise ``KeyError`` unless a key is available.

    Parameters
    ----------
    key, available
        The key, and those that there are.
    where
        Name of the slot in the message, such as ``"adata.obs"``.
    hint
        Sentence at the end of the message.
    """
    if not isinstance(key, Hashable):
        msg = f"{shown(key)} is no name of something in {where}, which holds {some(available)}"
        raise TypeError(msg)
    if not _among(key, available):
        close = near(key, available)
        guess = f" Did you mean {some(close)}?" if close else ""
        msg = f"{key!r} is not in {where}, which holds {some(available)}.{guess}"
        if hint:
            msg += f" {hint}"
        raise KeyError(msg)


def near(name: object, available: Collection[Any], most: int = 3) -> list[str]:
    """Return the names that are spelled most like one, whatever their case; the nearest first."""
    known: dict[str, list[str]] = {}
    for other in map(str, available):
        known.setdefault(other.strip().casefold(), []).append(other)
    found = get_close_matches(str(name).strip().casefold(), list(known), n=most)
    return [one for folded in found for one in known[folded]][:most]


def positive(value: object, *, name: str) -> None:
    """Raise unless `value` is a finite number above zero.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is 0 or below, NaN or infinite.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        msg = f"{name} must be a number above 0, not {value!r}"
        raise TypeError(msg)
    if not 0 < value < np.inf:
        msg = f"{name} must be {'finite' if value == np.inf else 'above 0'}, not {value!r}"
        raise ValueError(msg)


def whole(value: object, *, name: str, least: int = 1) -> int:
    """Return a whole number of at least `least` as an int: 3.0 is one, and small types overflow.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it has a fraction, is not finite or is too small.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        msg = f"{name} must be a whole number of at least {least}, not {value!r}"
        raise TypeError(msg)
    if not (-np.inf < value < np.inf and value == int(value) and value >= least):
        msg = f"{name} must be a whole number of at least {least}, not {value!r}"
        raise ValueError(msg)
    return int(value)


def between(value: object, low: float, high: float, *, name: str, ends: bool = False) -> None:
    """Raise unless `value` is a number between `low` and `high`; the ends are allowed if `ends`.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it is not finite or lies outside.
    """
    which = "from" if ends else "between"
    msg = f"{name} must be a number {which} {low} {'to' if ends else 'and'} {high}, not {value!r}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(msg)
    if not (low <= value <= high if ends else low < value < high):
        raise ValueError(msg)


def flag(value: object, *, name: str) -> None:
    """Raise ``TypeError`` unless `value` is ``True`` or ``False``."""
    if not isinstance(value, (bool, np.bool_)):
        msg = f"{name} must be True or False, not {value!r}"
        raise TypeError(msg)


def text(value: object, *, name: str) -> None:
    """Raise ``TypeError`` unless `value` is a text."""
    if not isinstance(value, str):
        msg = f"{name} must be a text, not {shown(value)}"
        raise TypeError(msg)


def check_folder(value: object, *, name: str) -> None:
    """Raise ``TypeError`` unless `value` is a path, or ``None``."""
    if not isinstance(value, str | PathLike | None):
        msg = f"{name} must be a path, not {shown(value)}"
        raise TypeError(msg)


def file_key(value: object, *, name: str) -> None:
    """Raise unless `value` can name something in an h5ad file.

    Raises
    ------
    TypeError
        If it is no text.
    ValueError
        If it is empty, or holds ``/`` or a character that cannot be printed.
    """
    text(value, name=name)
    if not str(value).strip() or "/" in str(value) or not str(value).isprintable():
        msg = (
            f"{name}={value!r} cannot be a key of an h5ad file: give a text that is not empty, "
            "without '/' and line breaks"
        )
        raise ValueError(msg)


def numbers_in(table: DataFrame, column: str, *, name: str) -> None:
    """Raise ``ValueError`` unless a column of a table holds numbers."""
    known = [str(one) for one, dtype in table.dtypes.items() if dtype.kind in "iuf"]
    if column not in known:
        msg = f"{name}={column!r} holds no numbers; choose one of {some(known, len(known))}"
        raise ValueError(msg)


def listed(values: object, *, name: str, empty: bool = True) -> list[str]:
    """Return names as a list of texts: of one name, of several, or of none for ``None``.

    Numbers in a list are names too: labels are read as text.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If a list is empty and may not be.
    """
    if values is None:
        return []
    values = without_axes(values)
    if isinstance(values, str):
        return [values]
    several = [] if isinstance(values, bytes) or not isinstance(values, Iterable) else list(values)
    wrong = any(isinstance(v, bool) or not isinstance(v, (str, int, float)) for v in several)
    table = hasattr(values, "columns")
    if wrong or table or isinstance(values, bytes) or not isinstance(values, Iterable):
        given = "a table" if table else shown(values)
        msg = f"{name} must be a text or a list of texts, not {given}"
        raise TypeError(msg)
    if not several and not empty:
        msg = f"{name} is empty; name at least one"
        raise ValueError(msg)
    return [str(value) for value in several]


def unique_genes(adata: AnnData, *, name: str = "adata") -> None:
    """Raise ``ValueError`` unless every gene has a name of its own."""
    _unique(adata.var_names, f"{name}.var_names", "genes")


def unique_cells(adata: AnnData, *, name: str = "adata") -> None:
    """Raise ``ValueError`` unless every row has a name of its own."""
    _unique(adata.obs_names, f"{name}.obs_names", "rows")


def _unique(names: Index, slot: str, what: str) -> None:
    if not names.duplicated().any():  # `is_unique` of a slice may be that of what was sliced
        return
    counts = names.value_counts()
    repeated = counts[counts > 1]
    msg = (
        f"{slot} are not unique: {len(repeated)} names stand for several {what}, such as "
        f"{repeated.index[0]!r} ({repeated.iloc[0]} times). Call {slot}_make_unique()"
    )
    raise ValueError(msg)


def get_adata(data: AnnData | MuData, mod: str | None) -> AnnData:
    """Return the AnnData to work on: `data` itself, or its modality `mod`.

    Raises
    ------
    ValueError
        If a MuData comes without `mod`, or an AnnData with one.
    KeyError
        If the MuData has no such modality.
    TypeError
        If `data` is neither, or its table of cells is not in memory.
    """
    modalities = getattr(data, "mod", None)
    if isinstance(modalities, Mapping):
        if mod is None:
            names = some(list(modalities))
            msg = f"data is a MuData: say which modality with mod=..., one of {names}"
            raise ValueError(msg)
        key_in(mod, list(modalities), where="mdata.mod")
        return modalities[mod]
    _check_adata(data, "expected an AnnData (or a MuData with mod=...)")
    if mod is not None:
        msg = f"mod={mod!r} was given but data is an AnnData; leave mod out"
        raise ValueError(msg)
    return data


def check_adata(data: object, *, name: str = "adata") -> None:
    """Raise ``TypeError`` unless an argument is an AnnData whose table of cells is in memory."""
    modalities = getattr(data, "mod", None)
    if isinstance(modalities, Mapping):
        msg = f"{name} is a MuData: pass one of its modalities, mdata[{next(iter(modalities))!r}]"
        raise TypeError(msg)
    _check_adata(data, f"{name} must be an AnnData")


def cell_mask(values: Any, adata: AnnData, *, name: str) -> Bools:
    """Return (n_obs,) which cells a mask chooses.

    Raises
    ------
    TypeError
        If it holds anything but true and false.
    ValueError
        If it has another length, or an index with the names of the cells in another order.
    """
    from pandas import RangeIndex

    found, index = np.asarray(values), getattr(values, "index", None)
    if found.dtype == object and all(isinstance(value, bool | np.bool_) for value in found.flat):
        found = found.astype(bool)
    if found.dtype != bool:
        msg = f"{name} must be a mask of true and false, one value a cell, not {shown(values)}"
        raise TypeError(msg)
    if found.shape != (adata.n_obs,):
        msg = (
            f"{name} is a mask of shape {found.shape}; it must be ({adata.n_obs},), one value a "
            "cell"
        )
        raise ValueError(msg)
    named = hasattr(index, "equals") and not isinstance(index, RangeIndex)
    if named and not index.equals(adata.obs_names):
        msg = (
            f"{name} is a mask whose index is not adata.obs_names: put it in their order, with "
            f"{name}=mask.loc[adata.obs_names], or pass mask.to_numpy() if it is in that order "
            "already"
        )
        raise ValueError(msg)
    return found


def _check_adata(data: object, wanted: str) -> None:
    from anndata import AnnData
    from pandas import DataFrame

    if not isinstance(data, AnnData):
        msg = f"{wanted}, not {type(data).__name__}"
        if isinstance(data, (str, PathLike)):
            msg += f": read the file first, adata = sh.io.read({str(data)!r})"
        raise TypeError(msg)
    if not isinstance(data.obs, DataFrame):
        msg = (
            f"obs is a {type(data.obs).__name__}, as anndata.experimental.read_lazy gives it; only "
            "the matrix may be lazy: AnnData(lazy.X, obs=lazy.obs.to_memory(), "
            "var=lazy.var.to_memory())"
        )
        raise TypeError(msg)


def is_auto(value: object) -> bool:
    """Return whether a value is the text ``"auto"``; an array is none, and compares by element."""
    return isinstance(value, str) and value == "auto"


def without_axes(value: object) -> object:
    """Return the one value of an array without axes, which looks like a list and is none."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _among(value: object, choices: Collection[Any]) -> bool:
    """Return whether a value is one of some; what cannot be compared, as an array, is not."""
    try:
        return isinstance(value, Hashable) and bool(value in choices)
    except (TypeError, ValueError):  # pandas.NA equals nothing, not even no choice
        return False


def shown(value: object, most: int = 80) -> str:
    """Return a value as a message shows it: in one line, and cut off if it is long."""
    line = " ".join(repr(value).split())
    return line if len(line) <= most else f"{line[:most]}... ({type(value).__name__})"


def some(values: Collection[Any], most: int = 12) -> str:
    """Return the first of some values for a message, and how many more there are."""
    plain = [v.item() if isinstance(v, np.generic) else v for v in list(values)[:most]]
    told = [repr(v) for v in plain]
    rest = len(values) - len(told)
    return (", ".join(told) + (f" and {rest} more" if rest > 0 else "")) or "nothing"
