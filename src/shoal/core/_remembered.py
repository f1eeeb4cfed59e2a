"""What predictions remember of the conditions that their model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from .._keys import PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

CONDITION = ("perturbation", "context", "dose")
COLUMNS = (*CONDITION, "guide", "batch")
UNIT = "\x1f"  # between the parts of a condition in a saved model: the separator of units of ASCII


def packed(conditions: pd.DataFrame) -> tuple[str, ...]:
    """Return conditions as texts, for the file of a model."""
    return tuple(map(UNIT.join, conditions[list(COLUMNS)].itertuples(index=False, name=None)))


def unpacked(texts: Iterable[str]) -> pd.DataFrame:
    """Return what was `packed`."""
    return pd.DataFrame([text.split(UNIT) for text in texts], columns=list(COLUMNS), dtype=object)


def remembered(adata: AnnData, key: str) -> pd.DataFrame:
    """Return the conditions that the model of a prediction was trained on; none if unknown.

    Parameters
    ----------
    adata
        AnnData with the prediction.
    key
        Its name; ``"X"`` where it is the matrix of an AnnData of its own.
    """
    entry: Any = adata.uns.get(PREDICTIONS)
    table = entry.get("trained") if hasattr(entry, "get") else None
    if table is None or not {"prediction", *COLUMNS} <= set(table):
        return unpacked(())
    own = table[table["prediction"].astype(str) == key]
    return own[list(COLUMNS)].astype(str)
