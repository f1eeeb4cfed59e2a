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
    from .._typing import Bools
    from ._population import Population


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
    guides.

    Parameters
    ----------
    cells
        The screen.
    scored
        (n_obs,) cells that are scored.
    trained
        What `_remembered.remembered` returns.
    """
    by_guide = params_of(cells.adata, SPLIT).get("by") == "guide"
    columns = list(COLUMNS if by_guide else COLUMNS[:-1])
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
