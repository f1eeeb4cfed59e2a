"""The mean shifts of replicates, their noise, and the spread of cells within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core._plan import shifts_of
from ..core._walk import group_sums
from ..metrics._replicates import Replicates

if TYPE_CHECKING:
    from .._typing import Floats
    from ..core._groups import Directions
    from ..core._matrix import Rows
    from ..core._plan import Plan
    from ._replicate_column import ReplicateColumn

SAMPLE = 800  # control cells that are kept whole


def mean_shifts(found: ReplicateColumn, rows: Rows, plan: Plan, sums: Directions) -> Floats:
    """Return the (R, d) mean shifts of all replicates from one walk through the matrix."""
    total = group_sums(rows, found.code, len(found.n))
    total -= plan.footprint(found.code, len(found.n)) @ sums.shift.coef
    return total / found.n[:, None]


def shifts_within(
    found: ReplicateColumn, rows: Rows, plan: Plan, sums: Directions, means: Floats
) -> Floats:
    """Return shifts of at most 800 control cells from the mean of their replicate.

    The cells are evenly spaced in order of length: the choice needs no seed and does not depend on
    the order of the rows.
    """
    control = np.flatnonzero((found.code >= 0) & plan.is_control)
    by_length = control[np.argsort(sums.square[control], kind="stable")]
    n = min(len(by_length), SAMPLE)
    chosen = np.sort(by_length[((np.arange(n) + 0.5) * len(by_length) / n).astype(np.int64)])
    code, shifts = found.code[chosen], np.empty((n, rows.shape[1]))
    step = max(rows.batch // 8, 1)  # what is read and what is made of it are in memory together
    for start in range(0, n, step):
        own = slice(start, start + step)
        shifts[own] = shifts_of(rows.take(chosen[own]), plan, chosen[own], sums.shift.coef)
        shifts[own] -= means[code[own]]
    shifts *= np.sqrt(found.n[code] / np.maximum(found.n[code] - 1, 1))[:, None]
    return shifts


def _centre_noise(found: ReplicateColumn, plan: Plan, sums: Directions) -> Floats:
    """Return (R,) what the fit of the control centroids adds to the noise of a replicate's mean.

    It is F A F / n^2, with F the sum of the rows of the basis over its cells in a stratum, and A
    the inverse Gram matrix of the controls there, summed over strata.
    """
    made = plan.cohorts_of(found.code)
    feet = plan.feet(made)
    joint = np.einsum("ck,ckl,cl->c", feet, sums.inverse[made.stratum], feet)
    return np.bincount(made.group, weights=joint, minlength=len(found.n)) / found.n**2.0


def as_replicates(
    found: ReplicateColumn, plan: Plan, sums: Directions, means: Floats
) -> Replicates:
    """Return the replicates that count, in a paired design as differences."""
    own, is_control = found.own, found.owner == plan.n_groups
    noise = 1.0 / found.n
    if not found.paired:
        keep = own | is_control
        return Replicates(means[keep], noise[keep], found.owner[keep], plan.n_groups)
    label = np.where(found.code >= 0, found.label[found.code], -1)
    if plan.nested_in(label):  # a shift is a difference within the replicate already
        means, noise = means[own], (noise + _centre_noise(found, plan, sums))[own]
    else:
        control = np.flatnonzero(is_control)
        place = control[np.searchsorted(found.label[control], found.label[own])]
        means, noise = means[own] - means[place], noise[own] + noise[place]
    return Replicates(means, noise, found.owner[own], plan.n_groups, paired=True)
