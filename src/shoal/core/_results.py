"""Results: a table, flat parameters, a schema and a version, safe in h5ad and zarr."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import key_in
from ._slots import WRITES, write_slots

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

Scalar = str | int | float | bool


def write_table(
    adata: AnnData,
    key: str,
    table: pd.DataFrame,
    *,
    schema: str,
    params: Mapping[str, Any],
    slots: Mapping[str, Any] = MappingProxyType({}),
    **more: pd.DataFrame | NDArray[Any],
) -> None:
    """Write ``adata.uns[key] = {"table", "params", "schema", "version", **more}`` and `slots`.

    All are written, or none if anything goes wrong. A view becomes an object of its own first.

    Parameters
    ----------
    adata
        Object to write into.
    key
        Slot of ``adata.uns``.
    table
        Result; its index holds names (perturbations), which may contain ``/`` and ``+``.
    schema
        Name and number of the layout, such as ``"coherence/1"``.
    params
        What the result was computed with; ``None`` becomes ``""``, a sequence a text with commas.
    slots
        What the result writes elsewhere, such as ``{"obs/coherence": values}``.
    more
        Further tables and arrays of the same result.

    Raises
    ------
    ValueError
        If a column name holds ``/``, which h5ad cannot store.
    """
    write_slots(
        adata, {f"uns/{key}": entry_of(table, schema, params, writes=slots, **more), **slots}
    )


def entry_of(
    table: pd.DataFrame,
    schema: str,
    params: Mapping[str, Any],
    *,
    writes: Collection[str] = (),
    **more: pd.DataFrame | NDArray[Any],
) -> dict[str, Any]:
    """Return what `write_table` puts into ``uns``, which names the slots that belong to it.

    `more` may hold arrays too.
    """
    from .. import __version__

    entry: dict[str, Any] = {
        name: value if isinstance(value, np.ndarray) else _safe_frame(value)
        for name, value in {"table": table, **more}.items()
    }
    entry["params"] = {name: _flat(value) for name, value in params.items()}
    entry["schema"] = schema
    entry["version"] = __version__
    if writes:
        entry[WRITES] = "\n".join(writes)
    return entry


def read_result(adata: AnnData, key: str, *, kind: str, written_by: str) -> dict[str, Any]:
    """Return a result (``table``, ``params``, ``schema``, ``version``) or say what writes it.

    Parameters
    ----------
    adata, key
        Object with the result, and its slot of ``uns``.
    kind
        Schema without its number, such as ``"coherence"``.
    written_by
        Call that writes the result, in the message.

    Raises
    ------
    KeyError
        If ``adata.uns[key]`` is not there or is not a result of shoal's.
    ValueError
        If it is another result than the caller reads.
    """
    key_in(key, adata.uns.keys(), where="adata.uns", hint=f"Call {written_by} first.")
    entry = adata.uns[key]
    if not (isinstance(entry, Mapping) and {"table", "params", "schema"} <= set(entry)):
        msg = (
            f"adata.uns[{key!r}] was not written by shoal; call {written_by} with another "
            "key_added, and name that one here"
        )
        raise KeyError(msg)
    schema = str(entry["schema"])
    if schema.split("/")[0] != kind:
        msg = (
            f"adata.uns[{key!r}] holds a result of another kind ({schema}), where {kind!r} is "
            f"expected; call {written_by}, or name another key"
        )
        raise ValueError(msg)
    return dict(entry)


def _safe_frame(frame: pd.DataFrame) -> pd.DataFrame:
    bad = [c for c in frame.columns if "/" in str(c)]
    if bad:
        msg = f"columns {bad} hold '/', which h5ad cannot store as a column name"
        raise ValueError(msg)
    safe = frame.copy()
    safe.index = safe.index.astype(str)
    return safe


def _flat(value: Any) -> Scalar:
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(str(v) for v in value)
    return str(value)
