"""Where the intervals of a prediction are, and what a screen says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._keys import INTERVAL_EVALUATION
from ._results import read_result

if TYPE_CHECKING:
    from anndata import AnnData

SCHEMA = "intervals/1"
SUFFIX = "_intervals"  # uns: after the name of a prediction
JUDGED = "interval_evaluation/1"  # schema of what `tl.evaluate_intervals` writes


def read_intervals(adata: AnnData, prediction: str) -> dict[str, Any]:
    """Return the intervals of a prediction, as `tl.predict` wrote them.

    Raises
    ------
    KeyError
        If there are none.
    ValueError
        If the slot holds something else.
    """
    call = f"sh.tl.predict(adata, model, key_added={prediction!r}, interval=0.9)"
    return read_result(adata, f"{prediction}{SUFFIX}", kind="intervals", written_by=call)


def measured_of_condition(
    adata: AnnData, prediction: str, condition: str, *, key: str | None
) -> Any | None:
    """Return the (d,) measured response of a condition; ``None`` if it was not judged.

    Parameters
    ----------
    adata
        Screen with intervals.
    prediction
        Name of the prediction.
    condition
        Name of the condition.
    key
        Result of `tl.evaluate_intervals`. ``None`` for ``"interval_evaluation"``, where it is there
        and judges this prediction.

    Raises
    ------
    KeyError
        If there is no result of that name.
    ValueError
        If it judges another prediction.
    """
    if key is None and INTERVAL_EVALUATION not in adata.uns:
        return None
    call = f"sh.tl.evaluate_intervals(adata, prediction={prediction!r})"
    name = INTERVAL_EVALUATION if key is None else key
    entry = read_result(adata, name, kind=INTERVAL_EVALUATION, written_by=call)
    of = str(entry["params"]["prediction"])
    if of != prediction:
        if key is None:
            return None
        msg = f"adata.uns[{key!r}] judges the prediction {of!r}, not {prediction!r}; call {call}"
        raise ValueError(msg)
    names = entry["table"].index.astype(str)
    return entry["response"][names.get_loc(condition)] if condition in names else None


def interval_facts(adata: AnnData) -> list[tuple[str, str]]:
    """Return (name, value) of what a screen says of intervals: what is covered, and what was."""
    facts = []
    for key, entry in adata.uns.items():
        schema = str(entry.get("schema", "")) if isinstance(entry, Mapping) else ""
        if schema == SCHEMA:
            params = entry["params"]
            facts.append((f"intervals of {params['prediction']}", str(params["coverage"])))
        elif schema == JUDGED:
            params = entry["params"]
            name = f"{key.replace('_', ' ')} of {params['prediction']}"
            facts.append((name, str(params["verdict"])))
    return facts
