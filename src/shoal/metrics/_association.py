"""Association of a response with scores across perturbations, at equal magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .._random import RNGLike, as_generator
from .._threads import one_thread
from ._arguments import arrays, require_finite
from ._lists import ranks

if TYPE_CHECKING:
    from .._typing import Floats, Ints

SPLINE_DF = 4  # degrees of freedom of a natural cubic spline on five quantile knots
LEAST_FREE = 5  # fewest residual degrees of freedom
PER_BIN = 5  # fewest perturbations in a magnitude bin
CHUNK = 500  # permutations in memory at once; the result does not depend on it


@dataclass(frozen=True)
class Association:
    """Result of `partial_association` and `raw_partial`; every array has one entry per score.

    Attributes
    ----------
    association
        Partial rank correlation, -1 to 1.
    se
        Its standard error: Fisher's z, with the variance of Bonett and Wright for ranks.
    ci_low, ci_high
        Ends of its 95 % interval.
    pvalue
        Two-sided p-value.
    """

    association: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats
    pvalue: Floats


@dataclass(frozen=True)
class _Fold:
    """One response (n,) and the scores (n, k), less what magnitude and covariates explain.

    The residuals have length 1. `basis` holds what was regressed out.
    """

    response: Floats
    scores: Floats
    basis: Floats


@arrays
@one_thread()
def partial_association(
    response: Floats,
    scores: Floats,
    *,
    magnitude: Floats,
    covariates: Floats | None = None,
    n_bins: int = 10,
    n_perms: int = 10_000,
    rng: RNGLike,
) -> Association:
    """Partial rank correlation of a response with each score, at equal magnitude.

    The steps:

    1. Response and scores are replaced by their ranks.
    2. Two things are regressed out of both: the ranks of the covariates, and a natural cubic spline
       (4 degrees of freedom) of the rank of magnitude. Because of the ranks, magnitude may be on
       any monotone scale, such as its logarithm.
    3. The residuals are correlated.
    4. For the p-value, perturbations are cut into bins of similar magnitude. The residuals of the
       scores are permuted within bins and regressed again. The two-sided p-value is (b + 1) / (B +
       1), with b of B permutations as extreme as the data. Permutation within bins keeps the spread
       and shape that residuals have at each magnitude.

    Response and magnitude can be measured in several *folds*. A fold pairs the response of some
    cells with the magnitude of other cells, and the correlations of the folds are averaged. This
    matters because a response and a magnitude from the same cells share their sampling error: to
    hold such a magnitude fixed links the response to whatever follows the true magnitude.

    Parameters
    ----------
    response
        (n,) or (n, folds) values for n perturbations, such as residual coherence z.
    scores
        (n, k) scores.
    magnitude
        Magnitudes, of the same shape as `response`. Any monotone scale; negative values are
        allowed.
    covariates
        (n, c) further variables to hold fixed.
    n_bins
        Number of bins of magnitude. Fewer are used if they would hold less than 5 perturbations.
    n_perms
        Number of permutations, shared by all scores.
    rng
        Seed or Generator; the source of all random numbers.

    Returns
    -------
    `Association`; NaN for a score that magnitude and covariates explain entirely.

    Raises
    ------
    ValueError
        If magnitude and covariates leave fewer than 5 degrees of freedom.

    References
    ----------
    Freedman and Lane (1983), J. Bus. Econ. Stat. 1, 292; Bonett and Wright (2000), Psychometrika
    65, 23.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import partial_association
    >>> rng = np.random.default_rng(0)
    >>> magnitude, score = rng.lognormal(size=200), rng.normal(size=(200, 1))
    >>> response = score[:, 0] + rng.normal(size=200)
    >>> correlation = partial_association(
    ...     response, score, magnitude=magnitude, n_perms=999, rng=rng
    ... )
    >>> bool(correlation.association[0] > 0.5 and correlation.pvalue[0] == 0.001)
    True
    """
    generator = as_generator(rng)
    _check_rows(response, scores, magnitude, covariates)
    y = ranks(response.reshape(len(response), -1).T).T
    m = ranks(magnitude.reshape(len(response), -1).T).T
    order = np.lexsort((y[:, 0], m.sum(axis=1)))  # the order of the input must not matter
    y, m, x = y[order], m[order], ranks(scores.T).T[order]
    held = np.empty((len(y), 0)) if covariates is None else ranks(covariates.T).T[order]
    bases = [_basis(column, held) for column in m.T]
    used = max(basis.shape[1] for basis in bases)
    if len(y) - used < LEAST_FREE:
        msg = (
            f"{len(y)} perturbations are too few: "
            f"magnitude and covariates take {used} degrees of freedom, and "
            f"{LEAST_FREE} must be left"
        )
        raise ValueError(msg)
    folds = [_Fold(_unit(column, b), _unit(x, b), b) for column, b in zip(y.T, bases, strict=True)]
    correlation = np.mean([fold.response @ fold.scores for fold in folds], axis=0)
    pvalue = _permute(folds, correlation, magnitude_bins(len(y), n_bins), n_perms, generator)
    return Association(
        correlation, *_interval(correlation, len(y) - used - 2, _shared_variance(folds)), pvalue
    )


@one_thread()
def _check_rows(
    response: Floats, scores: Floats, magnitude: Floats, covariates: Floats | None
) -> None:
    """Raise unless all have a row for each perturbation, and no value is missing."""
    given = {"response": response, "scores": scores, "magnitude": magnitude}
    given |= {} if covariates is None else {"covariates": covariates}
    n, shapes = len(response), {name: values.shape for name, values in given.items()}
    good = magnitude.shape == response.shape and response.ndim <= 2
    tables = [values for name, values in given.items() if name in ("scores", "covariates")]
    if not good or any(values.ndim != 2 or len(values) != n for values in tables):
        msg = f"every array needs a row for each of n perturbations, not shapes {shapes}"
        raise ValueError(msg)
    require_finite(given)


def raw_partial(response: Floats, scores: Floats, *, magnitude: Floats) -> Association:
    """Spearman correlation of residuals from a straight line in magnitude; for comparison only.

    This is how an association of coherence with stress was published. Response and score are each
    regressed on magnitude by a straight line, and the residuals are ranked and correlated.

    It misleads. Coherence as published is a *curved* function of magnitude, and so is a stress
    score as a rule. Both residuals then hold the curvature, and they correlate without any
    association. On simulated screens where coherence is an exact function of signal to noise and
    stress is a convex function of magnitude, the test rejects in over nine of ten. The function
    exists so that published numbers can be shown beside `partial_association`.

    Parameters
    ----------
    response
        (n,) coherence without correction for bias.
    scores
        (n, k) scores.
    magnitude
        (n,) magnitude without correction for bias.

    Returns
    -------
    `Association`; the p-value is that of Spearman's test.

    Raises
    ------
    ValueError
        If there are fewer than 5 perturbations.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._association import raw_partial
    >>> m = np.linspace(1, 8, 150)
    >>> bool(raw_partial(m / np.sqrt(m**2 + 9), (m**2)[:, None], magnitude=m).pvalue[0] < 0.001)
    True
    """
    from scipy import stats

    if len(response) < LEAST_FREE:
        msg = f"{len(response)} perturbations are too few; it takes at least {LEAST_FREE}"
        raise ValueError(msg)
    line = np.linalg.qr(np.column_stack([np.ones_like(magnitude), magnitude]))[0]
    y, x = _unit(response, line), _unit(scores, line)
    tested = [
        stats.spearmanr(y, column) if np.isfinite(column).all() else (np.nan, np.nan)
        for column in x.T
    ]
    correlation, pvalue = np.array(tested, dtype=np.float64).T
    return Association(
        correlation, *_interval(correlation, len(y) - 4, np.ones(len(correlation))), pvalue
    )


def magnitude_bins(n: int, n_bins: int) -> Ints:
    """Return the bin (n,) of each of n perturbations in order of magnitude: 0, 0, ..., 1, ...

    The bins are of nearly equal size.
    """
    n_bins = max(1, min(n_bins, n // PER_BIN))
    return np.arange(n) * n_bins // n


def _basis(rank: Floats, covariates: Floats) -> Floats:
    """Return orthonormal columns that span the constant, the spline and the covariates."""
    from scipy.interpolate import CubicSpline

    knots = np.linspace(0, 1, SPLINE_DF + 1)
    place = (rank - 1) / max(len(rank) - 1, 1)
    # the basis functions sum to 1, so their span holds the constant
    spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(place)
    columns = np.column_stack([spline, covariates - covariates.mean(axis=0)])
    length = np.linalg.norm(columns, axis=0)
    left, size, _ = np.linalg.svd(columns / np.where(length > 0, length, 1), full_matrices=False)
    kept: Floats = left[:, size > size[0] * 1e-10]
    return kept


def _unit(values: Floats, basis: Floats) -> Floats:
    """Return the residuals of each column, of length 1; NaN where only rounding is left."""
    rest = values - basis @ (basis.T @ values)
    length, whole = np.linalg.norm(rest, axis=0), np.linalg.norm(values, axis=0)
    scaled: Floats = rest / np.where(length > 1e-9 * whole, length, np.nan)
    return scaled


def _permute(
    folds: list[_Fold], observed: Floats, bins: Ints, n_perms: int, rng: np.random.Generator
) -> Floats:
    """Return (k,) two-sided p-values. All folds use the same permutations within bins."""
    exceed = np.zeros(len(observed))
    for start in range(0, n_perms, CHUNK):
        keys = rng.random((min(CHUNK, n_perms - start), len(bins)))
        shuffled = np.argsort(bins + keys, axis=1)  # rows are sorted by magnitude, hence by bin
        for j in range(len(observed)):
            drawn = np.mean([_again(fold, fold.scores[:, j][shuffled]) for fold in folds], axis=0)
            exceed[j] += np.sum(np.abs(drawn) >= abs(observed[j]) - 1e-12)
    return np.where(np.isnan(observed), np.nan, (exceed + 1) / (n_perms + 1))


def _again(fold: _Fold, drawn: Floats) -> Floats:
    """Return the (B,) correlations of the response with permuted residuals (B, n) of a score.

    The permuted residuals are regressed once more, as Freedman and Lane do.
    """
    left = 1 - np.square(drawn @ fold.basis).sum(axis=1)
    correlation: Floats = (drawn @ fold.response) / np.sqrt(np.maximum(left, 1e-12))
    return correlation


def _shared_variance(folds: list[_Fold]) -> Floats:
    """Return the (k,) variance of the mean over folds, as a share of that of one fold."""
    y = np.array([fold.response for fold in folds])
    x = np.array([fold.scores for fold in folds])
    shared: Floats = np.mean((y @ y.T)[:, :, None] * np.einsum("fnk,gnk->fgk", x, x), axis=(0, 1))
    return np.maximum(shared, 1 / (2 * len(folds)))


def _interval(r: Floats, free: int, shared: Floats) -> tuple[Floats, Floats, Floats]:
    """Return standard error and 95 % interval of a rank correlation.

    `free` takes the place of n - 3 in the formula for Fisher's z.
    """
    wide = np.sqrt((1 + r**2 / 2) / max(free, 1) * shared)
    centre = np.arctanh(np.clip(r, -1, 1) * (1 - 1e-15))
    reach = special.ndtri(0.975) * wide
    return (1 - r**2) * wide, np.tanh(centre - reach), np.tanh(centre + reach)
