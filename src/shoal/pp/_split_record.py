"""Whether a column is the split that ``pp.split`` recorded, or was written or edited by others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core._slots import params_of
from ..core._split_units import BY, make_items
from ._split_checks import SIDES, TRAIN

if TYPE_CHECKING:
    from ._split_checks import Facts


def is_recorded(facts: Facts, split: str) -> bool:
    """Return whether ``uns[split]`` describes the sides of the cells.

    It does if every perturbed cell is on the side of its unit in ``uns[split]["units"]``. Cells
    that have been dropped since then, or are on no side, do not count.

    Parameters
    ----------
    facts
        The screen and the side of every cell.
    split
        Name of the column.
    """
    params, entry = params_of(facts.adata, split), facts.adata.uns.get(split)
    by = str(params.get("by", ""))
    if by not in BY or params.get("perturbation_key") != facts.screen.perturbation_key:
        return False
    units = entry.get("units") if hasattr(entry, "get") else None
    if units is None or "split" not in units:
        return False
    try:
        items = make_items(facts.adata, facts.screen, facts.labels, by)
    except ValueError:  # the screen lacks a column, or labels, that it had
        return False
    outside = dict(zip(units.index.astype(str), units["split"].astype(str), strict=True))
    sides = [outside.get(name, SIDES[TRAIN]) for name in items.names]
    codes = np.array([SIDES.index(side) if side in SIDES else -1 for side in sides] + [-1])
    cells = facts.perturbed & (items.code >= 0)
    return bool((facts.side[cells] == codes[items.code[cells]]).all())
