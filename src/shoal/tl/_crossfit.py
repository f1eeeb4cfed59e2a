"""Residual coherence and magnitude from different cells, so that they share no error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import progress
from ..core._design import make_plan
from ._features import features, whitened
from ._measure import measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from .._typing import Floats, Ints
    from ..core._plan import Plan
    from ..core._screen import Labels, Screen


def crossfit(
    adata: AnnData,
    screen: Screen,
    labelled: Labels,
    params: Mapping[str, Any],
    *,
    n_splits: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Take residual coherence z from one half of the cells, magnitude from the other, and swap.

    Perturbed and control cells are halved, within strata. The matrix and the design are those of
    the coherence result whose `params` are given.

    Returns
    -------
    response, magnitude
        (n_perturbations, 2 * n_splits) residual z, and the magnitude to hold fixed with it.
    """
    strata = tuple(k for k in str(params.get("strata", "")).split(",") if k)
    plan = make_plan(adata, labelled, strata=strata, depth_key=params.get("depth_key") or None)
    rows, _, _ = features(
        adata,
        screen,
        labelled.names,
        layer=params.get("layer") or None,
        use_rep=params.get("use_rep") or None,
        exclude=str(params["exclude"]).split(",") if params.get("exclude") else None,
    )
    if params.get("whiten"):
        rows = whitened(rows, plan)
    response, magnitude = [], []
    by_name = np.argsort(adata.obs_names.to_numpy(dtype=str), kind="stable")
    for _ in progress(range(n_splits), total=n_splits, desc="cross-fit"):
        side = _halves(plan, by_name, rng)
        halves = [
            measure(
                rows,
                replace(plan, group=np.where(side == h, plan.group, -1)),
                min_cells=3,
                cross={},
            ).columns
            for h in (0, 1)
        ]
        response += [half["residual_z"] for half in halves]
        magnitude += [half["magnitude"] for half in reversed(halves)]
    return np.column_stack(response), np.column_stack(magnitude)


def _halves(plan: Plan, by_name: Ints, rng: np.random.Generator) -> Ints:
    """Return (n_obs,) 0 or 1, at random within each group and stratum.

    Random numbers go by the names of cells, so that the order of rows is no matter.
    """
    keys = np.empty(len(by_name))
    keys[by_name] = rng.random(len(by_name))
    block = plan.group * plan.n_strata + plan.stratum
    order = np.lexsort((keys, block))
    side = np.empty(len(order), dtype=np.int64)
    start = np.searchsorted(block[order], block[order])
    side[order] = (np.arange(len(order)) - start + block[order]) % 2
    return side
