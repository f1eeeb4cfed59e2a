"""Grouped sums of shifts and directions, in three passes over a matrix of any kind.

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
from ._matrix import add_to_groups, group_sum, row_dot, row_squares
from ._plan import fitted_dot, foot_dot, quadratic, quadratic_rows, shifts_of
from ._walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from .._typing import Bools, Floats, Ints, Matrix
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
    n
        (G,) cells of each perturbation.
    footprint
        (G, n_strata * q) sums of basis rows.
    inverse
        (n_strata, q, q) inverse Gram matrices of the controls' basis rows.
    shift, direction
        `ControlFit` of x and of u.
    covariance
        (d, d) covariance of u over controls, within strata.
    n_control
        (n_strata,) controls.
    sum_shift, sum_unit, sum_centred
        (G, d) sums of s, of u, and of w = u - phi D with D the controls' fit of u.
    square
        (n_obs,) |s|^2.
    unit_dot
        (n_obs,) w_i . sum_centred[group].
    unit_square
        (n_obs,) |w_i|^2.
    shift_dot
        (n_obs,) s_i . sum_shift[group].
    sample
        (K, d) shifts of at most K control cells, evenly spaced in order of length; float32.
    cross
        For each further grouping: |sum w|^2 and the footprints of its cells, see `CrossSums`.
    """

    n: Ints
    footprint: Floats
    inverse: Floats
    shift: ControlFit
    direction: ControlFit
    covariance: Floats
    n_control: Ints
    sum_shift: Floats
    sum_unit: Floats
    sum_centred: Floats
    square: Floats
    unit_dot: Floats
    unit_square: Floats
    shift_dot: Floats
    sample: NDArray[np.float32]
    cross: Mapping[str, CrossSums]


@dataclass(frozen=True)
class CrossSums:
    """Sums over the cells that share a perturbation and a further label (guide, batch).

    Attributes
    ----------
    owner
        (C,) perturbation of each combination.
    n
        (C,) cells.
    footprint
        (C, n_strata * q) sums of basis rows.
    norm
        (C,) |sum w|^2.
    """

    owner: Ints
    n: Ints
    footprint: Floats
    norm: Floats


def directions(
    rows: Rows, plan: Plan, *, cross: Mapping[str, Ints], max_sample: int = 800
) -> Directions:
    """Walk three times through the matrix and return the sums.

    Parameters
    ----------
    rows
        (n_obs, d) matrix.
    plan
        Groups, strata and covariates.
    cross
        Name -> (n_obs,) label of each cell (-1: none) for sums over perturbation x label.
    max_sample
        Control cells kept whole, for statistics that need single cells.

    Raises
    ------
    ValueError
        If a value is not finite, or the controls of a stratum cannot carry the covariates.
    """
    shift, inverse, sums, squares, n_control = _fit_controls(rows, plan)
    sum_x = sums
    feet = plan.footprint(plan.perturbed, plan.n_groups)
    sum_shift = sum_x - feet @ shift.coef
    second = _second_pass(rows, plan, shift, inverse, squares, n_control, cross)
    centred = second.sum_unit - feet @ second.fit.coef
    sample = _even_sample(second.square, plan.is_control, max_sample)
    third = _third_pass(rows, plan, shift, second, centred, sum_shift, sample)
    shift = ControlFit(shift.coef, _noise_of(second.square, plan, n_control))
    return Directions(
        n=np.bincount(plan.group[plan.group >= 0], minlength=plan.n_groups + 1)[:-1],
        footprint=feet,
        inverse=inverse,
        shift=shift,
        direction=second.fit,
        covariance=second.covariance,
        n_control=n_control,
        sum_shift=sum_shift,
        sum_unit=second.sum_unit,
        sum_centred=centred,
        square=second.square,
        sample=third.sample,
        unit_dot=third.unit_dot,
        unit_square=third.unit_square,
        shift_dot=third.shift_dot,
        cross=second.cross,
    )


# -- first pass: what the controls are ---------------------------------------------


def _fit_controls(rows: Rows, plan: Plan) -> tuple[ControlFit, Floats, Floats, Floats, Ints]:
    """Return what the first pass finds.

    The controls' fit of x, inverse Gram matrices of the basis, group sums of x, (n_obs,) |x|^2,
    and the number of controls of each stratum.
    """
    d, q, control = rows.shape[1], plan.basis.shape[1], np.where(plan.is_control, plan.stratum, -1)
    both = np.where(control >= 0, plan.n_groups + control, plan.perturbed)

    def totals() -> Totals:
        return {
            "sums": np.zeros((plan.n_groups + plan.n_strata, d)),
            "moment": np.zeros((plan.n_strata, q, d)),
        }

    def visit(where: slice, block: Matrix, total: Totals) -> Values:
        add_to_groups(total["sums"], block, both[where])
        for k in range(1, q):
            total["moment"][:, k] += group_sum(
                block, control[where], plan.n_strata, plan.basis[where, k]
            )
        return {"squares": row_squares(block)}

    total, values = walk(rows, visit, totals)
    sums, moment, squares = total["sums"], total["moment"], values["squares"]
    _check_finite(squares, plan)
    moment[:, 0] = sums[plan.n_groups :]
    n_control: Ints = np.bincount(control[control >= 0], minlength=plan.n_strata).astype(np.int64)
    gram = np.zeros((plan.n_strata, q, q))
    for k in range(q):
        weighted = plan.footprint(control, plan.n_strata, plan.basis[:, k]).reshape(
            plan.n_strata, plan.n_strata, q
        )
        gram[:, k] = weighted[np.arange(plan.n_strata), np.arange(plan.n_strata)]
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    coef = np.einsum("hkl,hld->hkd", inverse, moment).reshape(plan.n_strata * q, d)
    return (
        ControlFit(coef, np.zeros(plan.n_strata)),
        inverse,
        sums[: plan.n_groups],
        squares,
        n_control,
    )


def _check_finite(squares: Floats, plan: Plan) -> None:
    bad = ~np.isfinite(squares) & (plan.group >= 0)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        msg = (
            f"{int(bad.sum())} cells hold NaN or infinite values (the first at row {first}); "
            "drop these cells, or "
            "mend the matrix before measuring"
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
    sum_unit: Floats
    fit: ControlFit
    covariance: Floats
    cross: dict[str, CrossSums]


def _second_pass(
    rows: Rows,
    plan: Plan,
    shift: ControlFit,
    inverse: Floats,
    squares: Floats,
    n_control: Ints,
    cross: Mapping[str, Ints],
) -> _Second:
    d, q = rows.shape[1], plan.basis.shape[1]
    paired = {name: _pairs(plan, label) for name, label in cross.items()}
    length = quadratic(shift.coef, shift.coef, plan)

    def totals() -> Totals:
        return {
            "unit": np.zeros((plan.n_groups, d)),
            "moment": np.zeros((plan.n_strata * q, d)),
            "gram": np.zeros((d, d), order="F"),
        } | {f"cross {name}": np.zeros((len(owner), d)) for name, (_, owner) in paired.items()}

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
        add_to_groups(total["unit"], block, plan.perturbed[where], weight)
        for name, (code, _) in paired.items():
            add_to_groups(total[f"cross {name}"], block, code[where], weight)
        for index, unit in _control_units(block, where, plan, shift.coef, weight):
            total["gram"] = _add_gram(total["gram"], unit.T)
            for k in range(q):
                total["moment"][k::q] += group_sum(
                    unit, plan.stratum[index], plan.n_strata, plan.basis[index, k]
                )
        return {"square": square, "weight": weight}

    total, values = walk(rows, visit, totals)
    square, weight, sum_unit = values["square"], values["weight"], total["unit"]
    sum_unit -= plan.footprint(plan.perturbed, plan.n_groups, weight) @ shift.coef
    fit, covariance = _fit_units(plan, inverse, total["moment"], total["gram"], weight, n_control)
    done = {
        name: _cross_sums(plan, code, owner, total[f"cross {name}"], weight, shift.coef, fit.coef)
        for name, (code, owner) in paired.items()
    }
    return _Second(square, weight, sum_unit, fit, covariance, done)


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
    plan: Plan, code: Ints, owner: Ints, sums: Floats, weight: Floats, shift: Floats, unit: Floats
) -> CrossSums:
    feet = plan.footprint(code, len(owner))
    centred = sums - plan.footprint(code, len(owner), weight) @ shift - feet @ unit
    n = np.bincount(code[code >= 0], minlength=len(owner))
    return CrossSums(owner, n, feet, np.einsum("ij,ij->i", centred, centred))


# -- third pass: each cell against its own group -----------------------------------


@dataclass(frozen=True)
class _Third:
    unit_dot: Floats
    unit_square: Floats
    shift_dot: Floats
    sample: NDArray[np.float32]


def _third_pass(
    rows: Rows,
    plan: Plan,
    shift: ControlFit,
    second: _Second,
    centred: Floats,
    sum_shift: Floats,
    sample: Ints,
) -> _Third:
    group = np.maximum(plan.perturbed, 0)
    unit, w = second.fit.coef, second.weight
    offsets = [shift.coef @ centred.T, unit @ centred.T, shift.coef @ sum_shift.T]
    cross_term, unit_norm = quadratic(shift.coef, unit, plan), quadratic(unit, unit, plan)
    shape = (len(sample), rows.shape[1])
    place = np.argsort(np.argsort(second.square[sample], kind="stable"))  # by length, not by row

    def visit(where: slice, block: Matrix, total: Totals) -> Values:
        code = group[where]
        to_unit = row_dot(block, centred, code) - foot_dot(offsets[0], plan, where, code)
        unit_dot = w[where] * to_unit - foot_dot(offsets[1], plan, where, code)
        shift_dot = row_dot(block, sum_shift, code) - foot_dot(offsets[2], plan, where, code)
        on_mean = w[where] * (
            fitted_dot(block, plan, where, unit) - quadratic_rows(cross_term, plan, where)
        )
        unit_square = (w[where] > 0) - 2 * on_mean + quadratic_rows(unit_norm, plan, where)
        lo, hi = np.searchsorted(sample, [where.start, where.stop])
        if hi > lo:
            cells = sample[lo:hi]
            total["sample"][place[lo:hi]] = shifts_of(
                block[cells - where.start], plan, cells, shift.coef
            )
        return {"unit_dot": unit_dot, "unit_square": unit_square, "shift_dot": shift_dot}

    total, values = walk(rows, visit, lambda: {"sample": np.zeros(shape, dtype=np.float32)})
    return _Third(sample=total["sample"], **values)


def _even_sample(square: Floats, is_control: Bools, most: int) -> Ints:
    """Return the rows of at most `most` controls, evenly spaced in order of length.

    The choice needs no seed and does not depend on the order of the rows.
    """
    control = np.flatnonzero(is_control)
    if len(control) <= most:
        return control
    by_length = control[np.argsort(square[control], kind="stable")]
    picked = by_length[((np.arange(most) + 0.5) * len(control) / most).astype(np.int64)]
    return np.sort(picked)
