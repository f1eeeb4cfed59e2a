"""Reasons to look twice at a perturbation: few cells, another depth, another batch composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import DEPTH
from ..core._design import codes

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ..core._plan import Plan
    from ..core._screen import Screen

DEPTH_GAP = 0.5  # difference of mean log depth, in standard deviations of the controls
BATCH_GAP = 0.3  # total variation distance between batch compositions


def flags(
    adata: AnnData, screen: Screen, plan: Plan, n: Ints, *, min_cells: int, depth_key: str | None
) -> list[str]:
    """Return comma-separated flags: ``few_cells``, ``depth_imbalance``, ``batch_imbalance``."""
    found = {"few_cells": n < min_cells}
    key = depth_key or (DEPTH if DEPTH in adata.obs else None)
    if key is not None and pd.api.types.is_numeric_dtype(adata.obs[key]):
        found["depth_imbalance"] = (
            _depth_gap(adata.obs[key].to_numpy(dtype=np.float64), plan) > DEPTH_GAP
        )
    if screen.batch_key is not None:
        found["batch_imbalance"] = _batch_gap(codes(adata, screen.batch_key), plan) > BATCH_GAP
    return [",".join(name for name, is_set in found.items() if is_set[g]) for g in range(len(n))]


def _depth_gap(depth: Floats, plan: Plan) -> Floats:
    """Return the difference in mean log depth from the controls of the same strata.

    Absolute, in standard deviations of the controls.
    """
    usable = np.isfinite(depth) & (depth > 0)
    log = np.log(np.where(usable, depth, 1.0))
    control = usable & plan.is_control
    count = np.bincount(plan.stratum[control], minlength=plan.n_strata)
    mean = np.bincount(
        plan.stratum[control], weights=log[control], minlength=plan.n_strata
    ) / np.maximum(count, 1)
    gap = log - mean[plan.stratum]
    spread = float(np.std(gap[control])) if control.any() else 0.0
    cells = usable & (plan.perturbed >= 0)
    return np.abs(_group_mean(gap, cells, plan)) / spread if spread > 0 else np.zeros(plan.n_groups)


def _batch_gap(batch: Ints, plan: Plan) -> Floats:
    """Return half the summed absolute difference between batch shares and the controls' shares."""
    n_batches = int(batch.max(initial=0)) + 1
    gap = np.zeros(plan.n_groups)
    for b in range(n_batches):
        inside = (batch == b).astype(np.float64)
        known = batch >= 0
        own = _group_mean(inside, known & (plan.perturbed >= 0), plan)
        gap += 0.5 * np.abs(own - inside[known & plan.is_control].mean())
    return gap


def _group_mean(values: Floats, cells: Bools, plan: Plan) -> Floats:
    group = plan.group[cells]
    count = np.bincount(group, minlength=plan.n_groups)
    return np.bincount(group, weights=values[cells], minlength=plan.n_groups) / np.maximum(count, 1)
