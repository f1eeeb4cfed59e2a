"""Which conditions a model was trained on, as its predictions remember them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import PREDICTIONS, SPLIT
from .._validate import some
from ._codes import BETWEEN, codes_of, grouped
from ._doses import dose_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from .._typing import Bools
    from ._population import Population

COLUMNS = ("perturbation", "context", "dose", "guide")
UNIT = "\x1f"  # between the parts of a condition in a saved model: the separator of units of ASCII


def conditions_of_cells(cells: Population, rows: Bools) -> pd.DataFrame:
    """Return the conditions of some perturbed cells, each once.

    Returns
    -------
    Perturbation, context, dose and guide as text; empty where there is none.
    """
    at = np.flatnonzero(rows)
    guides, guide = codes_of(cells.adata, cells.screen.guide_key)
    _, keys = grouped(
        perturbation=cells.labels.code[at],
        context=cells.context[at],
        dose=cells.dose[at],
        guide=guide[at],
    )
    contexts = [*cells.contexts, ""]
    return pd.DataFrame(
        {
            "perturbation": [cells.names[code] for code in keys["perturbation"]],
            "context": [contexts[code] for code in keys["context"]],
            "dose": list(map(dose_text, keys["dose"])),
            "guide": [[*guides, ""][code] for code in keys["guide"]],
        },
        dtype=object,
    )


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


def seen_in_training(cells: Population, scored: Bools, trained: pd.DataFrame) -> str:
    """Say which scored conditions a model was trained on; empty if none, or if nothing is known.

    A condition is a perturbation in a context at a dose; of one guide where `pp.split` holds out
    guides.

    Parameters
    ----------
    cells
        The screen.
    scored
        (n_obs,) cells that are scored.
    trained
        What `remembered` returns.
    """
    columns = list(COLUMNS if _holds_out_guides(cells.adata) else COLUMNS[:-1])
    names = list(map(cells.screen.canonical, trained["perturbation"]))
    own = trained.assign(perturbation=names)[columns]
    known = set(own.itertuples(index=False, name=None))
    several = conditions_of_cells(cells, scored)[columns].drop_duplicates()
    found = [one for one in several.itertuples(index=False, name=None) if one in known]
    if not found:
        return ""
    shown = [BETWEEN.join(filter(None, one)) for one in found]
    return (
        f"the model was trained on {len(found)} of {len(several)} conditions that are scored "
        f"({some(shown, 3)}): fit it after sh.pp.split, and predict again"
    )


def _holds_out_guides(adata: AnnData) -> bool:
    entry: Any = adata.uns.get(SPLIT)
    params = entry.get("params", {}) if hasattr(entry, "get") else {}
    return str(params.get("by", "")) == "guide"
