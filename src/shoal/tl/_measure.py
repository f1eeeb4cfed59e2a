"""From grouped sums to numbers: every column of the coherence table, without AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ..core._groups import CrossSums, Directions, directions
from ..core._plan import Plan, shifts_of
from ..metrics import _coherence as coh
from ..metrics import _excess, _magnitude, _null, _residual

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._typing import Floats, Ints
    from ..core._matrix import Rows

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
    "excess_trace",
]


@dataclass(frozen=True)
class Measured:
    """Statistics of all perturbations.

    Attributes
    ----------
    columns
        Name -> (G,) values, in the order of the table.
    cell
        (n_obs,) leave-one-out cosine, NaN for controls.
    control_trace
        Trace of the controls' covariance, pooled over strata.
    sums
        What it was computed from.
    """

    columns: dict[str, Floats]
    cell: Floats
    control_trace: float
    sums: Directions


def measure(
    rows: Rows, plan: Plan, *, min_cells: int, level: float = 0.95, cross: Mapping[str, Ints]
) -> Measured:
    """Compute the statistics of every perturbation from three walks through the matrix."""
    sums = directions(rows, plan, cross=cross)
    n, cells = sums.n, np.flatnonzero(plan.perturbed >= 0)
    code = plan.group[cells]
    lever = _leverage(plan, sums)
    unit_noise, alpha = coh.control_noise(
        sums.footprint, lever, n, sums.direction.noise, sums.inverse
    )
    shift_noise, _ = coh.control_noise(sums.footprint, lever, n, sums.shift.noise, sums.inverse)

    unit_norm = np.einsum("gd,gd->g", sums.sum_centred, sums.sum_centred)
    shift_norm = np.einsum("gd,gd->g", sums.sum_shift, sums.sum_shift)
    unit_square = np.bincount(code, weights=sums.unit_square[cells], minlength=len(n))
    shift_square = np.bincount(code, weights=sums.square[cells], minlength=len(n))
    kappa = coh.kappa(unit_norm, unit_square, n, unit_noise)
    size2 = _magnitude.magnitude2(shift_norm, shift_square, n, shift_noise)

    delta, mean = (
        sums.sum_centred / np.maximum(n, 1)[:, None],
        sums.sum_shift / np.maximum(n, 1)[:, None],
    )
    by_unit = 2 * (sums.unit_dot[cells] - sums.unit_square[cells])
    by_shift = 2 * (sums.shift_dot[cells] - sums.square[cells])
    free = int(sums.n_control.sum()) - plan.n_strata * plan.basis.shape[1]
    moments = _null.spectrum_moments(sums.covariance, free)
    first = coh.jackknife(by_unit, code, n) + coh.control_variance(delta, sums.covariance, alpha)
    se = np.sqrt(coh.total_variance(first, moments[0], n, alpha))
    low, high = coh.interval(kappa, se, n, level)
    tested = n >= min_cells
    pvalue = np.where(tested, _null.null_pvalue(kappa, n, alpha, moments), np.nan)

    control_trace = float(sums.n_control @ sums.shift.noise / sums.n_control.sum())
    expected = _residual.translate(sums.sample, mean, size2, delta, control_trace)
    joint = coh.jackknife(by_unit - expected.slope[code] * by_shift, code, n)
    residual, z, residual_p = _residual.residual_test(kappa, expected, joint, n, alpha)
    residual_p = np.where(tested, residual_p, np.nan)

    own_trace = _magnitude.trace(shift_norm, shift_square, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = sums.footprint.reshape(len(n), plan.n_strata, -1)[:, :, 0] / n[:, None]
    reference = np.where(n > 0, share @ sums.shift.noise, np.nan)
    cell = np.full(len(plan.group), np.nan)
    cell[cells] = coh.leave_one_out(sums.unit_dot[cells], sums.unit_square[cells], unit_norm[code])
    values = (
        coh.signed_sqrt(size2),
        np.sqrt(np.einsum("gd,gd->g", mean, mean)),
        kappa,
        coh.signed_sqrt(kappa),
        (high - low) / (2 * special.ndtri(0.5 + level / 2)),  # finite at 0, where dr/dkappa is not
        low,
        high,
        _mean_of(cell[cells], code, len(n)),
        coh.plug_in(sums.sum_unit, sums.sum_shift, n),
        pvalue,
        _null.adjust(pvalue),
        _magnitude.log_ratio(own_trace, reference),
        residual,
        z,
        residual_p,
        _null.adjust(residual_p),
        own_trace / reference - 1,
    )
    columns = {"n_cells": n, **dict(zip(NUMBERS, values, strict=True))}
    for name, parts in sums.cross.items():
        columns[f"kappa_cross_{name}"] = _cross_kappa(parts, unit_norm, n, sums, plan)
    return Measured(columns, cell, control_trace, sums)


def explain(
    rows: Rows, plan: Plan, measured: Measured, *, alpha: float = 0.05
) -> dict[str, Floats]:
    """Return the excess-covariance columns and the cause of incoherence.

    Only for perturbations whose coherence differs from that of a translation.

    The covariance of the controls is that of the sample of control cells; cells are read again,
    group by group, in batches of bounded size.
    """
    table, n_groups = measured.columns, plan.n_groups
    shares = {name: np.full(n_groups, np.nan) for name in ("along_shift", "top_share", "alignment")}
    causes = np.full(n_groups, "none", dtype=object)
    departs = table["residual_qvalue"] < alpha
    incoherent = departs & (table["residual"] < 0)
    sample = measured.sums.sample
    control = _excess.Spread(sample, max(len(sample) - plan.n_strata, 1))
    for group, cells in _each_group(rows, plan, np.flatnonzero(departs), measured):
        summary = _excess.excess(cells, control)
        for name, values in shares.items():
            values[group] = getattr(summary, name)
        if incoherent[group]:
            noise = control.noise(len(cells)) / control.trace
            causes[group] = _excess.cause(summary, float(table["excess_trace"][group]), 2 * noise)
    return {
        f"excess_{name}" if name != "alignment" else "excess_alignment": v
        for name, v in shares.items()
    } | {"cause": causes}


def _each_group(
    rows: Rows, plan: Plan, groups: Ints, measured: Measured
) -> Iterator[tuple[int, Floats]]:
    """Yield each group and the shifts of its cells.

    As many groups are read at once as fit in memory. One at a time is made dense.
    """
    batch = np.cumsum(measured.columns["n_cells"][groups]) // rows.batch
    order = np.argsort(plan.group, kind="stable")
    first = np.searchsorted(plan.group[order], np.arange(plan.n_groups + 1))
    for number in np.unique(batch):
        chosen = groups[batch == number]
        cells = [order[first[g] : first[g + 1]] for g in chosen]
        index = np.sort(np.concatenate(cells))
        block = rows.take(index)
        for g, own in zip(chosen, cells, strict=True):
            yield (
                g,
                shifts_of(block[np.searchsorted(index, own)], plan, own, measured.sums.shift.coef),
            )


def _leverage(plan: Plan, sums: Directions) -> Floats:
    """Return (G, n_strata) sums over cells of phi A phi."""
    inside = (
        np.einsum("ik,ikl,il->i", plan.basis, sums.inverse[plan.stratum], plan.basis)
        if plan.basis.shape[1] > 1
        else (sums.inverse[plan.stratum, 0, 0])
    )
    keep = plan.perturbed >= 0
    flat = plan.group[keep] * plan.n_strata + plan.stratum[keep]
    return np.bincount(flat, weights=inside[keep], minlength=plan.n_groups * plan.n_strata).reshape(
        plan.n_groups, -1
    )


def _mean_of(values: Floats, code: Ints, n_groups: int) -> Floats:
    """Return group means that leave NaN out."""
    keep = np.isfinite(values)
    total = np.bincount(code[keep], weights=values[keep], minlength=n_groups)
    count = np.bincount(code[keep], minlength=n_groups)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cross_kappa(parts: CrossSums, norm: Floats, n: Ints, sums: Directions, plan: Plan) -> Floats:
    """Return kappa from pairs of cells with different labels; NaN where there is one label."""
    inside = np.bincount(parts.owner, weights=parts.norm, minlength=len(n))
    pairs = np.square(n, dtype=np.float64) - np.bincount(
        parts.owner, weights=parts.n.astype(float) ** 2, minlength=len(n)
    )
    shape = (-1, plan.n_strata, plan.basis.shape[1])

    def joint(feet: Floats) -> Floats:
        f = feet.reshape(shape)
        return (
            np.einsum("ghk,hkl,ghl->gh", f, sums.inverse, f, optimize=True) @ sums.direction.noise
        )

    noise = joint(sums.footprint) - np.bincount(
        parts.owner, weights=joint(parts.footprint), minlength=len(n)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pairs > 0, (norm - inside - noise) / pairs, np.nan)
