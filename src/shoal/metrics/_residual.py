"""Residual coherence: more, or less, coherent than a pure translation of this size would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ._coherence import total_variance

if TYPE_CHECKING:
    from .._typing import Floats, Ints


@dataclass(frozen=True)
class Translation:
    """What the controls would look like, were they translated by a perturbation's shift.

    Attributes
    ----------
    kappa
        (G,) their coherence.
    slope
        (G,) its derivative in the squared length of the shift.
    control_variance
        (G,) variance, per control cell, of the first-order effect of the controls on kappa - slope * magnitude^2.
    pairs
        (G,) second moment, over pairs of control cells, of u.u' - slope * e.e': what is left of the variance where
        there is no response.
    along
        (G,) variance of the controls along the shift.
    """

    kappa: Floats
    slope: Floats
    control_variance: Floats
    pairs: Floats
    along: Floats


def translate(sample: Floats, shift: Floats, magnitude2: Floats, delta: Floats, trace: float) -> Translation:
    """Translate control residuals by the bias-corrected shift of each perturbation.

    Parameters
    ----------
    sample
        (K, d) shifts of control cells from their centroid.
    shift
        (G, d) mean shifts; only their directions are used.
    magnitude2
        (G,) bias-corrected squared lengths. Below 0 the expectation is continued as an odd function: clipping would
        make weak responses look incoherent.
    delta
        (G, d) differences of mean directions.
    trace
        Trace of the controls' covariance.
    """
    sample = sample.astype(np.float32)
    k = len(sample)
    length = np.linalg.norm(shift, axis=1)
    unit = shift / np.where(length > 0, length, 1.0)[:, None]
    size2 = np.abs(np.nan_to_num(magnitude2))
    size = np.sqrt(size2)
    own2 = np.einsum("ij,ij->i", sample, sample, dtype=np.float64).astype(np.float32)
    own = np.sqrt(np.maximum(own2, 1e-30))
    reach = sample @ unit.T.astype(np.float32)  # (K, G) e_j . direction
    along = np.var(reach, axis=0, dtype=np.float64) * (k / max(k - 1, 1))
    tilt = (sample @ delta.T.astype(np.float32)) / own[:, None]  # (K, G) u_j . delta
    moved = size.astype(np.float32) * reach
    inverse = 1.0 / np.sqrt(np.maximum(own2[:, None] + 2 * moved + size2.astype(np.float32), 1e-30))
    mean_after = (inverse.T @ sample + inverse.sum(axis=0)[:, None] * (size[:, None] * unit)) / k
    gap = mean_after - np.mean(sample / own[:, None], axis=0, dtype=np.float64)
    cosine = np.mean(inverse * (own2[:, None] + moved) / own[:, None], axis=0, dtype=np.float64)
    norm = np.einsum("gd,gd->g", gap, gap, dtype=np.float64)
    noise = np.maximum(2 - 2 * cosine - norm, 0.0) / max(k - 1, 1)
    kappa = np.where(size2 > 0, norm - noise, 0.0)
    curvature = _pair_moments(sample, own)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where((size2 > 0) & (kappa > 0), kappa * (1 - kappa) / size2, 1.0 / trace)
    slope = np.minimum(slope, 1.0 / trace * 4)
    joint = tilt - (slope * size).astype(np.float32) * reach
    control_variance = 4 * np.var(joint, axis=0, dtype=np.float64)
    signed = np.sign(np.nan_to_num(magnitude2)) * kappa
    pairs = curvature @ np.stack([np.ones_like(slope), -2 * slope, slope**2])
    return Translation(signed.astype(np.float64), slope.astype(np.float64), control_variance, pairs, along)


def _pair_moments(sample: Floats, own: Floats) -> Floats:
    """Return E (u.u')^2, E (u.u')(e.e') and E (e.e')^2 over pairs of control cells."""
    unit = sample / own[:, None]
    unit = unit - unit.mean(axis=0)
    a, b = unit @ unit.T, sample @ sample.T
    np.fill_diagonal(a, 0)
    np.fill_diagonal(b, 0)
    pairs = len(sample) * max(len(sample) - 1, 1)
    return np.array([np.vdot(x, y) / pairs for x, y in ((a, a), (a, b), (b, b))], dtype=np.float64)


def residual_test(
    kappa: Floats, expected: Translation, variance: Floats, n: Ints, alpha: Floats
) -> tuple[Floats, Floats, Floats]:
    """Test whether a response is as coherent as a translation of its size.

    Parameters
    ----------
    kappa
        (G,) coherences.
    expected
        What a translation gives.
    variance
        (G,) jackknife variance of kappa - slope * magnitude^2 over the perturbed cells.
    n
        (G,) cells.
    alpha
        (G,) variance factor of the controls' mean.

    Returns
    -------
    T = kappa - expected, z = T / SE, and the two-sided p-value.
    """
    residual = kappa - expected.kappa
    se = np.sqrt(total_variance(variance + alpha * expected.control_variance, expected.pairs, n, alpha))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(se > 0, residual / se, np.nan)
    return residual, z, 2 * stats.norm.sf(np.abs(z))
