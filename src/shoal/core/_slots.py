"""The slots of a result: checked before work begins, and written together at its end.

A slot is named ``"obs/coherence"``. What shoal wrote is known from ``uns``: a result has a schema,
and under ``writes`` the names of its slots, one a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._keys import EMBEDDINGS, EMBEDDINGS_INFO, PREDICTIONS, SCREEN, SPLIT
from ._screen import Screen
from ._view import check_writable, materialize_view

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from anndata import AnnData

WRITES = "writes"  # in an entry of uns: the slots of the result
RESERVED = (SCREEN, SPLIT, EMBEDDINGS, EMBEDDINGS_INFO, PREDICTIONS, "_index", ".", "..")
MEANINGS = ("perturbation_key", "context_key", "batch_key", "dose_key", "guide_key")
_ABSENT = object()


def check_name(adata: AnnData, key: Any, *, screen: Screen | None = None, own: str = "") -> str:
    """Return the name of a result, if a result may have it.

    Parameters
    ----------
    adata
        Object that the result will be written into.
    key
        The `key_added` of a user, or the default.
    screen
        Screen of the call, whose columns are taken. Those of ``uns["shoal"]`` always are.
    own
        Reserved name that the caller may use: ``"split"`` for the split.

    Raises
    ------
    TypeError
        If the name is no text.
    ValueError
        If the name is empty, holds ``/`` or a character that cannot be printed, or stands for a
        column of the design or for something of shoal's.
    """
    if not isinstance(key, str):
        msg = f"key_added must be a text, such as 'mine', not {key!r}"
        raise TypeError(msg)
    if not key.strip() or "/" in key or not key.isprintable():
        msg = (
            f"key_added={key!r} cannot be a key of an h5ad file: give a text that is not empty, "
            "without '/' and line breaks"
        )
        raise ValueError(msg)
    if key in RESERVED and key != own:
        msg = f"key_added={key!r} is a name that is already used for something else; choose another"
        raise ValueError(msg)
    for known in (screen, recorded_screen(adata)):
        for meaning in MEANINGS:
            if known is not None and getattr(known, meaning) == key:
                msg = (
                    f"key_added={key!r} is the {meaning} of this screen, which is never "
                    "overwritten; choose another name with key_added="
                )
                raise ValueError(msg)
    return key


def claim(
    adata: AnnData,
    slots: Collection[str],
    *,
    owned: Collection[str] = (),
    overwrite: bool = False,
    rename: str = "choose another key_added",
) -> None:
    """Raise unless every slot is free, or holds what the same function wrote before.

    Parameters
    ----------
    adata
        Object that will be written into.
    slots
        Slots that the call will write, such as ``"obs/coherence"``.
    owned
        Slots that an earlier call of the same function wrote, see `written`.
    overwrite
        Whether to replace the other ones too.
    rename
        What to do instead, in the message.

    Raises
    ------
    TypeError
        If `overwrite` is neither ``True`` nor ``False``.
    ValueError
        If a slot holds something else, or nothing can be written into this AnnData.
    """
    if not isinstance(overwrite, bool):
        msg = f"overwrite must be True or False, not {overwrite!r}"
        raise TypeError(msg)
    check_writable(adata)
    taken = [slot for slot in slots if slot not in owned and _get(adata, slot) is not _ABSENT]
    if taken and not overwrite:
        shown = " and ".join(_shown(slot) for slot in taken)
        verb = "exist and were" if len(taken) > 1 else "exists and was"
        msg = (
            f"{shown} {verb} not written by an earlier call of this function: {rename}, or replace "
            f"{'them' if len(taken) > 1 else 'it'} with overwrite=True"
        )
        raise ValueError(msg)


def claim_result(
    adata: AnnData,
    key: Any,
    *,
    schema: str | tuple[str, ...],
    screen: Screen | None = None,
    obs: bool = False,
    overwrite: bool = False,
) -> str:
    """Check the name and the slots of a result ``uns[key]`` before work begins; return the name.

    Parameters
    ----------
    adata
        Object that will be written into.
    key
        The `key_added` of a user, or the default.
    schema
        Layouts that the function writes, such as ``"coherence/1"``.
    screen
        Screen of the call.
    obs
        Whether ``obs[key]`` is written too.
    overwrite
        Whether to replace what the function did not write.

    Raises
    ------
    TypeError
        If `key` is no text or `overwrite` is neither ``True`` nor ``False``.
    ValueError
        If the name cannot be used or a slot is taken.
    """
    schemas = (schema,) if isinstance(schema, str) else schema
    key = check_name(adata, key, screen=screen, own=schemas[0].split("/")[0])
    slots = [f"uns/{key}", *([f"obs/{key}"] if obs else [])]
    claim(adata, slots, owned=written(adata, key, schemas), overwrite=overwrite)
    return key


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
    before = {slot: _get(adata, slot) for slot in values}
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


def _get(adata: AnnData, slot: str) -> Any:
    where, _, name = slot.partition("/")
    if where == "X":
        return adata.X
    place = getattr(adata, where)
    return place.get(name, _ABSENT)


def _set(adata: AnnData, slot: str, value: Any) -> None:
    where, _, name = slot.partition("/")
    if where == "X":
        adata.X = value
    elif value is not _ABSENT:
        getattr(adata, where)[name] = value
    elif name in getattr(adata, where):
        del getattr(adata, where)[name]


def _shown(slot: str) -> str:
    where, _, name = slot.partition("/")
    return f"adata.{where}[{name!r}]"
