"""Residual coherence: more, or less, coherent than a pure translation of the same size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ._coherence import total_variance

if TYPE_CHECKING:
    from .._typing import Floats, Ints


@dataclass(frozen=True)
class Translation:
    """What the controls would look like after a translation by a perturbation's shift.

    Attributes
    ----------
    kappa
        (G,) their coherences.
    slope
        (G,) derivatives of kappa in the squared length of the shift.
    control_variance
        (G,) variances, per control cell, of the first-order effect of the controls on kappa - slope
        * magnitude^2.
    pairs
        (G,) second moments, over pairs of control cells, of u.u' - slope * e.e'. They are the
        variance that is left where there is no response.
    """

    kappa: Floats
    slope: Floats
    control_variance: Floats
    pairs: Floats


def translate(
    sample: Floats, shift: Floats, magnitude2: Floats, delta: Floats, trace: float
) -> Translation:
    """Translate control residuals by the bias-corrected shift of each perturbation.

    Parameters
    ----------
    sample
        (K, d) shifts of control cells from their centroid.
    shift
        (G, d) mean shifts; only their directions are used.
    magnitude2
        (G,) bias-corrected squared lengths of the shifts. Below 0 the expectation is continued as
        an odd function: clipping at 0 would make weak responses look incoherent.
    delta
        (G, d) differences of mean directions.
    trace
        Trace of the controls' covariance.
    """
    # the K x G tables below are large; single precision is enough for a mean of cosines
    sample = sample.astype(np.float32, copy=False)
    k = len(sample)
    radius = np.sqrt(np.maximum(np.einsum("ij,ij->i", sample, sample), 1e-30))
    unit = sample / radius[:, None]
    length = np.linalg.norm(shift, axis=1)
    toward = (shift / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)
    size2 = np.abs(np.nan_to_num(magnitude2))
    size = np.sqrt(size2)

    reach = sample @ toward.T  # (K, G) e_j . direction
    root = reach * (2 * size).astype(np.float32)  # becomes |e_j + shift|
    root += (radius**2)[:, None]
    root += size2.astype(np.float32)
    np.sqrt(np.maximum(root, 1e-30, out=root), out=root)
    inverse = 1 / root
    ones, lengths, reciprocals = (
        inverse.T @ np.column_stack([np.ones_like(radius), radius, 1 / radius])
    ).T
    before = unit.mean(axis=0)
    gap = (inverse.T @ sample + ones[:, None] * (size[:, None] * toward)) / k - before
    # mean of u_j before . u_j after
    cosine = (root.T @ (1 / radius) + lengths - size2 * reciprocals) / (2 * k)
    norm = np.einsum("gd,gd->g", gap, gap, dtype=np.float64)
    noise = np.maximum(2 - 2 * cosine - norm, 0.0) / max(k - 1, 1)
    kappa = np.where(size2 > 0, norm - noise, 0.0)

    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where((size2 > 0) & (kappa > 0), kappa * (1 - kappa) / size2, 1.0 / trace)
    slope = np.minimum(slope, 4.0 / trace)
    unit -= before
    reach *= (-slope * size).astype(np.float32)
    reach += unit @ delta.T.astype(np.float32)  # (K, G) u_j . delta - slope * e_j . shift
    control_variance = 4 * (np.einsum("kg,kg->g", reach, reach) / k - reach.mean(axis=0) ** 2)
    pairs = _pair_moments(sample, unit) @ np.stack([np.ones_like(slope), -2 * slope, slope**2])
    return Translation(np.sign(np.nan_to_num(magnitude2)) * kappa, slope, control_variance, pairs)


def _pair_moments(sample: Floats, unit: Floats) -> Floats:
    """Return E (u.u')^2, E (u.u')(e.e') and E (e.e')^2 over pairs of control cells.

    u is centred.
    """
    k, total = len(sample), np.zeros(3)
    for i in range(0, k, 250):
        mine = np.arange(i, min(i + 250, k))
        a, b = unit[mine] @ unit.T, sample[mine] @ sample.T
        a[np.arange(len(mine)), mine] = b[np.arange(len(mine)), mine] = 0
        total += [np.vdot(x, y) for x, y in ((a, a), (a, b), (b, b))]
    return total / (k * max(k - 1, 1))


def residual_test(
    kappa: Floats, expected: Translation, variance: Floats, n: Ints, alpha: Floats
) -> tuple[Floats, Floats, Floats]:
    """Test whether a response is as coherent as a translation of its size.

    Parameters
    ----------
    kappa
        (G,) coherences.
    expected
        The coherence of a translation.
    variance
        (G,) jackknife variances of kappa - slope * magnitude^2 over the perturbed cells.
    n
        (G,) numbers of cells.
    alpha
        (G,) variance factors of the controls' mean.

    Returns
    -------
    T = kappa - expected, z = T / SE, and the two-sided p-value; (G,) each.
    """
    residual = kappa - expected.kappa
    se = np.sqrt(
        total_variance(variance + alpha * expected.control_variance, expected.pairs, n, alpha)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(se > 0, residual / se, np.nan)
    return residual, z, 2 * special.ndtr(-np.abs(z))
