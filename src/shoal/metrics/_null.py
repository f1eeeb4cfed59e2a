"""Coherence without an effect: the null distribution of kappa, and its p-values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._fdr import benjamini_hochberg

if TYPE_CHECKING:
    from .._typing import Floats, Ints


def spectrum_moments(covariance: Floats, free: int) -> tuple[float, float]:
    """Return tr C^2 and tr C^3 of the population from a sample covariance, without bias.

    The moments of a Wishart matrix are solved for those of the population. Directions have length
    1, so their fourth moment is that of a fixed length: hence the factor of tr^2.

    Parameters
    ----------
    covariance
        (d, d) sample covariance of directions.
    free
        Its degrees of freedom.
    """
    first = float(np.trace(covariance))
    second = float(np.vdot(covariance, covariance))
    # in blocks, so that no second matrix of that size is needed
    rows = (covariance[i : i + 256] for i in range(0, len(covariance), 256))
    third = sum(float(np.vdot(part @ covariance, part)) for part in rows)
    f = float(max(free, 2))
    c2 = max((second - first**2 / f) / (1 + 1 / f), first**2 / len(covariance))
    c3 = (third - 3 * c2 * first / f - first**3 / f**2) / (1 + 3 / f + 4 / f**2)
    return c2, max(c3, c2**2 / max(first, 1e-300))


def null_pvalue(kappa: Floats, n: Ints, alpha: Floats, moments: tuple[float, float]) -> Floats:
    """Return the one-sided p-value of kappa > 0 from its analytic null distribution.

    Without an effect kappa is a degenerate U-statistic. With C the covariance of the controls'
    directions and alpha = 1/m for m controls, it has

    - mean 0;
    - variance 2 tr C^2 (1/(n(n-1)) + 2 alpha/n + alpha^2);
    - skewness sqrt(8) tr C^3 / (tr C^2)^1.5.

    The p-value is that of a gamma distribution with these moments.

    Parameters
    ----------
    kappa
        (G,) estimates.
    n
        (G,) numbers of cells.
    alpha
        (G,) variance factors of the controls' mean.
    moments
        tr C^2 and tr C^3.

    Returns
    -------
    (G,) p-values; NaN where kappa is.
    """
    from scipy import stats

    c2, c3 = moments
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = np.where(n > 1, 1.0 / (n * (n - 1.0)), np.nan)
        sd = np.sqrt(2 * c2 * (pairs + 2 * alpha / n + alpha**2))
    skew = np.sqrt(8.0) * c3 / c2**1.5
    return np.asarray(stats.pearson3.sf(kappa / sd, skew), dtype=np.float64)


def adjust(pvalue: Floats) -> Floats:
    """Return Benjamini-Hochberg q-values. NaN stays NaN and does not count as a test."""
    return benjamini_hochberg(np.clip(np.asarray(pvalue, dtype=np.float64)[None], 0, 1))[0]
