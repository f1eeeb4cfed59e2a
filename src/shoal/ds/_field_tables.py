"""The tables of fields and of centres: which file shows which cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import key_in, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Ints

PLACE = ("y", "x")


def check_tables(fields: pd.DataFrame, centres: pd.DataFrame) -> None:
    """Raise unless both tables have what is needed."""
    for name, table, needed in (("fields", fields, ("path",)), ("centres", centres, PLACE)):
        if not isinstance(table, pd.DataFrame):
            msg = f"{name} must be a table (pandas.DataFrame), not {type(table).__name__}"
            raise TypeError(msg)
        for column in needed:
            key_in(column, list(table.columns), where=name)
        if not len(table):
            msg = f"{name} has no rows"
            raise ValueError(msg)
    place = centres[list(PLACE)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(place).all(axis=1)
    if bad.any():
        msg = (
            f"{bad.sum()} cells have no centre (y, x as numbers), such as "
            f"{some(list(centres.index[bad]), 3)}: leave them out"
        )
        raise ValueError(msg)
    if centres.index.duplicated().any():
        msg = "the index of centres names the cells, and some names repeat: reset_index(drop=True)"
        raise ValueError(msg)


def sites_of(fields: pd.DataFrame, centres: pd.DataFrame) -> tuple[list[dict[str, str]], Ints]:
    """Return channel -> path of every site, and the (n,) site of every cell.

    Raises
    ------
    ValueError
        If a site lacks a channel or has one twice, or a cell has no site.
    """
    keys = _keys(fields, centres)
    by_channel = "channel" in fields
    channel = fields["channel"].astype(str) if by_channel else pd.Series("", index=fields.index)
    own, known = _labels(fields, keys), _labels(centres, keys)
    sites: dict[tuple[str, ...], dict[str, str]] = {}
    for place, name, path in zip(own, channel, fields["path"], strict=True):
        files = sites.setdefault(place, {})
        if name in files:
            msg = (
                f"two files show {_shown(keys, place)}{f', channel {name!r}' if name else ''}: "
                f"{files[name]!r} and {str(path)!r}. Add the column that tells them apart to both "
                "tables (site, say), or 'channel' to fields"
            )
            raise ValueError(msg)
        files[name] = str(path)
    names = list(next(iter(sites.values())))
    for place, files in sites.items():
        if set(files) != set(names):
            msg = (
                f"{_shown(keys, place)} has files of the channels {some(sorted(files))}, and "
                f"other sites of {some(sorted(names))}"
            )
            raise ValueError(msg)
    position = {place: i for i, place in enumerate(sites)}
    site = np.array([position.get(place, -1) for place in known], dtype=np.int64)
    if (site < 0).any():
        lost = sorted({_shown(keys, place) for place in known if place not in position})
        msg = (
            f"{(site < 0).sum()} cells are in fields that are not in the table of fields: "
            f"{some(lost, 3)}"
        )
        raise ValueError(msg)
    return [{name: files[name] for name in names} for files in sites.values()], site


def _keys(fields: pd.DataFrame, centres: pd.DataFrame) -> list[str]:
    """Return the columns that both tables have, which say what field a cell is in.

    Raises
    ------
    ValueError
        If there are none, and several fields.
    """
    keys = [str(c) for c in fields.columns if c in centres.columns and c not in ("path", *PLACE)]
    keys = [key for key in keys if key != "channel"]
    if not keys and fields.get("channel", fields["path"]).duplicated().any() | (
        "channel" not in fields and len(fields) > 1
    ):
        msg = (
            f"fields and centres have no column in common that says which field a cell is in (such "
            f"as plate, well, site): fields has {some(list(fields.columns))}, centres has "
            f"{some(list(centres.columns))}"
        )
        raise ValueError(msg)
    return keys


def _labels(table: pd.DataFrame, keys: list[str]) -> list[tuple[str, ...]]:
    return (
        list(zip(*(table[key].astype(str) for key in keys), strict=True))
        if keys
        else ([()] * len(table))
    )


def _shown(keys: Sequence[str], place: Sequence[str]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in zip(keys, place, strict=True)) or "the field"


def obs_of(fields: pd.DataFrame, centres: pd.DataFrame, site: Ints) -> pd.DataFrame:
    """Return the columns of the cells, and those of their fields."""
    keys = _keys(fields, centres)
    obs = centres.copy()
    obs.index = obs.index.astype(str)
    more = [c for c in fields.columns if c not in centres.columns and c not in ("path", "channel")]
    first = fields.assign(_site=pd.factorize(pd.Series(_labels(fields, keys), dtype=object))[0])
    first = first.drop_duplicates("_site").set_index("_site")
    for column in more:
        obs[str(column)] = first[column].reindex(site).to_numpy()
    return obs
