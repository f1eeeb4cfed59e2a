"""Coherence without an effect: the null distribution of kappa, and its p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._fdr import benjamini_hochberg

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ._pair_moments import PairMoments
    from ._strata import Composition


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


@dataclass(frozen=True)
class Null:
    """Law of kappa without an effect, for each perturbation.

    Attributes
    ----------
    variance, skewness
        (G,) of kappa. Its mean is 0.
    pairs
        (G,) V2, the part of the variance that comes from pairs of cells, with or without an effect.
    """

    variance: Floats
    skewness: Floats
    pairs: Floats


def null_of(
    made: Composition, n: Ints, found: PairMoments, whole: tuple[float, float], weight: Floats
) -> Null:
    r"""Return the law of kappa without an effect.

    Without an effect kappa is a degenerate U-statistic. The cells of a perturbation have the
    covariance of directions :math:`C = \sum_h p_h C_h`, with :math:`p_h` the share of its cells in
    stratum h. The mean of their controls has :math:`C_\alpha = \sum_h p_h^2 C_h / m_h`. Then

    .. math:: \mathrm{Var}\,\kappa = 2 \left( \frac{\mathrm{tr}\,C^2}{n(n-1)}
              + \frac{2\,\mathrm{tr}\,C C_\alpha}{n} + \mathrm{tr}\,C_\alpha^2 \right).

    With one stratum of m controls this is 2 tr C^2 (1/(n(n-1)) + 2/(nm) + 1/m^2). The skewness is
    sqrt(8) tr C^3 / (tr C^2)^1.5. Over strata it is combined from those of the strata. That is
    exact where the perturbation is in one stratum or strata are alike, and slightly too large
    elsewhere.

    Parameters
    ----------
    made
        Perturbations by strata.
    n
        (G,) numbers of cells.
    found
        Moments of the strata, from a sample of their controls.
    whole
        tr C^2 and tr C^3 of all controls, each about the mean of its stratum. The moments of the
        sample are scaled so that they agree with them.
    weight
        (H,) share of the controls in each stratum.
    """
    c2, c3 = whole
    sampled = float(weight @ found.unit @ weight)
    table = found.unit * (c2 / sampled if sampled > 0 else 1.0)
    within = made.product(made.share, table, made.share)
    both = made.product(made.share, table, made.alpha)
    control = made.product(made.alpha, table, made.alpha)
    side = np.sqrt(np.diagonal(found.unit))
    third = np.cbrt(found.third)
    mixed = (weight @ third) / max(float(weight @ side), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = 2 * (within / np.where(n > 1, n * (n - 1.0), np.nan) + 2 * both / n + control)
        pairs = 2 * (within / n**2.0 + 2 * both / n + control)
        relative = made.mean(third) / made.mean(side) / mixed if mixed > 0 else 1.0
    skewness = np.sqrt(8.0) * c3 / c2**1.5 * relative**3
    return Null(variance, skewness, pairs)


def null_pvalue(kappa: Floats, null: Null) -> Floats:
    """Return the one-sided p-value of kappa > 0 from its analytic null distribution.

    Parameters
    ----------
    kappa
        (G,) estimates.
    null
        Their law without an effect; a gamma distribution with these moments is used.

    Returns
    -------
    (G,) p-values; NaN where kappa is.
    """
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            stats.pearson3.sf(kappa / np.sqrt(null.variance), null.skewness), dtype=np.float64
        )


def adjust(pvalue: Floats) -> Floats:
    """Return Benjamini-Hochberg q-values. NaN stays NaN and does not count as a test."""
    return benjamini_hochberg(np.clip(np.asarray(pvalue, dtype=np.float64)[None], 0, 1))[0]
