"""The plan of a comparison: groups, strata, and the basis of the control centroid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..metrics._cells import densify
from ._block_sums import row_dot

if TYPE_CHECKING:
    import pandas as pd

    from .._typing import Bools, Floats, Ints, Matrix


@dataclass(frozen=True)
class Cohorts:
    """The cells of one perturbation in one stratum, for every combination that occurs.

    Attributes
    ----------
    code
        (n_obs,) cohort 0..Q-1 of each cell, -1 for none.
    group, stratum
        (Q,) perturbation and stratum of each cohort, sorted.
    n
        (Q,) cells.
    """

    code: Ints
    group: Ints
    stratum: Ints
    n: Ints


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
    names
        (n_obs,) names of the cells, for messages; ``None`` if they have none.
    """

    group: Ints
    n_groups: int
    stratum: Ints
    n_strata: int
    basis: Floats
    names: pd.Index | None = None

    @cached_property
    def is_control(self) -> Bools:
        """(n_obs,) which cells are controls."""
        return self.group == self.n_groups

    @cached_property
    def perturbed(self) -> Ints:
        """(n_obs,) the group of perturbed cells, -1 for all others."""
        return np.where(self.is_control, -1, self.group)

    @cached_property
    def cohorts(self) -> Cohorts:
        """The cells of each perturbation in each stratum."""
        return self.cohorts_of(self.perturbed)

    def cohorts_of(self, code: Ints) -> Cohorts:
        """Number the combinations of a code (n_obs,) and a stratum that occur.

        Cells of code -1 are left out.
        """
        keep = code >= 0
        found, inverse = np.unique(
            code[keep] * self.n_strata + self.stratum[keep], return_inverse=True
        )
        own = np.full(len(code), -1)
        own[keep] = inverse
        n = np.bincount(inverse, minlength=len(found))
        return Cohorts(own, found // self.n_strata, found % self.n_strata, n)

    def nested_in(self, code: Ints) -> bool:
        """Return whether all cells of a stratum have the same code (n_obs,), those of -1 aside."""
        keep = (self.group >= 0) & (code >= 0)
        width = int(code.max(initial=0)) + 1
        pairs = np.unique(self.stratum[keep] * width + code[keep])
        return len(pairs) == len(np.unique(pairs // width))

    def footprint(self, code: Ints, n_codes: int, weight: Floats | None = None) -> Matrix:
        """Return (n_codes, n_strata * q) sums of (weighted) basis rows per code and stratum.

        It is a CSR matrix: where there are many strata, most perturbations are in few of them.
        Cells of code -1 are left out.
        """
        cohorts = self.cohorts if code is self.perturbed else self.cohorts_of(code)
        q = self.basis.shape[1]
        column = cohorts.stratum[:, None] * q + np.arange(q)
        row = np.repeat(cohorts.group, q)
        feet = self.feet(cohorts, weight)
        shape = (n_codes, self.n_strata * q)
        return sparse.csr_matrix((feet.ravel(), (row, column.ravel())), shape=shape)

    def feet(self, cohorts: Cohorts, weight: Floats | None = None) -> Floats:
        """Return (Q, q) sums of (weighted) basis rows of the cells of each cohort."""
        keep = np.flatnonzero(cohorts.code >= 0)
        code, basis = cohorts.code[keep], self.basis[keep]
        if weight is not None:
            basis = basis * weight[keep, None]
        size = len(cohorts.n)
        return np.column_stack([np.bincount(code, weights=b, minlength=size) for b in basis.T])


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


def offsets(coef: Floats, sums: Floats, plan: Plan, step: int = 4096) -> Floats:
    """Return (Q, q) products of each cohort's coefficients, of its stratum, and sums, of its group.

    Parameters
    ----------
    coef
        (n_strata * q, d) coefficients.
    sums
        (n_groups, d) sums.
    plan
        Its cohorts are the combinations that occur.
    step
        Cohorts at a time.
    """
    cohorts = plan.cohorts
    table = coef.reshape(plan.n_strata, -1, coef.shape[1])
    out = np.empty((len(cohorts.n), table.shape[1]))
    for i in range(0, len(out), step):
        near = slice(i, i + step)
        out[near] = np.einsum("ckd,cd->ck", table[cohorts.stratum[near]], sums[cohorts.group[near]])
    return out


def foot_dot(table: Floats, plan: Plan, where: slice) -> Floats:
    """Return phi_i . table[cohort of i] for the rows of a block; any number for other cells."""
    return np.einsum("ik,ik->i", plan.basis[where], table[plan.cohorts.code[where]])
