"""Which control cells are kept whole, for statistics that need single cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ._plan import Plan

LEAST, MOST = 30, 600  # cells of a stratum


def evenly(square: Floats, other: Floats, plan: Plan, total: int) -> tuple[Ints, Ints]:
    """Choose controls of every stratum, evenly spaced in order of length.

    The choice needs no seed. It depends on the values of the cells alone, not on the order of the
    rows.

    Parameters
    ----------
    square
        (n_obs,) squared lengths of the cells.
    other
        (n_obs,) another number of each cell, to order cells of equal length.
    plan
        Which cells are controls, and their strata.
    total
        Cells wanted over all strata. A stratum gives between 30 and 600 of them; a smaller one is
        taken whole.

    Returns
    -------
    chosen
        (K,) rows, stratum by stratum, in order of length within each.
    first
        (n_strata + 1,) position of the first cell of each stratum.
    """
    control = np.flatnonzero(plan.is_control)
    # single precision, so that the rounding of another storage does not change the order
    keys = (other[control].astype(np.float32), square[control].astype(np.float32))
    ordered = control[np.lexsort((*keys, plan.stratum[control]))]
    n = np.bincount(plan.stratum[control], minlength=plan.n_strata)
    k = np.minimum(n, np.clip(total // max(plan.n_strata, 1), min(LEAST, total), MOST))
    first, begin = np.concatenate([[0], np.cumsum(k)]), np.cumsum(n) - n
    stratum = np.repeat(np.arange(plan.n_strata), k)
    step = np.arange(first[-1]) - first[stratum]
    place = ((step + 0.5) * n[stratum] / np.maximum(k[stratum], 1)).astype(np.int64)
    return ordered[begin[stratum] + place], first
