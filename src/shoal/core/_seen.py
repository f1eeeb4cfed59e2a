"""Which of the cells that are scored belong to conditions that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._validate import some
from ._codes import BETWEEN, codes_of, grouped
from ._doses import dose_text
from ._remembered import COLUMNS, CONDITION
from ._slots import params_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .._typing import Bools
    from ._population import Population
    from ._screen import Screen

GUIDE = len(CONDITION) + 1  # a condition is shown with its guide, and without its batch
WHOLE = (None, "perturbation")  # what `pp.split` records where whole perturbations are held out


def conditions_of_cells(cells: Population, rows: Bools) -> pd.DataFrame:
    """Return the conditions of some perturbed cells, each guide and batch of them once.

    Returns
    -------
    Perturbation, context, dose, guide and batch as text; empty where there is none.
    """
    at = np.flatnonzero(rows)
    guides, guide = codes_of(cells.adata, cells.screen.guide_key)
    _, keys = grouped(
        perturbation=cells.labels.code[at],
        context=cells.context[at],
        dose=cells.dose[at],
        guide=guide[at],
        batch=cells.batch[at],
    )
    contexts, batches = [*cells.contexts, ""], [*cells.batches, ""]
    return pd.DataFrame(
        {
            "perturbation": [cells.names[code] for code in keys["perturbation"]],
            "context": [contexts[code] for code in keys["context"]],
            "dose": list(map(dose_text, keys["dose"])),
            "guide": [[*guides, ""][code] for code in keys["guide"]],
            "batch": [batches[code] for code in keys["batch"]],
        },
        dtype=object,
    )


def seen_in_training(cells: Population, scored: Bools, trained: pd.DataFrame) -> str:
    """Say which scored conditions a model was trained on; empty if none, or if nothing is known.

    A condition is a perturbation in a context at a dose. Where the split of the screen trains on a
    scored condition too, it holds out a part of its cells: then guides and batches are compared.
    Where whole perturbations are held out, a scored one that was trained on as a part of
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
    names = list(map(cells.screen.canonical, trained["perturbation"]))
    trained = trained.assign(perturbation=names)
    several = conditions_of_cells(cells, scored)
    now = set(_each(conditions_of_cells(cells, cells.train), CONDITION))
    apart = np.array([one in now for one in _each(several, CONDITION)], dtype=bool)
    asked, found = [], []
    for own, columns in ((several[~apart], CONDITION), (several[apart], COLUMNS)):
        known = set(_each(trained, columns))
        asked += [one[:GUIDE] for one in _each(own, columns)]
        found += [one[:GUIDE] for one in _each(own, columns) if one in known]
    asked, found = list(dict.fromkeys(asked)), list(dict.fromkeys(found))
    said = []
    if found:
        shown = [BETWEEN.join(filter(None, one)) for one in found]
        said.append(f"{len(found)} of {len(asked)} conditions that are scored ({some(shown, 3)})")
    parts = _as_parts(cells.screen, several["perturbation"], names) if by in WHOLE else []
    if parts:
        said.append(f"combinations with perturbations that are scored ({some(parts, 3)})")
    if not said:
        return ""
    return (
        f"the model was trained on {' and on '.join(said)}: fit it after sh.pp.split, and predict "
        "again"
    )


def _each(conditions: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return conditions[list(columns)].itertuples(index=False, name=None)


def _as_parts(screen: Screen, scored: Iterable[str], trained: Iterable[str]) -> list[str]:
    """Return the scored perturbations that are in training only as parts of combinations."""
    known = {part for name in trained if len(screen.parts(name)) > 1 for part in screen.alone(name)}
    return sorted((set(scored) & known) - set(trained))
