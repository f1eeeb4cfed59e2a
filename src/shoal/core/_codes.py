"""Numbers that stand for names: of groups, and of the same name in two lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import key_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import ArrayLike

    from .._typing import Ints


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


def joined(table: pd.DataFrame) -> pd.Series:
    """Return the values of every row as one text, ``"a | b"``; a missing value is ``"nan"``."""
    text, *others = (table[name].astype(object).map(str) for name in table)
    for other in others:
        text = text + " | " + other
    return text
