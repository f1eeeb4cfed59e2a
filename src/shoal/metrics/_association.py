"""Association of a response with scores, across perturbations, given magnitude: rank regression on a spline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .._threads import one_thread
from ._lists import ranks

if TYPE_CHECKING:
    from .._typing import Floats, Ints

SPLINE_DF = 4  # a natural cubic spline on five quantile knots, the constant apart
LEAST_FREE = 5  # residual degrees of freedom below which nothing is computed
PER_BIN = 5  # perturbations in a magnitude bin
CHUNK = 500  # permutations in memory at once; results do not depend on it


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
    """

    association: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats
    pvalue: Floats


@dataclass(frozen=True)
class _Fold:
    """What magnitude and covariates leave of one response (n,) and of the scores (n, k), scaled to length 1."""

    response: Floats
    scores: Floats
    basis: Floats


@one_thread()
def partial_association(
    response: Floats,
    scores: Floats,
    *,
    magnitude: Floats,
    covariates: Floats | None = None,
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

    Response and magnitude may be measured several times, in *folds* that pair a response with a magnitude from other
    cells: the correlations of the folds are then averaged. A response and a magnitude from the same cells share their
    error, and holding such a magnitude fixed links the response to whatever follows the true magnitude.

    Parameters
    ----------
    response
        (n,) or (n, folds), such as residual coherence z.
    scores
        (n, k).
    magnitude
        As `response`; any monotone scale, negative values are allowed.
    covariates
        (n, c).
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
    Freedman and Lane (1983), J. Bus. Econ. Stat. 1, 292; Bonett and Wright (2000), Psychometrika 65, 23.

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
    y = ranks(response.reshape(len(response), -1).T).T
    m = ranks(magnitude.reshape(len(response), -1).T).T
    order = np.lexsort((y[:, 0], m.sum(axis=1)))  # so that the order of the input does not matter
    y, m, x = y[order], m[order], ranks(scores.T).T[order]
    held = np.empty((len(y), 0)) if covariates is None else ranks(covariates.T).T[order]
    bases = [_basis(column, held) for column in m.T]
    used = max(basis.shape[1] for basis in bases)
    if len(y) - used < LEAST_FREE:
        msg = (
            f"{len(y)} perturbations are too few: magnitude and covariates take {used} degrees of freedom, and "
            f"{LEAST_FREE} must be left"
        )
        raise ValueError(msg)
    folds = [_Fold(_unit(column, b), _unit(x, b), b) for column, b in zip(y.T, bases, strict=True)]
    found = np.mean([fold.response @ fold.scores for fold in folds], axis=0)
    pvalue = _permute(folds, found, magnitude_bins(len(y), n_bins), n_perms, rng)
    return Association(found, *_interval(found, len(y) - used - 2, _shared_variance(folds)), pvalue)


@one_thread()
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
    `Association`; the p-value is that of Spearman's test.

    Raises
    ------
    ValueError
        If there are fewer than 5 perturbations.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import raw_partial
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
    found, pvalue = np.array(tested, dtype=np.float64).T
    return Association(found, *_interval(found, len(y) - 4, np.ones(len(found))), pvalue)


def magnitude_bins(n: int, n_bins: int) -> Ints:
    """Return (n,) bins 0, 0, ..., 1, ... of nearly equal size for n perturbations in order of magnitude."""
    n_bins = max(1, min(n_bins, n // PER_BIN))
    return np.arange(n) * n_bins // n


def _basis(rank: Floats, covariates: Floats) -> Floats:
    """Return orthonormal columns that span the constant, the spline of magnitude's rank and the covariates."""
    from scipy.interpolate import CubicSpline

    knots = np.linspace(0, 1, SPLINE_DF + 1)
    place = (rank - 1) / max(len(rank) - 1, 1)
    spline = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")(
        place
    )  # they sum to 1: the constant is in
    columns = np.column_stack([spline, covariates - covariates.mean(axis=0)])
    length = np.linalg.norm(columns, axis=0)
    left, size, _ = np.linalg.svd(columns / np.where(length > 0, length, 1), full_matrices=False)
    kept: Floats = left[:, size > size[0] * 1e-10]
    return kept


def _unit(values: Floats, basis: Floats) -> Floats:
    """Return residuals of length 1, column by column; NaN where they are nothing but rounding."""
    rest = values - basis @ (basis.T @ values)
    length, whole = np.linalg.norm(rest, axis=0), np.linalg.norm(values, axis=0)
    scaled: Floats = rest / np.where(length > 1e-9 * whole, length, np.nan)
    return scaled


def _permute(
    folds: list[_Fold], found: Floats, bins: Ints, n_perms: int, rng: np.random.Generator
) -> Floats:
    """Return (k,) two-sided p-values from permutations of the residual scores within bins, alike in all folds."""
    exceed = np.zeros(len(found))
    for start in range(0, n_perms, CHUNK):
        keys = rng.random((min(CHUNK, n_perms - start), len(bins)))
        shuffled = np.argsort(bins + keys, axis=1)  # rows are in order of magnitude, hence of bins
        for j in range(len(found)):
            drawn = np.mean([_again(fold, fold.scores[:, j][shuffled]) for fold in folds], axis=0)
            exceed[j] += np.sum(np.abs(drawn) >= abs(found[j]) - 1e-12)
    return np.where(np.isnan(found), np.nan, (exceed + 1) / (n_perms + 1))


def _again(fold: _Fold, drawn: Floats) -> Floats:
    """Return (B,) correlations of the response with permuted residual scores (B, n), regressed once more."""
    left = 1 - np.square(drawn @ fold.basis).sum(axis=1)
    correlation: Floats = (drawn @ fold.response) / np.sqrt(np.maximum(left, 1e-12))
    return correlation


def _shared_variance(folds: list[_Fold]) -> Floats:
    """Return (k,) the variance of the mean over folds, relative to that of one fold (1 for one fold)."""
    y = np.array([fold.response for fold in folds])
    x = np.array([fold.scores for fold in folds])
    shared: Floats = np.mean((y @ y.T)[:, :, None] * np.einsum("fnk,gnk->fgk", x, x), axis=(0, 1))
    return np.maximum(shared, 1 / (2 * len(folds)))


def _interval(r: Floats, free: int, shared: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the standard error and the 95 % interval of a rank correlation; `free` stands for n - 3."""
    wide = np.sqrt((1 + r**2 / 2) / max(free, 1) * shared)
    centre = np.arctanh(np.clip(r, -1, 1) * (1 - 1e-15))
    reach = special.ndtri(0.975) * wide
    return (1 - r**2) * wide, np.tanh(centre - reach), np.tanh(centre + reach)
