"""The slots of a result: who wrote them, and how they are written, all or none.

A slot is named ``"obs/coherence"``. What shoal wrote is known from ``uns``: a result has a schema,
and under ``writes`` the names of its slots, one a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._keys import SCREEN
from ._screen import Screen
from ._view import materialize_view

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from anndata import AnnData

WRITES = "writes"  # in an entry of uns: the slots of the result
ABSENT = object()


def written(adata: AnnData, key: str, schemas: Iterable[str]) -> set[str]:
    """Return the slots of a result that one of our functions wrote; none if it did not.

    Parameters
    ----------
    adata
        Object that may hold the result.
    key
        Key of the result in ``uns``.
    schemas
        Layouts that the function writes; their number does not matter.
    """
    entry = adata.uns.get(key)
    if not isinstance(entry, Mapping):
        return set()
    family = str(entry.get("schema", "")).split("/")[0]
    if family not in {schema.split("/")[0] for schema in schemas}:
        return set()
    return {f"uns/{key}", *str(entry.get(WRITES, "")).splitlines()}


def write_slots(adata: AnnData, values: Mapping[str, Any]) -> None:
    """Write several slots: all of them, or none if anything goes wrong.

    A view becomes an object of its own first.

    Parameters
    ----------
    adata
        Object to write into.
    values
        Slot, such as ``"obs/coherence"``, and its value. ``"X"`` is the matrix itself.
    """
    materialize_view(adata)
    before = {slot: slot_value(adata, slot) for slot in values}
    columns = {where: getattr(adata, where).columns for where in ("obs", "var")}
    try:
        for slot, value in values.items():
            _set(adata, slot, value)
    except BaseException:
        for slot, value in before.items():
            _set(adata, slot, value)
        for where, order in columns.items():
            if not getattr(adata, where).columns.equals(order):
                setattr(adata, where, getattr(adata, where)[order])
        raise


def free_name(name: str, taken: Collection[Any]) -> str:
    """Return a name for a column of ours, which steps aside where a user's has that name.

    ``"source"`` becomes ``"source_2"``.
    """
    names, i, free = {str(t) for t in taken}, 1, name
    while free in names:
        i += 1
        free = f"{name}_{i}"
    return free


def recorded_screen(adata: AnnData) -> Screen | None:
    """Return the screen in ``uns["shoal"]``; ``None`` if there is none that can be read."""
    stored = adata.uns.get(SCREEN)
    try:
        return Screen.from_uns(dict(stored)) if isinstance(stored, Mapping) else None
    except (ValueError, TypeError):
        return None


def params_of(adata: AnnData, key: str) -> Any:
    """Return the params of an entry of ``uns``; empty if there are none."""
    entry = adata.uns.get(key)
    return (
        entry["params"]
        if isinstance(entry, Mapping) and isinstance(entry.get("params"), Mapping)
        else {}
    )


def slot_value(adata: AnnData, slot: str) -> Any:
    """Return what is in a slot, `ABSENT` if there is nothing."""
    where, _, name = slot.partition("/")
    if where == "X":
        return adata.X
    place = getattr(adata, where)
    return place.get(name, ABSENT)


def _set(adata: AnnData, slot: str, value: Any) -> None:
    where, _, name = slot.partition("/")
    if where == "X":
        adata.X = value
    elif value is not ABSENT:
        getattr(adata, where)[name] = value
    elif name in getattr(adata, where):
        del getattr(adata, where)[name]
