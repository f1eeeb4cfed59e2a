"""The plan of a comparison: groups, strata, and the basis of the control centroid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..metrics._cells import densify
from ._matrix import row_dot

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints, Matrix


@dataclass(frozen=True)
class Plan:
    """Which cell belongs where.

    Attributes
    ----------
    group
        (n_obs,) perturbation 0..n_groups-1, n_groups for a control cell, -1 for a cell that is left
        out.
    n_groups
        Number of perturbations.
    stratum
        (n_obs,) stratum 0..n_strata-1 whose controls a cell is compared with.
    n_strata
        Number of strata.
    basis
        (n_obs, q) covariates of the control centroid; the first column is 1.
    """

    group: Ints
    n_groups: int
    stratum: Ints
    n_strata: int
    basis: Floats

    @cached_property
    def is_control(self) -> Bools:
        """(n_obs,) which cells are controls."""
        return self.group == self.n_groups

    @cached_property
    def perturbed(self) -> Ints:
        """(n_obs,) the group of perturbed cells, -1 for all others."""
        return np.where(self.is_control, -1, self.group)

    def footprint(self, code: Ints, n_codes: int, weight: Floats | None = None) -> Floats:
        """Return (n_codes, n_strata * q) sums of (weighted) basis rows per code and stratum.

        Cells of code -1 are left out.
        """
        q, n = self.basis.shape[1], n_codes * self.n_strata
        flat = np.where(
            code >= 0, code * self.n_strata + self.stratum, n
        )  # the last bin is thrown away
        out = np.empty((n_codes, self.n_strata, q))
        for k in range(q):
            value = self.basis[:, k] if weight is None else self.basis[:, k] * weight
            out[:, :, k] = np.bincount(flat, weights=value, minlength=n + 1)[:-1].reshape(
                n_codes, -1
            )
        return out.reshape(n_codes, self.n_strata * q)


def shifts_of(block: Matrix, plan: Plan, index: Ints, coef: Floats) -> Floats:
    """Return the dense shifts of the rows `index` of the screen, whose values are `block`."""
    out = densify(block).astype(np.float64)
    q = plan.basis.shape[1]
    table = coef.reshape(plan.n_strata, q, -1)
    out -= (
        table[0, 0] if plan.n_strata == 1 else table[plan.stratum[index], 0]
    )  # the first basis column is 1
    for k in range(1, q):
        out -= plan.basis[index, k, None] * table[plan.stratum[index], k]
    return out


def fitted_dot(block: Matrix, plan: Plan, where: slice, coef: Floats) -> Floats:
    """Return x_i . (phi_i coef) for the rows of a block."""
    q = plan.basis.shape[1]
    total = np.zeros(block.shape[0])
    for k in range(q):
        total += plan.basis[where, k] * row_dot(
            block, np.ascontiguousarray(coef[k::q]), plan.stratum[where]
        )
    return total


def quadratic(a: Floats, b: Floats, plan: Plan) -> Floats:
    """Return (n_strata, q, q) products of the coefficient rows of each stratum."""
    q = plan.basis.shape[1]
    left, right = a.reshape(plan.n_strata, q, -1), b.reshape(plan.n_strata, q, -1)
    return np.einsum("hkd,hld->hkl", left, right)


def quadratic_rows(table: Floats, plan: Plan, where: slice) -> Floats:
    """Return phi_i table[stratum_i] phi_i for the rows of a block."""
    if table.shape[1] == 1:
        return table[plan.stratum[where], 0, 0]  # the only basis column is 1
    basis = plan.basis[where]
    return np.einsum("ik,ikl,il->i", basis, table[plan.stratum[where]], basis)


def foot_dot(table: Floats, plan: Plan, where: slice, code: Ints) -> Floats:
    """Return sum_k phi_ik table[stratum_i * q + k, code_i] for the rows of a block."""
    q, first = plan.basis.shape[1], plan.stratum[where] * plan.basis.shape[1]
    return sum(plan.basis[where, k] * table[first + k, code] for k in range(q))
