"""Perturbations split by context, or by stratum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..core._codes import codes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Ints
    from ..core._plan import Plan
    from ..core._screen import Screen

LEAST = 8  # cells of a part that says something about the residual within parts


@dataclass(frozen=True)
class Parts:
    """Perturbations split by context, or by stratum where no context is recorded.

    Attributes
    ----------
    kind
        ``"contexts"`` or ``"strata"``.
    plan
        The plan whose groups are perturbation x context.
    owner
        (F,) perturbation of each of these groups.
    label
        (F,) name of its context.
    """

    kind: str
    plan: Plan
    owner: Ints
    label: Sequence[str]


def parts_of(adata: AnnData, screen: Screen, plan: Plan) -> Parts | None:
    """Return the perturbations split by context.

    Where no context is recorded, or strata mix contexts, perturbations are split by stratum, and
    parts with fewer than 8 cells are left out. ``None`` where there is nothing to split.
    """
    names, code = codes_of(adata, screen.context_key)
    kind, least = "contexts", 1
    whole = bool((code[plan.group >= 0] >= 0).all()) and plan.nested_in(code)
    if screen.context_key is None or not whole:
        kind, least = "strata", LEAST
        names, code = tuple(map(str, range(plan.n_strata))), plan.stratum
        if plan.n_strata == 1:
            return None
    width = max(len(names), 1)
    cells = np.flatnonzero((plan.perturbed >= 0) & (code >= 0))
    found, inverse, n = np.unique(
        plan.group[cells] * width + code[cells], return_inverse=True, return_counts=True
    )
    keep = n >= least
    if not keep.any():
        return None
    group = np.where(plan.is_control, int(keep.sum()), -1)
    group[cells] = np.where(keep, np.cumsum(keep) - 1, -1)[inverse]
    found = found[keep]
    fine = replace(plan, group=group, n_groups=len(found))
    return Parts(kind, fine, found // width, [names[i] for i in found % width])
