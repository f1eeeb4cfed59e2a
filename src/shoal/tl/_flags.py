"""Reasons to look twice at a perturbation: few cells, another depth, another batch composition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from .._keys import DEPTH
from ..core._design import codes
from ..metrics._null import adjust

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ..core._plan import Plan
    from ..core._screen import Screen

DEPTH_GAP = 0.2  # difference of mean log depth, in standard deviations of the controls
DEPTH_ALPHA = 0.05  # q-value below which that difference is no chance
BATCH_GAP = 0.3  # total variation distance between batch compositions


def flags(
    adata: AnnData, screen: Screen, plan: Plan, n: Ints, *, min_cells: int, depth_key: str | None
) -> dict[str, Any]:
    """Return what makes a perturbation's row doubtful.

    The depth is that of `depth_key`, of the column that :func:`shoal.pp.prepare` scaled by, or
    ``total_counts``, whichever is there first.

    Returns
    -------
    ``depth_shift``, ``depth_qvalue``
        (G,) see `depth_test`. Where the depth of cells is known.
    ``flags``
        G texts: ``few_cells``, ``depth_imbalance`` and ``batch_imbalance``, joined by commas. Depth
        is imbalanced where ``depth_qvalue`` is below 0.05 and ``depth_shift`` beyond 0.2: of very
        many cells, a difference that matters to nobody is significant.
    """
    columns: dict[str, Any] = {}
    found = {"few_cells": n < min_cells}
    prepared = adata.uns.get("pca", {}).get("params", {}).get("depth_key")
    key = next((k for k in (depth_key, prepared, DEPTH) if k and k in adata.obs), None)
    if key is not None and pd.api.types.is_numeric_dtype(adata.obs[key]):
        depth = adata.obs[key].to_numpy(dtype=np.float64, na_value=np.nan)
        shift, pvalue = depth_test(depth, plan)
        columns = {"depth_shift": shift, "depth_qvalue": adjust(pvalue)}
        found["depth_imbalance"] = (columns["depth_qvalue"] < DEPTH_ALPHA) & (
            np.abs(shift) > DEPTH_GAP
        )
    if screen.batch_key is not None:
        found["batch_imbalance"] = _batch_gap(codes(adata, screen.batch_key), plan) > BATCH_GAP
    text = [",".join(name for name, is_set in found.items() if is_set[g]) for g in range(len(n))]
    return columns | {"flags": text}


def depth_test(depth: Floats, plan: Plan) -> tuple[Floats, Floats]:
    """Test whether the cells of each perturbation are deeper or shallower than their controls.

    It is Welch's test of the logarithm of the depth. Cells are compared with the controls of their
    own stratum, and the differences are averaged by cells.

    Parameters
    ----------
    depth
        (n_obs,) counts of each cell. Cells without a finite number above 0 do not count.
    plan
        Groups and strata.

    Returns
    -------
    shift
        (G,) difference of the mean log depth, in standard deviations of the controls within strata.
    pvalue
        (G,) two-sided; NaN where a perturbation has no two cells in one stratum.
    """
    usable = np.isfinite(depth) & (depth > 0) & (plan.group >= 0)
    log = np.log(np.where(usable, depth, 1.0))
    shape, code = (plan.n_groups + 1, plan.n_strata), plan.group * plan.n_strata + plan.stratum
    n, total = (_sums(code[usable], weight, shape) for weight in (None, log[usable]))
    mean = total / np.maximum(n, 1)
    apart = (log - mean.ravel()[np.where(usable, code, 0)])[usable]
    scatter = _sums(code[usable], apart**2, shape)

    compared = (n[:-1] > 0) & (n[-1] > 0)
    cells = np.where(compared, n[:-1], 0)
    weight = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    shift = (weight * (mean[:-1] - mean[-1])).sum(axis=1)
    free, free_control = np.maximum(cells - 1, 0).sum(axis=1), np.maximum(n[-1] - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(compared, scatter[:-1], 0).sum(axis=1) / free / cells.sum(axis=1)
        of_control = scatter[-1] / free_control / n[-1]
        theirs = np.where(weight > 0, weight**2 * of_control, 0.0)
        noise = own + theirs.sum(axis=1)
        df = noise**2 / (
            own**2 / free + np.where(weight > 0, theirs**2 / free_control, 0.0).sum(axis=1)
        )
        spread = np.sqrt(scatter[-1].sum() / free_control.sum())
        pvalue = 2 * special.stdtr(df, -np.abs(shift) / np.sqrt(noise))
        return shift / spread, pvalue


def _sums(code: Ints, weight: Floats | None, shape: tuple[int, int]) -> Floats:
    """Return sums of cells, or of their weights, by group and stratum."""
    return np.bincount(code, weights=weight, minlength=shape[0] * shape[1]).reshape(shape)


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
