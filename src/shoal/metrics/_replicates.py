r"""Is a response beyond what replicates of the control differ by? The unit is the replicate.

A replicate is a guide, donor, well or batch. The mean shifts of the replicates g of a perturbation
p and h of the control are

.. math:: x_g = \mu_p + b_g + e_g, \qquad y_h = b_h + e_h,

with b the effect of the replicate, of covariance :math:`\Sigma_b`, and e the noise of its cells, of
covariance :math:`\Sigma_w / n` for n cells. The estimand is :math:`|\mu_p|^2`: the squared length
of the shift that the replicates of the perturbation share. With k replicates of p and K of the
control

.. math::

    U = \frac{\sum_{g \ne g'} x_g \cdot x_{g'}}{k (k - 1)}
      + \frac{\sum_{h \ne h'} y_h \cdot y_{h'}}{K (K - 1)}
      - \frac{2}{k K} \sum_{g, h} x_g \cdot y_h

estimates it without bias: no replicate is paired with itself. In a paired design the same
replicates hold perturbed and control cells. Then x is the difference within the replicate, and U is
the first term alone.

Without a response U has mean 0. Its second and third cumulants are sums of traces of products of
two and of three covariances of replicates, :math:`\Sigma_b + \Sigma_w / n`. Nothing is inverted,
and the traces have estimates without bias. So there may be fewer replicates than dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

POINTS = 400  # sizes of the estimated covariance over which a p-value is averaged
PRIOR = 5.0  # degrees of freedom that the shape of the cells' covariance counts for


@dataclass(frozen=True)
class Replicates:
    """Mean shifts of the replicates of G perturbations and of the control.

    Attributes
    ----------
    means
        (R, d) mean shift of each replicate's cells from the control. In a paired design the
        difference from the control cells of the same replicate.
    noise
        (R,) variance factor s of each mean: 1/n for n cells, 1/n + 1/m for a difference.
    owner
        (R,) perturbation 0..n_groups-1, or n_groups for a replicate of the control.
    n_groups
        Number G of perturbations.
    paired
        Whether `means` are differences within replicates. The control then has no replicates of
        its own.
    """

    means: Floats
    noise: Floats
    owner: Ints
    n_groups: int
    paired: bool = False

    @property
    def counts(self) -> Ints:
        """(G + 1,) replicates of each perturbation, and of the control last."""
        return np.bincount(self.owner, minlength=self.n_groups + 1)

    def summed(self, values: Floats) -> Floats:
        """Return (G + 1, ...) sums of (R, ...) values over the replicates of each group."""
        total = np.zeros((self.n_groups + 1, *values.shape[1:]))
        np.add.at(total, self.owner, values)
        return total

    def averaged(self, values: Floats, weight: Floats | None = None) -> Floats:
        """Return (G + 1, ...) means over the replicates of each group; 0 for none."""
        weight = np.ones(len(self.owner)) if weight is None else weight
        share = weight / self.summed(weight)[self.owner]
        return self.summed((values.T * share).T)


@dataclass(frozen=True)
class Spread:
    """How much replicates differ without a response.

    Attributes
    ----------
    free
        Degrees of freedom: replicates less groups, over the groups that were pooled.
    noise
        Mean variance factor of these replicates.
    first, second, third
        Traces of V, of V V and of V V V, with V the covariance of a replicate of that noise.
    ratio
        Trace of the covariance between replicates over that of cells, at least 0.
    """

    free: int
    noise: float
    first: float
    second: float
    third: float
    ratio: float


@dataclass(frozen=True)
class ReplicateTest:
    """Results of all perturbations; NaN where nothing can be said.

    Attributes
    ----------
    estimate
        (G,) U, the squared length of the shift that the replicates share. It may be below 0.
    pvalue
        (G,) one-sided p-values.
    spread
        What the null was computed from; ``None`` where nothing can be said.
    """

    estimate: Floats
    pvalue: Floats
    spread: Spread | None


def replicate_test(replicates: Replicates, cells: Floats) -> ReplicateTest:
    """Test whether replicates of a perturbation share a shift beyond what replicates differ by.

    Parameters
    ----------
    replicates
        Mean shifts of the replicates.
    cells
        (K, d) shifts of single control cells, for the noise of a mean.
    """
    counts = replicates.counts
    able = counts[:-1] >= 2
    if (
        not able.any()
        or not (replicates.paired or counts[-1] >= 2)
        or not np.ptp(cells, axis=0).any()
    ):
        nothing = np.full(replicates.n_groups, np.nan)
        return ReplicateTest(nothing, nothing.copy(), None)
    pooled = weaker_half(replicates, able)
    spread = null_spread(replicates, cells, pooled)
    estimate = shared_shift(replicates)
    return ReplicateTest(estimate, pvalues(estimate, replicates, pooled, spread), spread)


def shared_shift(replicates: Replicates) -> Floats:
    """Return (G,) U; NaN where the perturbation or the control has a single replicate."""
    k = replicates.counts.astype(np.float64)
    mean = replicates.averaged(replicates.means)
    away = replicates.means
    if not replicates.paired:  # seen from the mean of the control the cross term is 0
        away = away - mean[-1]
        mean = mean - mean[-1]
    inside = replicates.averaged(np.einsum("rd,rd->r", away, away))
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = (k * np.einsum("gd,gd->g", mean, mean) - inside) / (k - 1)
        pairs = np.where(k >= 2, pairs, np.nan)
    return pairs[:-1] + (0.0 if replicates.paired else pairs[-1])


def weaker_half(replicates: Replicates, able: Bools) -> Bools:
    """Return (R,) the replicates whose differences count as those without a response.

    They are those of the control, and of the half of the perturbations with the shortest mean
    shifts, in units of its noise. Replicates of a strong perturbation differ in their efficacy,
    along the shift itself, and that is no noise of the null. In normal data the length of a mean
    says nothing of the differences about it, so that this choice brings no bias.

    Parameters
    ----------
    replicates
        Mean shifts of the replicates.
    able
        (G,) perturbations with two replicates or more.
    """
    mean = replicates.averaged(replicates.means)
    if not replicates.paired:
        mean = mean - mean[-1]
    noise = replicates.averaged(replicates.noise) / np.maximum(replicates.counts, 1)
    length = np.einsum("gd,gd->g", mean, mean)[:-1] / np.maximum(noise[:-1], 1e-300)
    half = np.zeros(replicates.n_groups + 1, dtype=bool)
    order = np.flatnonzero(able)[np.argsort(length[able], kind="stable")]
    half[order[: (len(order) + 1) // 2]] = True
    half[-1] = not replicates.paired
    return half[replicates.owner]


def null_spread(replicates: Replicates, cells: Floats, pooled: Bools) -> Spread:
    """Estimate the traces of the null from differences between replicates of one group.

    A first round weighs all replicates alike, a second one by the inverse of the variance that the
    first has found.

    Parameters
    ----------
    replicates
        Mean shifts of the replicates.
    cells
        (K, d) shifts of single control cells.
    pooled
        (R,) replicates to use.
    """
    centred = cells - cells.mean(axis=0)
    centred /= np.sqrt(max(len(cells) - 1, 1))
    known = _moments(centred)
    del centred
    cell = _unbiased(known, len(cells) - 1)
    spread = _spread(replicates, cell, pooled, np.ones(len(pooled)))
    return _spread(replicates, cell, pooled, 1 / (spread.ratio + replicates.noise))


def _spread(
    replicates: Replicates, cell: tuple[float, float, float], pooled: Bools, weight: Floats
) -> Spread:
    """Estimate the traces with (R,) weights; `cell` holds those of the cells' covariance."""
    centre = replicates.averaged(replicates.means, weight)
    share = weight / replicates.summed(weight)[replicates.owner]
    factor = weight * (1 - share) * pooled  # of its covariance in the sum of squares
    rows = (replicates.means - centre[replicates.owner])[pooled]
    rows *= np.sqrt(weight[pooled] / factor.sum())[:, None]
    free = int(pooled.sum() - len(np.unique(replicates.owner[pooled])))
    noise = float(factor @ replicates.noise / factor.sum())
    first, second, third = _unbiased(_moments(rows), free)
    skew = min(max(third / second**1.5, 0.0), 1.0) if second > 0 else 1.0
    # in units of the squared trace, which has an error of its own
    second = second / max(first**2 - 2 * second / free, second) if second > 0 else 0.0
    # replicates differ in as few directions as cells do, unless enough of them say otherwise
    second += PRIOR / (PRIOR + free) * max(cell[1] / cell[0] ** 2 - second, 0.0)
    first = max(first, noise * cell[0])
    second *= first**2
    third = max(skew * second**1.5, second**2 / first)
    return Spread(free, noise, first, second, third, first / cell[0] - noise)


def _moments(rows: Floats) -> tuple[float, float, float]:
    """Return the traces of R'R, of its square and of its cube for (r, d) rows R."""
    rows = rows.astype(np.float64, copy=False)
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    square = gram @ gram
    return float(np.trace(gram)), float(np.trace(square)), float(np.vdot(square, gram))


def _unbiased(moments: tuple[float, float, float], free: int) -> tuple[float, float, float]:
    """Return the traces of V, V V and V V V from those of a sample covariance (Wishart).

    A single difference tells the first alone. For the others 0 is returned, which is what the
    formulas give up to rounding.
    """
    one, two, three = moments
    if free < 2:
        return one, 0.0, 0.0
    f = float(free)
    second = (two - one**2 / f) * f**2 / ((f - 1) * (f + 2))
    third = (three - 3 * second * one / f - one**3 / f**2) / (1 + 3 / f + 4 / f**2)
    return one, second, third


def pvalues(estimate: Floats, replicates: Replicates, pooled: Bools, spread: Spread) -> Floats:
    """Return (G,) p-values of U from its null law.

    U is a squared length less its noise, and that noise is estimated from the same differences as
    the null. So U + c tr V is taken, which is independent of the estimate of V: c tr V is the noise
    of U as that estimate tells it. It is compared with a gamma variable of the same three
    cumulants. The error of the estimate enters by an average over a chi-squared law of its size.
    With one perturbation and equal replicates this is the F test of Box, box1954.

    Parameters
    ----------
    estimate
        (G,) U.
    replicates
        Mean shifts of the replicates.
    pooled
        (R,) replicates that the null was estimated from.
    spread
        The null.
    """
    size = (spread.ratio + replicates.noise) / (spread.ratio + spread.noise)
    variance, third = _cumulants(replicates, size, spread)
    k = np.maximum(replicates.counts, 1)
    told = replicates.averaged(size * pooled) / k
    told = told[:-1] + (0.0 if replicates.paired else told[-1])
    variance = variance - told**2 * 2 * spread.second / spread.free
    third = third + told**3 * 8 * spread.third / spread.free**2
    share_of_top = spread.third**2 / spread.second**3
    free = 2 / (1 / spread.free**2 + 2 * share_of_top / spread.free)
    of_trace = spread.free * spread.first**2 / spread.second
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(variance)
        skew = np.clip(third / sd**3, 1e-2, np.sqrt(8.0))
        offset = told * spread.first / sd * np.sqrt(free / of_trace)
        return _tail(estimate / sd, offset, skew, free)


def _tail(z: Floats, offset: Floats, skew: Floats, free: float) -> Floats:
    """Return P(X > z w + offset (w - 1)); NaN where z is.

    X is a standardised gamma variable, w a chi-squared one of `free` degrees over `free`.
    """
    width = np.sqrt(2 / free)
    lowest = 8 * width + 40 / free + np.log1p(np.nanmax(np.abs(z), initial=0.0))
    log = np.linspace(-lowest, 6 * width, POINTS)
    density = np.exp(free / 2 * (log - np.exp(log) + 1))
    density /= density.sum()
    shape = (4 / skew**2)[:, None]
    at = z[:, None] * np.exp(log) + offset[:, None] * np.expm1(log)
    tail = special.gammaincc(shape, np.maximum(shape + np.sqrt(shape) * at, 0))
    return np.asarray(tail @ density, dtype=np.float64)


def _cumulants(replicates: Replicates, size: Floats, spread: Spread) -> tuple[Floats, Floats]:
    """Return the variance and the third cumulant of U, (G,) each.

    The covariance of replicate r is taken as size_r V, which is exact where replicates have equal
    numbers of cells, or differ in the same directions as cells.

    Parameters
    ----------
    replicates
        Mean shifts of the replicates.
    size
        (R,) size of the covariance of each replicate.
    spread
        Traces of products of V.
    """
    k = replicates.counts.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two, three = (replicates.averaged(size**p) / k ** (2 * p - 1) for p in (1, 2, 3))
        rest = 1 - 1 / k
        variance = (one**2 - two) / rest**2
        third = (one**3 - 3 * one * two + 2 * three) / rest**3
        if replicates.paired:
            return 2 * spread.second * variance[:-1], 8 * spread.third * third[:-1]
        a = one[-1]
        cross = 3 * a * (one**2 - two) / rest + 3 * one * (a**2 - two[-1]) / rest[-1]
        variance = variance + variance[-1] + 2 * one * a
        third = third + third[-1] + cross
    return 2 * spread.second * variance[:-1], 8 * spread.third * third[:-1]
