"""Which of the cells that are scored belong to conditions that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._validate import some
from ._codes import BETWEEN, codes_of, grouped
from ._doses import dose_text
from ._remembered import COLUMNS
from ._slots import params_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._typing import Bools
    from ._population import Population
    from ._screen import Screen

WHOLE = (None, "perturbation")  # what `pp.split` records where whole perturbations are held out


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


def seen_in_training(cells: Population, scored: Bools, trained: pd.DataFrame) -> str:
    """Say which scored conditions a model was trained on; empty if none, or if nothing is known.

    A condition is a perturbation in a context at a dose; of one guide where `pp.split` holds out
    guides. Where whole perturbations are held out, a scored one that was trained on as a part of
    combinations alone is told of too.

    Parameters
    ----------
    cells
        The screen.
    scored
        (n_obs,) cells that are scored.
    trained
        What `_remembered.remembered` returns.
    """
    by = params_of(cells.adata, SPLIT).get("by") or None
    columns = list(COLUMNS if by == "guide" else COLUMNS[:-1])
    names = list(map(cells.screen.canonical, trained["perturbation"]))
    own = trained.assign(perturbation=names)[columns]
    known = set(own.itertuples(index=False, name=None))
    several = conditions_of_cells(cells, scored)[columns].drop_duplicates()
    found = [one for one in several.itertuples(index=False, name=None) if one in known]
    said = []
    if found:
        shown = [BETWEEN.join(filter(None, one)) for one in found]
        said.append(f"{len(found)} of {len(several)} conditions that are scored ({some(shown, 3)})")
    parts = _as_parts(cells.screen, several["perturbation"], names) if by in WHOLE else []
    if parts:
        said.append(f"combinations with perturbations that are scored ({some(parts, 3)})")
    if not said:
        return ""
    return (
        f"the model was trained on {' and on '.join(said)}: fit it after sh.pp.split, and predict "
        "again"
    )


def _as_parts(screen: Screen, scored: Iterable[str], trained: Iterable[str]) -> list[str]:
    """Return the scored perturbations that are in training only as parts of combinations."""
    known = {part for name in trained if len(screen.parts(name)) > 1 for part in screen.alone(name)}
    return sorted((set(scored) & known) - set(trained))
