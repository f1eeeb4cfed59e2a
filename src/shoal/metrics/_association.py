"""Association of a response with scores, across perturbations, given magnitude: rank regression on a spline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline

if TYPE_CHECKING:
    from .._typing import Floats, Ints

SPLINE_DF = 4  # a natural cubic spline on five quantile knots, the constant apart
LEAST_FREE = 5  # residual degrees of freedom below which nothing is computed
PER_BIN = 5  # perturbations in a magnitude bin
CHUNK = 500  # permutations in memory at once; results do not depend on it
SIMEX_STEPS = np.array([0.5, 1.0, 1.5, 2.0])
SIMEX_DRAWS = 50


@dataclass(frozen=True)
class Association:
    """What `partial_association` and `raw_partial` return; every array has one entry per score.

    Attributes
    ----------
    association
        Partial rank correlation, -1 to 1.
    se, ci_low, ci_high
        Its standard error and 95 % interval (Fisher z with the variance of Bonett and Wright for ranks).
    pvalue
        Two-sided.
    simex
        The association extrapolated to a magnitude without error; NaN if its error is not known.
    """

    association: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats
    pvalue: Floats
    simex: Floats


def partial_association(
    response: Floats,
    scores: Floats,
    *,
    magnitude: Floats,
    covariates: Floats | None = None,
    magnitude_se: Floats | None = None,
    n_bins: int = 10,
    n_perms: int = 10_000,
    rng: np.random.Generator,
) -> Association:
    """Partial rank correlation of a response with each score, given a spline of magnitude and covariates.

    Response and scores are ranked; a natural cubic spline (4 degrees of freedom) of the rank of magnitude, which is the
    same for log magnitude or any other monotone scale, and the ranks of the covariates are regressed out of both; the
    residuals are correlated. For the p-value the residuals of the scores are permuted among perturbations of similar
    magnitude (equal bins by rank) and regressed again: (b + 1) / (B + 1), two-sided. Permutation within bins keeps
    whatever spread and shape the residuals have at each magnitude.

    With `magnitude_se`, simulation-extrapolation (SIMEX) adds more and more noise of that size to magnitude and
    extrapolates the association, by a quadratic, back to no noise. It assumes errors of magnitude independent of response
    and score, so it is a check of sensitivity, not an estimate to quote by itself.

    Parameters
    ----------
    response
        (n,) such as residual coherence z.
    scores
        (n, k).
    magnitude
        (n,) any monotone scale; negative values are allowed.
    covariates
        (n, c).
    magnitude_se
        (n,) standard errors of magnitude.
    n_bins
        Bins of magnitude; fewer if they would hold less than 5 perturbations.
    n_perms
        Permutations, shared by all scores.
    rng
        Source of randomness.

    Returns
    -------
    `Association`; NaN for a score that does not vary beyond magnitude and covariates.

    Raises
    ------
    ValueError
        If fewer than 5 degrees of freedom are left.

    References
    ----------
    Freedman and Lane (1983), J. Bus. Econ. Stat. 1, 292; Bonett and Wright (2000), Psychometrika 65, 23; Cook and
    Stefanski (1994), JASA 89, 1314.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import partial_association
    >>> rng = np.random.default_rng(0)
    >>> magnitude, score = rng.lognormal(size=200), rng.normal(size=(200, 1))
    >>> response = score[:, 0] + rng.normal(size=200)
    >>> found = partial_association(response, score, magnitude=magnitude, n_perms=999, rng=rng)
    >>> bool(found.association[0] > 0.5 and found.pvalue[0] == 0.001)
    True
    """
    order = np.lexsort((response, magnitude))  # so that the order of the input does not matter
    response, scores, magnitude = response[order], scores[order], magnitude[order]
    covariates = None if covariates is None else stats.rankdata(covariates[order], axis=0)
    y, x = stats.rankdata(response), stats.rankdata(scores, axis=0)
    basis = _basis(magnitude, covariates)
    free = len(y) - basis.shape[1]
    if free < LEAST_FREE:
        msg = (
            f"{len(y)} perturbations are too few: magnitude and covariates take {basis.shape[1]} degrees of freedom and "
            f"{LEAST_FREE} must be left"
        )
        raise ValueError(msg)
    ry, rx = _residual(y, basis), _residual(x, basis)
    found = _correlate(ry, rx)
    permutations, noise = rng.spawn(2)
    pvalue = _permute(ry, rx, basis, found, magnitude_bins(len(y), n_bins), n_perms, permutations)
    simex = np.full(len(found), np.nan)
    if magnitude_se is not None:
        simex = _simex(y, x, magnitude, magnitude_se[order], covariates, found, noise)
    return Association(found, *_interval(found, free - 2), pvalue, simex)


def raw_partial(response: Floats, scores: Floats, *, magnitude: Floats) -> Association:
    """Spearman correlation of raw-scale OLS residuals, as published for coherence and stress: a comparison only.

    Response and score are each regressed on magnitude by a straight line, and the residuals are ranked. Plug-in coherence
    is a *curved* function of magnitude, and a stress score usually is another, so both residuals hold the curvature and
    correlate with no association at all: where coherence is an exact function of signal to noise and stress a convex
    function of magnitude, the test rejects in over nine of ten simulated screens. It is here so that the published
    numbers can be reproduced beside `partial_association`.

    Parameters
    ----------
    response
        (n,) plug-in coherence.
    scores
        (n, k).
    magnitude
        (n,) plug-in magnitude.

    Returns
    -------
    `Association`; the p-value is that of Spearman's test, `simex` is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import raw_partial
    >>> m = np.linspace(1, 8, 150)
    >>> bool(raw_partial(m / np.sqrt(m**2 + 9), (m**2)[:, None], magnitude=m).pvalue[0] < 0.001)
    True
    """
    line = np.linalg.qr(np.column_stack([np.ones_like(magnitude), magnitude]))[0]
    ry, rx = _residual(response, line), _residual(scores, line)
    tested = [stats.spearmanr(ry, column) for column in rx.T]
    found = np.array([t.statistic for t in tested])
    pvalue = np.array([t.pvalue for t in tested])
    return Association(found, *_interval(found, len(ry) - 4), pvalue, np.full(len(found), np.nan))


def magnitude_bins(n: int, n_bins: int) -> Ints:
    """Return (n,) bins 0, 0, ..., 1, ... of nearly equal size for n perturbations in order of magnitude."""
    n_bins = max(1, min(n_bins, n // PER_BIN))
    return np.arange(n) * n_bins // n


def _basis(magnitude: Floats, covariates: Floats | None) -> Floats:
    """Return orthonormal columns that span the constant, the spline of magnitude's rank and the covariates."""
    knots = np.linspace(0, 1, SPLINE_DF + 1)
    rank = (stats.rankdata(magnitude) - 1) / max(len(magnitude) - 1, 1)
    spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(rank)  # they sum to 1: the constant is in
    columns = spline if covariates is None else np.column_stack([spline, covariates - covariates.mean(axis=0)])
    length = np.linalg.norm(columns, axis=0)
    left, size, _ = np.linalg.svd(columns / np.where(length > 0, length, 1), full_matrices=False)
    return left[:, size > size[0] * 1e-10]


def _residual(values: Floats, basis: Floats) -> Floats:
    return values - basis @ (basis.T @ values)


def _correlate(ry: Floats, rx: Floats) -> Floats:
    """Return (k,) correlations of one residual with many; NaN where a residual is nothing but rounding."""
    size = np.linalg.norm(ry) * np.linalg.norm(rx, axis=0)
    tiny = 1e-9 * len(ry) ** 3  # ranks have norm of about n ** 1.5
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > tiny, (ry @ rx) / size, np.nan)


def _permute(
    ry: Floats, rx: Floats, basis: Floats, found: Floats, bins: Ints, n_perms: int, rng: np.random.Generator
) -> Floats:
    """Return (k,) two-sided p-values from permutations of the residual scores within bins."""
    exceed = np.zeros(len(found))
    scale = np.linalg.norm(ry)
    for start in range(0, n_perms, CHUNK):
        keys = rng.random((min(CHUNK, n_perms - start), len(ry)))
        shuffled = np.argsort(bins + keys, axis=1)  # rows are in order of magnitude, hence of bins
        for j in range(rx.shape[1]):
            drawn = rx[shuffled, j]
            lost = np.square(drawn @ basis).sum(axis=1)
            length = np.sqrt(np.maximum(np.square(rx[:, j]).sum() - lost, 0))
            with np.errstate(invalid="ignore", divide="ignore"):
                exceed[j] += np.sum(np.abs(drawn @ ry) / (length * scale) >= abs(found[j]) - 1e-12)
    return np.where(np.isnan(found), np.nan, (exceed + 1) / (n_perms + 1))


def _simex(
    y: Floats,
    x: Floats,
    magnitude: Floats,
    se: Floats,
    covariates: Floats | None,
    found: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Return (k,) associations extrapolated to a magnitude without error."""
    means = [found]
    for step in SIMEX_STEPS:
        drawn = np.zeros_like(found)
        for _ in range(SIMEX_DRAWS):
            basis = _basis(magnitude + np.sqrt(step) * se * rng.normal(size=len(se)), covariates)
            drawn += _correlate(_residual(y, basis), _residual(x, basis))
        means.append(drawn / SIMEX_DRAWS)
    table = np.array(means)
    usable = np.isfinite(table).all(axis=0)
    extrapolated = np.full(len(found), np.nan)
    if usable.any():
        curve = np.polynomial.polynomial.polyfit(np.append(0, SIMEX_STEPS), table[:, usable], deg=2)
        extrapolated[usable] = np.clip(curve[0] - curve[1] + curve[2], -1, 1)
    return extrapolated


def _interval(r: Floats, free: int) -> tuple[Floats, Floats, Floats]:
    """Return the standard error and the 95 % interval of a rank correlation with n - 3 reduced to `free`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        wide = np.sqrt((1 + r**2 / 2) / max(free, 1))
        centre = np.arctanh(np.clip(r, -1, 1))
        reach = stats.norm.ppf(0.975) * wide
        return (1 - r**2) * wide, np.tanh(centre - reach), np.tanh(centre + reach)
