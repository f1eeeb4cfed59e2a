"""Numbers that stand for names: of groups, and of the same name in two lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import key_in, some

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike

    from .._typing import Ints

BETWEEN = " | "  # between the parts of a name, such as a perturbation and its context


def grouped(**columns: ArrayLike) -> tuple[Ints, pd.DataFrame]:
    """Number the distinct rows of some columns; NaN equals NaN.

    Returns
    -------
    code
        (n,) number of the distinct row that each row is.
    keys
        The distinct rows, sorted.
    """
    frame = pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})
    groups = frame.groupby(list(columns), dropna=False, sort=True)
    code = groups.ngroup().to_numpy().astype(np.int64)
    return code, frame.iloc[np.unique(code, return_index=True)[1]].reset_index(drop=True)


def members(code: Ints) -> list[Ints]:
    """Return the positions of every code that occurs, in the order of the codes."""
    if not len(code):
        return []
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def recode(codes: Ints, names: tuple[str, ...], known: tuple[str, ...]) -> Ints:
    """Turn positions in `names` into positions in `known`; -1 where a name is not known."""
    position = {name: i for i, name in enumerate(known)}
    lookup = np.array([*(position.get(name, -1) for name in names), -1], dtype=np.int64)
    return lookup[codes]


def places(names: Iterable[str], wanted: Iterable[str]) -> Ints:
    """Return the position of each wanted name among names that are there once; -1 for none.

    An index that was cut out of one with repeated names counts as repeated in pandas, which then
    finds nothing in it. So a fresh one is made.
    """
    index = pd.Index(np.asarray(list(names), dtype=object))
    found: Ints = index.get_indexer(pd.Index(np.asarray(list(wanted), dtype=object)))
    return found


def codes_of(adata: AnnData, key: str | None) -> tuple[tuple[str, ...], Ints]:
    """Read a column of ``obs`` as text.

    Parameters
    ----------
    adata
        Screen.
    key
        Column; ``None`` for a column that the screen does not have.

    Returns
    -------
    names
        The distinct values, sorted; one empty name if `key` is ``None``.
    code
        (n_obs,) position in `names`, -1 where the value is missing.

    Raises
    ------
    KeyError
        If there is no such column.
    """
    if key is None:
        return ("",), np.zeros(adata.n_obs, dtype=np.int64)
    key_in(key, adata.obs.columns, where="adata.obs")
    text = adata.obs[key].astype(object).map(str, na_action="ignore")
    code, names = pd.factorize(text, sort=True, use_na_sentinel=True)
    return tuple(map(str, names)), np.asarray(code, dtype=np.int64)


def joined(table: pd.DataFrame) -> tuple[Ints, list[str]]:
    """Number the distinct rows of some columns, whose values are read as text.

    Rows are told apart by their columns, not by their names: ``"a | b"`` beside ``"c"`` is another
    row than ``"a"`` beside ``"b | c"``.

    Returns
    -------
    code
        (n,) number of the distinct row that each row is.
    names
        The distinct rows as text, ``"a | b"``, sorted; a missing value is ``"nan"``.
    """
    code, keys = grouped(**{str(name): table[name].astype(object).map(str) for name in table})
    names = keys.agg(BETWEEN.join, axis=1).to_numpy(dtype=object)
    order = np.argsort(names, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[code], [str(name) for name in names[order]]


def check_distinct(names: Sequence[str], parts: Iterable[Sequence[str]]) -> None:
    """Raise ``ValueError`` if two things that differ in their parts have one name.

    Parameters
    ----------
    names
        Names, of parts that are joined by `BETWEEN`.
    parts
        The parts of each.
    """
    first: dict[str, Sequence[str]] = {}
    for name, own in zip(names, parts, strict=True):
        other = first.setdefault(name, own)
        if tuple(other) != tuple(own):
            msg = (
                f"{name!r} would be the name of both {some(other)} and {some(own)}, since labels "
                f"hold {BETWEEN!r}, which joins perturbation, context, dose and guide: write it "
                "otherwise in one of the columns, as in adata.obs[column] = "
                f"adata.obs[column].astype(str).str.replace({BETWEEN!r}, '/')"
            )
            raise ValueError(msg)
