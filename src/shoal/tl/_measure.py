"""From grouped sums to numbers: every column of the coherence table, without AnnData."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ..core._cell_dots import cell_dots
from ..core._groups import directions
from ..metrics import _coherence as coh
from ..metrics import _magnitude, _null, _residual
from ..metrics._pair_moments import pair_moments
from ..metrics._strata import Composition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._typing import Floats, Ints
    from ..core._groups import CrossSums, Directions, GroupSums
    from ..core._matrix import Rows
    from ..core._plan import Plan
    from ..metrics._pair_moments import PairMoments
    from ..metrics._residual import Translation

NUMBERS = [
    "magnitude",
    "magnitude_plugin",
    "kappa",
    "coherence",
    "coherence_se",
    "ci_low",
    "ci_high",
    "coherence_loo",
    "coherence_plugin",
    "pvalue",
    "qvalue",
    "dispersion",
    "residual",
    "residual_z",
    "residual_pvalue",
    "residual_qvalue",
]


@dataclass(frozen=True)
class Measured:
    """Statistics of all perturbations.

    Attributes
    ----------
    columns
        Name -> (G,) values, in the order of the table.
    made
        Perturbations by strata.
    residual_se
        (G,) standard errors of the residual.
    cell
        (n_obs,) leave-one-out cosine, NaN for controls.
    control_trace
        Trace of the controls' covariance, pooled over strata.
    sums
        What it was computed from.
    finer
        The same for the finer groups, such as perturbation x context; ``None`` without them.
    """

    columns: dict[str, Floats]
    made: Composition
    residual_se: Floats
    cell: Floats
    control_trace: float
    sums: Directions
    finer: Measured | None = None


def measure(
    rows: Rows,
    plan: Plan,
    *,
    min_cells: int,
    level: float = 0.95,
    cross: Mapping[str, Ints],
    finer: Plan | None = None,
) -> Measured:
    """Compute the statistics of every perturbation from three walks through the matrix.

    With `finer`, the groups of that plan are measured in the same walks.
    """
    plans = [plan] if finer is None else [plan, finer]
    sums = directions(rows, plan, cross=cross, finer=finer)
    found = pair_moments(sums.sample)
    begun = [_begin(p, sums, own, found) for p, own in zip(plans, sums.groups, strict=True)]
    dots = cell_dots(rows, plans, sums, [b.expected.along for b in begun])
    done = [
        _finish(b, sums, found, unit, along, dots.unit_square, min_cells=min_cells, level=level)
        for b, unit, along in zip(begun, dots.unit, dots.along, strict=True)
    ]
    for name, labelled in sums.cross.items():
        clean = begun[0].unit_norm - _noise_of_all(plan, sums)
        done[0].columns[f"kappa_cross_{name}"] = _cross_kappa(labelled, clean, sums.groups[0].n)
    return done[0] if finer is None else replace(done[0], finer=done[1])


@dataclass(frozen=True)
class _Begun:
    """What the first two walks say about the groups of a plan; arrays (G,) but for sums (G, d)."""

    plan: Plan
    own: GroupSums
    made: Composition
    unit_norm: Floats
    shift_norm: Floats
    shift_square: Floats
    unit_noise: Floats
    size2: Floats
    expected: Translation


def _begin(plan: Plan, sums: Directions, own: GroupSums, found: PairMoments) -> _Begun:
    """Compute what needs no third walk: magnitude, and the coherence of a translation."""
    n, cells = own.n, np.flatnonzero(plan.perturbed >= 0)
    feet = plan.feet(plan.cohorts)
    made = _composition(plan, n, feet, sums)
    lever = _leverage(plan, sums, cells)
    unit_noise, shift_noise = (
        coh.control_noise(made, feet, lever, fit.noise, sums.inverse)
        for fit in (sums.direction, sums.shift)
    )
    unit_norm = np.einsum("gd,gd->g", own.centred, own.centred)
    shift_norm = np.einsum("gd,gd->g", own.shift, own.shift)
    shift_square = np.bincount(plan.group[cells], weights=sums.square[cells], minlength=len(n))
    size2 = _magnitude.magnitude2(shift_norm, shift_square, n, shift_noise)
    count = np.maximum(n, 1)[:, None]
    expected = _residual.translate(
        sums.sample, found, made, own.shift / count, size2, own.centred / count
    )
    return _Begun(plan, own, made, unit_norm, shift_norm, shift_square, unit_noise, size2, expected)


def _finish(
    begun: _Begun,
    sums: Directions,
    found: PairMoments,
    unit_dot: Floats,
    along_dot: Floats,
    square: Floats,
    *,
    min_cells: int,
    level: float,
) -> Measured:
    """Compute every column of the table for the groups of a plan."""
    plan, own, made, expected = begun.plan, begun.own, begun.made, begun.expected
    n, cells = own.n, np.flatnonzero(plan.perturbed >= 0)
    code, cohort = plan.group[cells], plan.cohorts.code[cells]
    unit_norm, shift_norm = begun.unit_norm, begun.shift_norm
    unit_square = np.bincount(code, weights=square[cells], minlength=len(n))
    kappa = coh.kappa(unit_norm, unit_square, n, begun.unit_noise)
    by_unit = 2 * (unit_dot[cells] - square[cells])
    # the shift without the cell itself: its own part has the slope of noise
    by_shift = n[code] * along_dot[cells] - expected.noise_slope[code] * sums.square[cells]

    free = sums.n_control - plan.basis.shape[1]
    whole = _null.spectrum_moments(sums.covariance, int(free.sum()))
    weight = np.maximum(free, 0) / max(int(np.maximum(free, 0).sum()), 1)
    null = _null.null_of(made, n, found, whole, weight)
    first = coh.jackknife(by_unit, code, n) + expected.control_variance
    se = np.sqrt(coh.total_variance(first, expected.bent**2 * null.pairs))
    low, high = coh.interval(kappa, se, n, level)
    tested = n >= min_cells
    pvalue = np.where(tested, _null.null_pvalue(kappa, null), np.nan)

    joint = coh.jackknife(by_unit - 2 * by_shift, code, n, cohort)
    pairs = _residual.pair_variance(made, found, expected)
    residual, residual_se, z, residual_p = _residual.residual_test(
        kappa, expected, joint, pairs, begun.unit_noise, n=n, alpha=made.total(made.alpha)
    )
    residual_p = np.where(tested, residual_p, np.nan)

    own_trace = _magnitude.trace(shift_norm, begun.shift_square, n)
    reference = made.mean(sums.shift.noise)
    cell = np.full(len(plan.group), np.nan)
    cell[cells] = coh.leave_one_out(unit_dot[cells], square[cells], unit_norm[code])
    values = (
        coh.signed_sqrt(begun.size2),
        np.sqrt(shift_norm) / np.maximum(n, 1),
        kappa,
        coh.signed_sqrt(kappa),
        (high - low) / (2 * special.ndtri(0.5 + level / 2)),  # finite at 0, where dr/dkappa is not
        low,
        high,
        _mean_of(cell[cells], code, len(n)),
        coh.plug_in(own.unit, own.shift, n),
        pvalue,
        _null.adjust(pvalue),
        _magnitude.log_ratio(own_trace, reference),
        residual,
        z,
        residual_p,
        _null.adjust(residual_p),
    )
    columns = {"n_cells": n, **dict(zip(NUMBERS, values, strict=True))}
    control_trace = float(sums.n_control @ sums.shift.noise / sums.n_control.sum())
    return Measured(columns, made, residual_se, cell, control_trace, sums)


def _composition(plan: Plan, n: Ints, feet: Floats, sums: Directions) -> Composition:
    """Return what strata each group is in, and what its controls' mean owes to each."""
    cohorts = plan.cohorts
    size = np.maximum(n, 1)[cohorts.group].astype(np.float64)
    joint = np.einsum("ck,ckl,cl->c", feet, sums.inverse[cohorts.stratum], feet)
    return Composition(
        cohorts.group,
        cohorts.stratum,
        cohorts.n,
        share=cohorts.n / size,
        alpha=joint / size**2,
        n_groups=plan.n_groups,
        n_strata=plan.n_strata,
    )


def _leverage(plan: Plan, sums: Directions, cells: Ints) -> Floats:
    """Return (Q,) sums over the cells of each cohort of phi A phi."""
    basis, inverse = plan.basis[cells], sums.inverse
    if basis.shape[1] == 1:
        inside = inverse[plan.stratum[cells], 0, 0]
    else:
        inside = np.einsum("ik,ikl,il->i", basis, inverse[plan.stratum[cells]], basis)
    return np.bincount(plan.cohorts.code[cells], weights=inside, minlength=len(plan.cohorts.n))


def _mean_of(values: Floats, code: Ints, n_groups: int) -> Floats:
    """Return group means that leave NaN out."""
    keep = np.isfinite(values)
    total = np.bincount(code[keep], weights=values[keep], minlength=n_groups)
    count = np.bincount(code[keep], minlength=n_groups)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _noise_of_all(plan: Plan, sums: Directions) -> Floats:
    """Return (G,) what the noise of the controls' mean adds to the squared length of a sum."""
    feet, at = plan.feet(plan.cohorts), plan.cohorts.stratum
    joint = np.einsum("ck,ckl,cl->c", feet, sums.inverse[at], feet) * sums.direction.noise[at]
    return np.bincount(plan.cohorts.group, weights=joint, minlength=plan.n_groups)


def _cross_kappa(parts: CrossSums, clean: Floats, n: Ints) -> Floats:
    """Return kappa from pairs of cells with different labels; NaN where there is one label.

    `clean` is the squared length of the sum over all cells of a group, less its control noise.
    """
    inside = np.bincount(parts.owner, weights=parts.norm - parts.noise, minlength=len(n))
    pairs = np.square(n, dtype=np.float64) - np.bincount(
        parts.owner, weights=parts.n.astype(float) ** 2, minlength=len(n)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, (clean - inside) / pairs, np.nan)
