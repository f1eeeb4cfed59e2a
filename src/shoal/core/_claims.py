"""May a result be written? Names and slots are checked before work begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._keys import (
    CONTEXT_EMBEDDING_FITS,
    CONTEXT_EMBEDDINGS,
    CONTEXT_EMBEDDINGS_INFO,
    EMBEDDINGS,
    EMBEDDINGS_INFO,
    GRAPHS,
    GRAPHS_INFO,
    PREDICTIONS,
    SCREEN,
    SPLIT,
)
from .._validate import file_key, flag
from ._slots import ABSENT, recorded_screen, slot_value, written
from ._view import check_writable

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData

    from ._screen import Screen

RESERVED = (
    *(SCREEN, SPLIT, EMBEDDINGS, EMBEDDINGS_INFO, PREDICTIONS, "X", "_index", ".", ".."),
    *(CONTEXT_EMBEDDINGS, CONTEXT_EMBEDDINGS_INFO, CONTEXT_EMBEDDING_FITS),
    *(GRAPHS, GRAPHS_INFO),
)
MEANINGS = ("perturbation_key", "context_key", "batch_key", "dose_key", "guide_key")


def check_name(adata: AnnData, key: Any, *, screen: Screen | None = None, own: str = "") -> str:
    """Return the name of a result, if a result may have it.

    Parameters
    ----------
    adata, key
        Object that will be written into; the `key_added` of a user, or the default.
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
    file_key(key, name="key_added")
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
    flag(overwrite, name="overwrite")
    check_writable(adata)
    taken = [slot for slot in slots if slot not in owned and slot_value(adata, slot) is not ABSENT]
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
    adata, key
        Object that will be written into; the `key_added` of a user, or the default.
    schema
        Layouts that the function writes, such as ``"coherence/1"``.
    screen, overwrite
        As for `check_name` and `claim`.
    obs
        Whether ``obs[key]`` is written too.

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


def _shown(slot: str) -> str:
    where, _, name = slot.partition("/")
    return f"adata.{where}[{name!r}]"
