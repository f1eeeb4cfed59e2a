r"""Directional coherence of a perturbed population against its controls.

Let u be the unit vector of a cell's shift from the centroid of the controls. The estimand is

.. math:: \kappa_\Delta = \lVert E_p u - E_c u \rVert^2, \qquad
          r = \mathrm{sign}(\kappa_\Delta)\sqrt{|\kappa_\Delta|},

with means over perturbed cells (p) and control cells (c). Without an effect
:math:`\kappa_\Delta = 0`, whatever the shape of the control population. For an isotropic Gaussian
with total variance T that is translated by :math:`\mu`, r is close to :math:`\mu/\sqrt{\mu^2 + T}`.

The formulas take *grouped sums*, so that cells are read once for all G perturbations. They use w =
u - (mean u of the controls), and W, the sum of w over the cells of a perturbation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .._threads import one_thread
from ._arguments import arrays, require_finite

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ._strata import Composition


def signed_sqrt(x: Floats) -> Floats:
    """Return sign(x) sqrt|x|: from unbiased squares, which may be negative, to lengths."""
    return np.sign(x) * np.sqrt(np.abs(x))


def pair_mean(norm: Floats, square: Floats, n: Ints) -> Floats:
    """Return the mean of a_i . a_j over pairs i != j of cells; NaN for fewer than 2 cells.

    Parameters
    ----------
    norm
        (G,) squared length of the sum, |sum a|^2.
    square
        (G,) sum of the squared lengths, sum |a|^2.
    n
        (G,) numbers of cells.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, (norm - square) / (n * (n - 1.0)), np.nan)


def kappa(norm: Floats, square: Floats, n: Ints, control_noise: Floats) -> Floats:
    """Return the unbiased two-sample coherence on the squared scale.

    Parameters
    ----------
    norm
        (G,) |W|^2.
    square
        (G,) sums of |w|^2.
    n
        (G,) numbers of cells.
    control_noise
        (G,) noise of the controls' mean that each pair of cells shares: (1 - |mean u|^2) / (m - 1)
        for m controls.

    Returns
    -------
    (G,) estimates of kappa. At most 1; 0 on average without an effect, and not clipped. NaN for
    fewer than 2 cells.
    """
    return pair_mean(norm, square, n) - control_noise


def control_noise(
    made: Composition, feet: Floats, leverage: Floats, noise: Floats, inverse: Floats
) -> Floats:
    """Return the noise that the fit to the controls adds to pairs of cells.

    The expected direction of a cell is fitted to the controls of its stratum, by q basis functions
    phi.

    Parameters
    ----------
    made
        Perturbations by strata, Q combinations.
    feet
        (Q, q) sums of the rows of the basis over the cells of each combination.
    leverage
        (Q,) sums over cells of phi A phi, with A the inverse Gram matrix of the controls.
    noise
        (H,) residual variances of the controls, summed over dimensions.
    inverse
        (H, q, q) inverse Gram matrices A.

    Returns
    -------
    (G,) means of noise * phi_i A phi_j over pairs i != j of cells.
    """
    at = made.stratum
    joint = (np.einsum("ck,ckl,cl->c", feet, inverse[at], feet) - leverage) * noise[at]
    n = np.bincount(made.group, weights=made.n, minlength=made.n_groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.bincount(made.group, weights=joint, minlength=made.n_groups)
        return np.where(n > 1, total / (n * (n - 1.0)), np.nan)


def jackknife(values: Floats, code: Ints, n: Ints, stratum: Ints | None = None) -> Floats:
    """Return the variance, by deletion of one cell, of a statistic that is affine in `values`.

    Without cell i a pair mean is (norm - square - v_i) / ((n - 1)(n - 2)), with v_i = 2 a_i . A - 2
    |a_i|^2 and A the sum of all a. So the jackknife needs only the variance of v within each group.

    Parameters
    ----------
    values
        (n_cells,) v_i.
    code
        (n_cells,) group of each cell.
    n
        (G,) numbers of cells of the groups.
    stratum
        (n_cells,) number of the group and stratum of each cell, if the cells of each stratum are as
        many as they are: only variance within strata counts then. Groups with more than half as
        many strata as cells are taken as a whole.

    Returns
    -------
    (G,) variances; NaN for fewer than 3 cells.
    """
    count, free = np.maximum(n, 1), np.maximum(n - 1.0, 1)
    mean = np.bincount(code, weights=values, minlength=len(n)) / count
    centre = mean[code]
    if stratum is not None and len(code):
        size = np.bincount(stratum)
        first = np.unique(stratum, return_index=True)[1]
        parts = np.bincount(code[first], minlength=len(n))
        split = 2 * parts <= n
        inside = np.bincount(stratum, weights=values) / np.maximum(size, 1)
        centre = np.where(split[code], inside[stratum], centre)
        free = np.where(split, np.maximum(n - parts, 1), free)
    spread = np.bincount(code, weights=(values - centre) ** 2, minlength=len(n)) / free
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 2, spread / count / (n - 2.0) ** 2, np.nan)


def total_variance(first: Floats, second: Floats) -> Floats:
    """Return the variance of a two-sample pair statistic from an estimate of its first-order part.

    The variance of the statistic is V1 + V2. V1 comes from its projections on single cells; without
    an effect it is 0. V2 comes from pairs. A jackknife gives V1 + 2 V2 on average, and so does any
    plug-in of the estimated difference. That is too much where the response is weak, so V2 is
    subtracted.

    Parameters
    ----------
    first
        (G,) jackknife variances over the perturbed cells, plus the first-order part of the
        controls.
    second
        (G,) V2 = 2 q (1/n + 1/m)^2, with q the second moment of the kernel over pairs of cells.
    """
    return np.maximum(first - 2 * second, 0) + second


def interval(kappa: Floats, se: Floats, n: Ints, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the confidence interval of r: kappa -+ t SE, both ends turned to the scale of r.

    The t quantile has n - 1 degrees of freedom.
    """
    half = special.stdtrit(np.maximum(n - 1, 1), 0.5 + level / 2) * se
    return signed_sqrt(kappa - half), np.minimum(signed_sqrt(kappa + half), 1.0)


def leave_one_out(unit_dot: Floats, unit_square: Floats, norm: Floats) -> Floats:
    """Return each cell's cosine with the direction of the other cells of its perturbation.

    Parameters
    ----------
    unit_dot
        (n_cells,) w_i . W; W includes the cell itself.
    unit_square
        (n_cells,) |w_i|^2.
    norm
        (n_cells,) |W|^2 of the cell's perturbation.

    Returns
    -------
    (n_cells,) cosines, -1 to 1; NaN for a cell without a direction or without other cells.
    """
    others = norm - 2 * unit_dot + unit_square
    length = np.sqrt(np.maximum(unit_square * others, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(length > 1e-12, np.clip((unit_dot - unit_square) / length, -1, 1), np.nan)


def plug_in(sum_unit: Floats, sum_shift: Floats, n: Ints) -> Floats:
    """Return coherence as published: the mean cosine of each cell's shift with the mean shift.

    For comparison only. The mean shift contains the cell itself, so that the value is biased: about
    sqrt(1/n + 1/m) without any effect. Source: raju2026coherence.
    """
    length = np.linalg.norm(sum_shift, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.einsum("gd,gd->g", sum_unit, sum_shift) / (n * length)
    return np.where((length > 0) & (n > 0), value, np.where(n > 0, 0.0, np.nan))


@arrays
@one_thread()
def coherence(cells: Floats, control: Floats) -> float:
    """Coherence of one perturbed population against its controls, on the squared scale.

    It asks whether the cells moved in one direction. Each cell is replaced by the unit vector of
    its shift from the mean control cell. The value is the squared distance between the mean unit
    vectors of perturbed and control cells, corrected for sampling noise. It is 0 on average without
    an effect, may fall below 0, and is at most 1.

    Parameters
    ----------
    cells
        (n, d) perturbed cells.
    control
        (m, d) control cells.

    Returns
    -------
    Coherence kappa; sign(kappa) sqrt(|kappa|) is the coherence r of `tl.coherence`.

    Raises
    ------
    ValueError
        If there are fewer than 2 perturbed or 2 control cells, fewer than 2 columns (of one column,
        every direction is 1 or -1), or the columns differ.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> rng = np.random.default_rng(0)
    >>> kappa = sh.metrics.coherence(rng.normal(1, 1, (50, 5)), rng.normal(0, 1, (80, 5)))
    """
    if cells.ndim != 2 or control.ndim != 2 or cells.shape[1] != control.shape[1]:
        msg = (
            "cells and control must be 2-D with equal columns, "
            f"not {cells.shape} and {control.shape}"
        )
        raise ValueError(msg)
    require_finite({"cells": cells, "control": control})
    cells, control = (x.astype(np.float64, copy=False) for x in (cells, control))
    n, m = len(cells), len(control)
    if cells.shape[1] < 2:
        msg = f"coherence compares directions, and needs at least 2 columns, not {cells.shape[1]}"
        raise ValueError(msg)
    if min(n, m) < 2:
        msg = f"coherence needs at least 2 cells and 2 controls, not {n} and {m}"
        raise ValueError(msg)
    centre = control.mean(axis=0)
    units = []
    for x in (cells, control):
        shift = x - centre
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        units.append(np.divide(shift, length, out=np.zeros_like(shift), where=length > 0))
    mean_p, mean_c = units[0].mean(axis=0), units[1].mean(axis=0)
    # 1, unless some cells have no direction
    size_p, size_c = (
        np.sum(units[0] ** 2) / n,
        np.sum(units[1] ** 2) / m,
    )
    delta = mean_p - mean_c
    return float(
        delta @ delta - (size_p - mean_p @ mean_p) / (n - 1) - (size_c - mean_c @ mean_c) / (m - 1)
    )
