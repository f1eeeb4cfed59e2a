"""Grouped sums of shifts and directions, in two passes over a matrix of any kind.

The *shift* of a cell is s = x - c, where c is the control centroid of its stratum. The *direction*
is u = s / |s|. Without covariates the centroid is the mean of the controls. With covariates, such
as sequencing depth, it is c = phi B: phi is the cell's row of `Plan.basis`, and B is fitted to the
controls of the stratum by least squares.

The matrix is never made dense as a whole. Sums are expanded, sum w (x - phi B) = sum w x -
(sum w phi) B, and only blocks of control rows, of bounded size, are made dense.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.blas import dsyrk

from .._settings import settings
from ..metrics._strata import ControlSample
from ._block_sums import add_to_groups, group_sum, row_squares
from ._control_sample import evenly
from ._plan import fitted_dot, quadratic, quadratic_rows, shifts_of
from ._walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .._typing import Floats, Ints, Matrix
    from ._matrix import Rows
    from ._plan import Plan
    from ._walk import Totals, Values


@dataclass(frozen=True)
class ControlFit:
    """Least-squares fit of cell values on the basis, over the controls of each stratum.

    Attributes
    ----------
    coef
        (n_strata * q, d) coefficients; with the basis (1) the means.
    noise
        (n_strata,) residual variance, summed over dimensions.
    """

    coef: Floats
    noise: Floats


@dataclass(frozen=True)
class Directions:
    """What one screen's statistics are computed from.

    Attributes
    ----------
    inverse
        (n_strata, q, q) inverse Gram matrices of the controls' basis rows.
    shift, direction
        `ControlFit` of x and of u.
    covariance
        (d, d) covariance of u over controls, within strata.
    n_control
        (n_strata,) controls.
    square
        (n_obs,) |s|^2.
    weight
        (n_obs,) 1 / |s|, 0 for a cell at its centroid.
    sample
        Shifts of a bounded number of control cells of each stratum.
    groups
        Sums of the perturbations, and of any finer groups.
    cross
        For each further grouping: |sum w|^2 of its cells, see `CrossSums`.
    """

    inverse: Floats
    shift: ControlFit
    direction: ControlFit
    covariance: Floats
    n_control: Ints
    square: Floats
    weight: Floats
    sample: ControlSample
    groups: Sequence[GroupSums]
    cross: Mapping[str, CrossSums]


@dataclass(frozen=True)
class GroupSums:
    """Sums over the cells of each group.

    Attributes
    ----------
    n
        (G,) cells.
    shift, unit, centred
        (G, d) sums of s, of u, and of w = u - phi D with D the controls' fit of u.
    """

    n: Ints
    shift: Floats
    unit: Floats
    centred: Floats


@dataclass(frozen=True)
class CrossSums:
    """Sums over the cells that share a perturbation and a further label (guide, batch).

    Attributes
    ----------
    owner
        (C,) perturbation of each combination.
    n
        (C,) cells.
    norm
        (C,) |sum w|^2.
    noise
        (C,) what the noise of the controls' mean adds to `norm`.
    """

    owner: Ints
    n: Ints
    norm: Floats
    noise: Floats


def directions(
    rows: Rows,
    plan: Plan,
    *,
    cross: Mapping[str, Ints],
    finer: Plan | None = None,
    max_sample: int = 8000,
) -> Directions:
    """Walk twice through the matrix and return the sums; `_cell_dots` is the third walk.

    Parameters
    ----------
    rows
        (n_obs, d) matrix.
    plan
        Groups, strata and covariates.
    cross
        Name -> (n_obs,) label of each cell (-1: none) for sums over perturbation x label.
    finer
        The same controls, strata and covariates with other groups, such as perturbation x context,
        which are summed in the same walks. `Directions.groups` then has two entries.
    max_sample
        Control cells kept whole, over all strata, for statistics that need single cells.

    Raises
    ------
    ValueError
        If a value is not finite, if control cells do not vary, or if the controls of a stratum
        cannot carry the covariates.
    """
    plans = [plan] if finer is None else [plan, finer]
    fit, inverse, sum_x, keys, n_control = _fit_controls(rows, plans)
    sum_shift = [
        x - p.footprint(p.perturbed, p.n_groups) @ fit.coef
        for x, p in zip(sum_x, plans, strict=True)
    ]
    chosen, first = evenly(*keys, plan, max_sample)
    second = _second_pass(rows, plans, fit, inverse, keys[0], n_control, cross, chosen)
    q = plan.basis.shape[1]
    stretch = np.sqrt((n_control + q) / np.maximum(n_control - q, 1))
    cells = second.sample
    cells *= np.repeat(stretch, np.diff(first))[:, None].astype(np.float32)
    return Directions(
        inverse=inverse,
        shift=ControlFit(fit.coef, _noise_of(second.square, plan, n_control)),
        direction=second.fit,
        covariance=second.covariance,
        n_control=n_control,
        square=second.square,
        weight=second.weight,
        sample=ControlSample(cells, first, stretch, n_control),
        groups=[
            GroupSums(
                n=np.bincount(p.perturbed[p.perturbed >= 0], minlength=p.n_groups),
                shift=shift,
                unit=unit,
                centred=unit - p.footprint(p.perturbed, p.n_groups) @ second.fit.coef,
            )
            for p, shift, unit in zip(plans, sum_shift, second.sum_unit, strict=True)
        ],
        cross=second.cross,
    )


# -- first pass: what the controls are ---------------------------------------------


def _fit_controls(
    rows: Rows, plans: Sequence[Plan]
) -> tuple[ControlFit, Floats, list[Floats], tuple[Floats, Floats], Ints]:
    """Return what the first pass finds.

    The controls' fit of x, inverse Gram matrices of the basis, group sums of x for each plan, |x|^2
    and another projection of each cell (n_obs,), and the number of controls of each stratum.
    """
    plan, d = plans[0], rows.shape[1]
    q, control = plan.basis.shape[1], np.where(plan.is_control, plan.stratum, -1)
    both = np.where(control >= 0, plan.n_groups + control, plan.perturbed)
    codes = [both, *(p.perturbed for p in plans[1:])]
    sizes = [plan.n_groups + plan.n_strata, *(p.n_groups for p in plans[1:])]

    def totals() -> Totals:
        return {f"sums {i}": np.zeros((size, d)) for i, size in enumerate(sizes)} | {
            "moment": np.zeros((plan.n_strata, q, d))
        }

    def visit(where: slice, block: Matrix, total: Totals) -> Values:
        for i, code in enumerate(codes):
            add_to_groups(total[f"sums {i}"], block, code[where])
        for k in range(1, q):
            total["moment"][:, k] += group_sum(
                block, control[where], plan.n_strata, plan.basis[where, k]
            )
        return {"squares": row_squares(block), "other": np.asarray(block @ wave)}

    wave = np.cos(np.arange(d))
    total, values = walk(rows, visit, totals)
    sums, moment = total["sums 0"], total["moment"]
    keys = values["squares"], values["other"]
    _check_finite(keys[0], plan, rows.slot)
    moment[:, 0] = sums[plan.n_groups :]
    n_control: Ints = np.bincount(control[control >= 0], minlength=plan.n_strata).astype(np.int64)
    gram, keep = np.zeros((plan.n_strata, q, q)), control >= 0
    for k in range(q):
        for j in range(q):
            product = plan.basis[keep, k] * plan.basis[keep, j]
            gram[:, k, j] = np.bincount(control[keep], weights=product, minlength=plan.n_strata)
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    coef = np.einsum("hkl,hld->hkd", inverse, moment).reshape(plan.n_strata * q, d)
    groups = [sums[: plan.n_groups], *(total[f"sums {i}"] for i in range(1, len(plans)))]
    return ControlFit(coef, np.zeros(plan.n_strata)), inverse, groups, keys, n_control


def _check_finite(squares: Floats, plan: Plan, slot: str) -> None:
    bad = ~np.isfinite(squares) & (plan.group >= 0)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        first = f"row {at}" if plan.names is None else repr(str(plan.names[at]))
        msg = (
            f"{slot} holds NaN or infinite values in {int(bad.sum())} of "
            f"{int((plan.group >= 0).sum())} cells, such as {first}; drop or fill them"
        )
        raise ValueError(msg)


def _noise_of(square: Floats, plan: Plan, n_control: Ints) -> Floats:
    """Return the residual variance of the controls' shifts per stratum, summed over dimensions."""
    control = plan.is_control
    total = np.bincount(plan.stratum[control], weights=square[control], minlength=plan.n_strata)
    return total / np.maximum(n_control - plan.basis.shape[1], 1)


# -- second pass: lengths and directions -------------------------------------------


@dataclass(frozen=True)
class _Second:
    square: Floats
    weight: Floats
    sum_unit: list[Floats]
    fit: ControlFit
    covariance: Floats
    cross: dict[str, CrossSums]
    sample: NDArray[np.float32]


def _second_pass(
    rows: Rows,
    plans: Sequence[Plan],
    shift: ControlFit,
    inverse: Floats,
    squares: Floats,
    n_control: Ints,
    cross: Mapping[str, Ints],
    chosen: Ints,
) -> _Second:
    plan, d = plans[0], rows.shape[1]
    q = plan.basis.shape[1]
    paired = {name: _pairs(plan, label) for name, label in cross.items()}
    length = quadratic(shift.coef, shift.coef, plan)
    by_row = np.sort(chosen)

    def totals() -> Totals:
        sizes = {f"unit {i}": p.n_groups for i, p in enumerate(plans)}
        sizes |= {f"cross {name}": len(owner) for name, (_, owner) in paired.items()}
        sizes["moment"] = plan.n_strata * q
        return {name: np.zeros((size, d)) for name, size in sizes.items()} | {
            "gram": np.zeros((d, d), order="F"),
        }

    def visit(where: slice, block: Matrix, total: Totals) -> Values:
        along = fitted_dot(block, plan, where, shift.coef)
        fitted = quadratic_rows(length, plan, where)
        tiny = 1e-14 * (
            squares[where] + fitted
        )  # what is left of a cell at its centroid is rounding
        square = squares[where] + (fitted - 2 * along)
        away = square > tiny
        square = np.where(away, square, 0.0)
        weight = np.where(away, 1.0 / np.sqrt(np.where(away, square, 1.0)), 0.0)
        for i, p in enumerate(plans):
            add_to_groups(total[f"unit {i}"], block, p.perturbed[where], weight)
        for name, (code, _) in paired.items():
            add_to_groups(total[f"cross {name}"], block, code[where], weight)
        for index, unit in _control_units(block, where, plan, shift.coef, weight):
            total["gram"] = _add_gram(total["gram"], unit.T)
            for k in range(q):
                total["moment"][k::q] += group_sum(
                    unit, plan.stratum[index], plan.n_strata, plan.basis[index, k]
                )
        cells = by_row[slice(*np.searchsorted(by_row, [where.start, where.stop]))]
        kept = shifts_of(block[cells - where.start], plan, cells, shift.coef)
        return {"square": square, "weight": weight, "sample": kept.astype(np.float32)}

    total, values = walk(rows, visit, totals)
    square, weight = values["square"], values["weight"]
    if not weight[plan.is_control].any():
        msg = (
            f"all {int(n_control.sum())} control cells are equal in {rows.slot}, within strata, so "
            "that there is no direction; check the matrix, or name another use_rep= or layer="
        )
        raise ValueError(msg)
    sum_unit = [
        total[f"unit {i}"] - p.footprint(p.perturbed, p.n_groups, weight) @ shift.coef
        for i, p in enumerate(plans)
    ]
    fit, covariance = _fit_units(plan, inverse, total["moment"], total["gram"], weight, n_control)
    done = {
        name: _cross_sums(
            plan, code, owner, total[f"cross {name}"], weight, shift.coef, fit, inverse
        )
        for name, (code, owner) in paired.items()
    }
    return _Second(
        square,
        weight,
        sum_unit,
        fit,
        covariance,
        done,
        values["sample"][np.searchsorted(by_row, chosen)],
    )


def _fit_units(
    plan: Plan, inverse: Floats, moment: Floats, gram: Floats, weight: Floats, n_control: Ints
) -> tuple[ControlFit, Floats]:
    """Regress the controls' directions on the basis; return fit and residual covariance."""
    q, d = plan.basis.shape[1], gram.shape[0]
    blocks = moment.reshape(plan.n_strata, q, d)
    coef = np.einsum("hkl,hld->hkd", inverse, blocks)
    explained = np.einsum("hkd,hkd->h", blocks, coef)
    control = plan.is_control & (weight > 0)
    n_units = np.bincount(plan.stratum[control], minlength=plan.n_strata)
    noise = (n_units - explained) / np.maximum(n_control - q, 1)
    free = max(int(n_control.sum()) - plan.n_strata * q, 1)
    for h in range(plan.n_strata):
        gram = _add_gram(
            gram, np.asfortranarray((np.linalg.cholesky(inverse[h]).T @ blocks[h]).T), -1.0
        )
    gram /= free
    _mirror(gram)
    return ControlFit(
        coef.reshape(-1, d), noise
    ), gram.T  # symmetric, and in C order this way round


def _add_gram(gram: Floats, a: Floats, scale: float = 1.0) -> Floats:
    """Add scale * a a' to the upper triangle of `gram`.

    It is done in place, without a second matrix, where both are in Fortran order.
    """
    return np.asarray(dsyrk(scale, a, beta=1.0, c=gram, overwrite_c=1))


def _mirror(gram: Floats, step: int = 256) -> None:
    """Copy the upper triangle to the lower one, in place."""
    for i in range(0, len(gram), step):
        corner = gram[i : i + step, i : i + step]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
        gram[i + step :, i : i + step] = gram[i : i + step, i + step :].T


def _control_units(
    block: Matrix, where: slice, plan: Plan, coef: Floats, weight: Floats
) -> Iterator[tuple[Ints, Floats]]:
    """Yield row numbers and dense directions of a block's controls, a bounded number at a time.

    `weight` holds 1 / |s| of the block's rows.
    """
    index = np.flatnonzero(plan.is_control[where])
    step = max(1, int(settings.block_bytes / 8 / (8 * block.shape[1])))
    for start in range(0, len(index), step):
        local = index[start : start + step]
        cells = local + where.start
        yield cells, shifts_of(block[local], plan, cells, coef) * weight[local, None]


def _pairs(plan: Plan, label: Ints) -> tuple[Ints, Ints]:
    """Number the combinations of perturbation and label that occur.

    Returns the (n_obs,) combination of each cell and the perturbation of each combination.
    """
    keep = (plan.perturbed >= 0) & (label >= 0)
    width = int(label.max(initial=0)) + 1
    found, inverse = np.unique(plan.perturbed[keep] * width + label[keep], return_inverse=True)
    code = np.full(len(label), -1)
    code[keep] = inverse
    return code, found // width


def _cross_sums(
    plan: Plan,
    code: Ints,
    owner: Ints,
    sums: Floats,
    weight: Floats,
    shift: Floats,
    unit: ControlFit,
    inverse: Floats,
) -> CrossSums:
    centred = sums - plan.footprint(code, len(owner), weight) @ shift
    centred -= plan.footprint(code, len(owner)) @ unit.coef
    cohorts = plan.cohorts_of(code)
    feet, at = plan.feet(cohorts), cohorts.stratum
    joint = np.einsum("ck,ckl,cl->c", feet, inverse[at], feet) * unit.noise[at]
    noise = np.bincount(cohorts.group, weights=joint, minlength=len(owner))
    return CrossSums(
        owner,
        n=np.bincount(code[code >= 0], minlength=len(owner)),
        norm=np.einsum("ij,ij->i", centred, centred),
        noise=noise.astype(np.float64),
    )
