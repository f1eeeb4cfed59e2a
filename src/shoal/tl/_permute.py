"""Permutation p-values of kappa: labels of perturbed and control cells exchanged within strata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._logging import progress
from ..core._block_sums import group_sum, row_dot
from ..core._codes import members

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix
    from ..core._groups import Directions
    from ..core._matrix import Rows
    from ..core._plan import Plan

CHUNK = 128  # permutations at a time


def permutation_pvalues(
    rows: Rows,
    plan: Plan,
    sums: Directions,
    *,
    n_perms: int,
    min_cells: int,
    rngs: list[np.random.Generator],
    order: Ints,
) -> Floats:
    """Return (G,) p-values (b + 1) / (n_perms + 1) of |mean u_p - mean u_c|^2.

    Every perturbation has a generator of its own. Labels are drawn for the cells as `order`, the
    rows in an order of their own, has them: see :func:`shoal.core._order.stable_order`.

    Directions are taken about the centroid of the pool (perturbed and control cells of the
    stratum), which does not change when labels are exchanged, so that the test is exact.
    """
    pvalue = np.full(plan.n_groups, np.nan)
    tested = np.flatnonzero(sums.groups[0].n >= min_cells)
    control = np.flatnonzero(plan.is_control)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    cells_of = {plan.group[own[0]]: own for own in members(plan.group)}
    for g in progress(tested, total=len(tested), desc="permutations"):
        own = cells_of[g]
        near = control[np.isin(plan.stratum[control], np.unique(plan.stratum[own]))]
        cells = np.sort(np.concatenate([own, near]))
        block, drawn = rows.take(cells), np.argsort(rank[cells])
        pvalue[g] = _one(
            block[drawn],
            plan,
            cells[drawn],
            plan.group[cells[drawn]] == g,
            sums,
            n_perms,
            rngs[g],
        )
    return pvalue


def _one(
    block: Matrix,
    plan: Plan,
    cells: Ints,
    perturbed: Floats,
    sums: Directions,
    n_perms: int,
    rng: np.random.Generator,
) -> float:
    """Permute the labels of one pool."""
    stratum = np.unique(plan.stratum[cells], return_inverse=True)[1]
    n_strata = int(stratum.max()) + 1
    feet = np.zeros((len(cells), plan.n_strata, plan.basis.shape[1]))
    feet[np.arange(len(cells)), plan.stratum[cells]] = plan.basis[cells]
    feet = feet.reshape(
        len(cells), -1
    )  # cell x (stratum, basis): the control fit of each cell is feet @ coef
    coef = sums.shift.coef

    def summed(weight: Floats) -> Floats:
        return (
            group_sum(block, stratum, n_strata, weight)
            - _grouped(feet * weight[:, None], stratum, n_strata) @ coef
        )

    size = np.bincount(stratum, minlength=n_strata)
    pool = summed(np.ones(len(cells))) / size[:, None]
    onto = row_dot(block, pool, stratum) - np.einsum("ik,ik->i", feet, (coef @ pool.T).T[stratum])
    square = sums.square[cells] - 2 * onto + np.einsum("hd,hd->h", pool, pool)[stratum]
    weight = np.where(
        square > 1e-14 * np.maximum(sums.square[cells], 1e-300),
        1 / np.sqrt(np.maximum(square, 1e-300)),
        0,
    )

    def statistic(labels: Floats) -> Floats:
        """Return |mean u_p - mean u_c|^2 for each row of labels (1 perturbed, 0 control)."""
        share = _grouped(labels[0][:, None], stratum, n_strata)[:, 0]
        n = share.sum()
        away = (share / n / np.maximum(size - share, 1))[stratum]
        contrast = np.where(labels > 0, 1 / n, -away) * weight
        by_stratum = np.stack([_grouped(c[:, None], stratum, n_strata)[:, 0] for c in contrast])
        delta = np.asarray(contrast @ block) - (contrast @ feet) @ coef - by_stratum @ pool
        return np.einsum("bd,bd->b", delta, delta)

    observed = statistic(perturbed[None].astype(np.float64))[0]
    reached = 0
    for start in range(0, n_perms, CHUNK):
        labels = np.empty((min(CHUNK, n_perms - start), len(cells)))
        for h in range(n_strata):
            inside = np.flatnonzero(stratum == h)
            labels[:, inside] = rng.permuted(
                np.tile(perturbed[inside].astype(np.float64), (len(labels), 1)), axis=1
            )
        reached += int(np.sum(statistic(labels) >= observed * (1 - 1e-9)))
    return (reached + 1) / (n_perms + 1)


def _grouped(values: Floats, code: Ints, n: int) -> Floats:
    """Return sums of dense rows per code."""
    out = np.zeros((n, values.shape[1]))
    np.add.at(out, code, values)
    return out
