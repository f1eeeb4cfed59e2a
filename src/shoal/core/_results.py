"""Results: a table, flat parameters, a schema and a version, safe in h5ad and zarr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import key_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData

Scalar = str | int | float | bool


def write_table(
    adata: AnnData,
    key: str,
    table: pd.DataFrame,
    *,
    schema: str,
    params: Mapping[str, Any],
    **more: pd.DataFrame,
) -> None:
    """Write ``adata.uns[key] = {"table", "params", "schema", "version", **more}``.

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
        What the result was computed with; ``None`` becomes ``""``, sequences become comma-separated
        text.
    more
        Further tables of the same result.

    Raises
    ------
    ValueError
        If a column name holds ``/``, which h5ad cannot store.
    """
    from .. import __version__

    entry: dict[str, Any] = {
        name: _safe_frame(frame) for name, frame in {"table": table, **more}.items()
    }
    entry["params"] = {name: _flat(value) for name, value in params.items()}
    entry["schema"] = schema
    entry["version"] = __version__
    adata.uns[key] = entry


def read_result(adata: AnnData, key: str, *, written_by: str) -> dict[str, Any]:
    """Return a result (``table``, ``params``, ``schema``, ``version``) or say what writes it.

    Raises
    ------
    KeyError
        If ``adata.uns[key]`` is not there or is not a result of shoal's.
    """
    key_in(key, adata.uns.keys(), where="adata.uns", hint=f"Call {written_by} first.")
    entry: dict[str, Any] = adata.uns[key]
    if "table" not in entry or "schema" not in entry:
        msg = (
            f"adata.uns[{key!r}] was not written by shoal; call {written_by} with another key_added"
        )
        raise KeyError(msg)
    return entry


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
