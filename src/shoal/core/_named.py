"""Results by name in one slot, with a table of what each was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ._claims import check_name, claim
from ._results import write_table
from ._slots import written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ._screen import Screen


def claim_named(
    adata: AnnData,
    key: Any,
    *,
    slots: Sequence[str],
    info: str,
    schema: str,
    call: str,
    screen: Screen,
    overwrite: bool,
) -> str:
    """Return the name of a result, if it is free or was written by the same function.

    Parameters
    ----------
    adata, key
        Object that will be written into, and the name.
    slots
        Slots of ``uns`` that hold results by name; the first is named in messages.
    info, schema
        Slot of ``uns`` with the table of what each was made from, and its layout.
    call
        Function that writes them, for messages.
    screen
        Screen of the call, whose columns are taken.
    overwrite
        Whether to replace what the function did not write.

    Raises
    ------
    TypeError, ValueError
        As `check_name` and `claim`, or if the name belongs to a result of the user's.
    """
    key = check_name(adata, key, screen=screen)
    ours = bool(written(adata, info, [schema]))
    taken = [] if ours else [f"uns/{info}"]
    taken += [
        f"uns/{slot}"
        for slot in slots
        if adata.uns.get(slot) is not None and not isinstance(adata.uns[slot], Mapping)
    ]
    claim(adata, taken, overwrite=overwrite, rename="rename it")
    known = adata.uns[info]["table"].index if ours else ()
    held = adata.uns.get(slots[0])
    if isinstance(held, Mapping) and key in held and key not in known and not overwrite:
        msg = (
            f"adata.uns[{slots[0]!r}][{key!r}] was not written by {call}: choose another "
            "key_added, or replace it with overwrite=True"
        )
        raise ValueError(msg)
    return key


def write_named(
    adata: AnnData,
    key: str,
    values: Mapping[str, Any],
    row: Mapping[str, Any],
    *,
    info: str,
    schema: str,
    screen: Screen,
    **more: pd.DataFrame,
) -> None:
    """Write a result by name and its row. Rows of results that are gone are dropped.

    Parameters
    ----------
    adata, key
        Object to write into, and the name.
    values
        Slot of ``uns`` -> what it holds under the name. The first decides which rows are kept.
    row
        What the result was made from.
    info, schema, screen
        As of `claim_named`.
    **more
        Further tables of `info`, passed to `write_table`.
    """
    stored = {}
    for slot, value in values.items():
        held = adata.uns.get(slot)
        stored[slot] = {**(held if isinstance(held, Mapping) else {}), key: value}
    first, rows = next(iter(stored.values())), {}
    if written(adata, info, [schema]):
        before = adata.uns[info]["table"].to_dict("index")
        rows = {name: own for name, own in before.items() if name in first}
    about = pd.DataFrame.from_dict({**rows, key: dict(row)}, orient="index")
    slots = {f"uns/{slot}": value for slot, value in stored.items()}
    write_table(adata, info, about, schema=schema, params=screen.params(), slots=slots, **more)
