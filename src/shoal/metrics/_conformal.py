r"""Split-conformal intervals of responses over conditions: arrays in, numbers out.

Conditions :math:`c = 1, \dots, C` were predicted without having been seen. Let :math:`r_{cg}` be
measured minus predicted response of gene g, :math:`\nu_{cg}` the variance of the sampling noise of
the measured one, and :math:`m_c = \lVert \hat\Delta_c \rVert^2` the squared size of the predicted
response. The model of the errors is

.. math:: \operatorname{E} r_{cg}^2 = s_{cg}^2 = h(m_c)\, \tau_g^2 + \nu_{cg}.

- **h**, the *growth*, is a line in :math:`m_c` that is 1 in the mean: larger predicted responses
  are wrong by more. It is shrunk towards 1, as by three conditions of that kind.
- :math:`\tau_g^2` is the mean over conditions of :math:`(r_{cg}^2 - \nu_{cg}) / h(m_c)`, and at
  least 0.

The *score* of a condition is a quantile over genes of :math:`|r_{cg}| / s_{cg}`, with
:math:`\tau_g` from the conditions of other units. If the next condition is drawn like these, its
score is equally likely to have any rank among all. With Q the score of the wanted rank, a share
:math:`\alpha` of its genes lies within :math:`\hat\Delta_g \pm Q s_g`, in a share :math:`\alpha` of
conditions. This is *marginal*: it holds on average over conditions and not for strong ones alone.
(That h and :math:`\tau_g` are estimated from the same conditions costs little, because a
condition's own errors have no part in its scale.)

**The wanted rank.** The next score is below the k-th smallest of U others with a probability of
:math:`k / (U + 1)`. So the rank is :math:`\alpha (U + 1)`. Between two whole ranks the scores are
interpolated: the next whole rank would cover :math:`\alpha` or more, but much more where units are
few (18 of 19 for 18 units at a level of .9). Interpolated, the error of the coverage is of the
order of :math:`1 / U^2`, if scores have a smooth distribution.

**Conditions of one unit** (a perturbation in four contexts, say) were left out together and are not
independent, but one drawn from each unit are. Q is the score of the wanted rank among one of each
unit, in the mean over all ways to draw these. If :math:`F_u(x)` is the share of the conditions of
unit u with a score of at most x, the number of drawn scores up to x is a sum of independent coin
flips with these probabilities, and so

.. math:: Q = \sum_x x\,\bigl(P(x) - P(x^-)\bigr), \qquad P(x) = \Pr\{N(x) \ge k\},

over the scores in their order, where :math:`x^-` is the score before x.

**Few units.** No rank vouches for a level above :math:`U / (U + 1)`. Beyond it the logarithms of
scores are taken as normally distributed around the mean of their unit, and these around a common
mean. With :math:`\bar\ell_u` the mean of a unit, :math:`\bar\ell` that of the units, w the mean
variance within units, :math:`\sigma_0` the standard deviation between units on other screens,
which is worth :math:`\nu_0 = 3` units, and C conditions,

.. math::

    b^2 = \frac{\nu_0 \sigma_0^2 + \sum_u (\bar\ell_u - \bar\ell)^2}{\nu_0 + U - 1}, \qquad
    v = b^2 (1 + 1 / U) + w, \qquad \log Q = \bar\ell + t_\nu(\alpha) \sqrt{v},

    \nu = v^2 \Big/ \Bigl(\frac{(b^2 (1 + 1 / U))^2}{\nu_0 + U - 1} + \frac{w^2}{C - U}\Bigr)
    \quad\text{(Satterthwaite)},

which is the exact quantile of the next score where :math:`\nu_0 = 0` and every unit is one
condition. Q is at least that of the level :math:`U / (U + 1)`.

**Pooled** intervals are made for a share :math:`\alpha` of all genes of all conditions together: Q
is that quantile of all :math:`|r_{cg}| / s_{cg}`, units counting alike. What of the next unit is
covered is :math:`\alpha` in expectation, but for an error of the order of :math:`1 / U`.

Lei et al. 2018, https://doi.org/10.1080/01621459.2017.1307116; Beran and Hall 1993, Journal of the
Royal Statistical Society B 55, 643 (interpolation); Dunn, Wasserman and Ramdas 2023,
https://doi.org/10.1080/01621459.2022.2060112 (units).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls
from scipy.special import stdtrit

if TYPE_CHECKING:
    from .._typing import Floats, Ints

GRID = np.linspace(0, 1, 201)  # quantiles over genes that are kept of every condition
PRIOR = 3.0  # conditions that a growth of 1 is worth
SPREAD_OF_GENES, SPREAD_OF_BOUNDS = 0.2, 0.6  # sigma_0 of the scores of intervals and of bounds
UNITS = 3.0  # that sigma_0 is worth
NEAR = 3.0  # times the root of U: counts farther off are less probable than 2e-8 (Hoeffding)
LEAST_SCORE = 0.25  # of the mean score: smaller ones count as that much
LEAST_GROWTH = 0.1  # of the variance of errors, however small the predicted response is


@dataclass(frozen=True)
class Growth:
    """How the variance of errors grows with the squared size of the predicted response.

    Attributes
    ----------
    at_zero, slope
        It is ``at_zero + slope * size``, but at least `LEAST_GROWTH`, and 1 in the mean.
    """

    at_zero: float = 1.0
    slope: float = 0.0

    def __call__(self, size: Floats) -> Floats:
        """Return the (C,) factors for squared sizes (C,) of predicted responses."""
        found: Floats = np.maximum(self.at_zero + self.slope * np.asarray(size), LEAST_GROWTH)
        return found


def growth(size: Floats, distance: Floats) -> Growth:
    """Return how squared distances grow with squared sizes.

    Parameters
    ----------
    size
        (C,) squared sizes of predicted responses.
    distance
        (C,) squared distances of predicted to measured responses, less the noise of these.
    """
    mean, middle = float(np.mean(distance)), float(np.mean(size))
    if not (mean > 0 and middle > 0):
        return Growth()
    ones, prior = np.ones(len(size)), np.sqrt(PRIOR)
    lines = np.vstack([np.stack([ones, size / middle], axis=1), prior * np.eye(2)])
    (at_zero, slope), _ = nnls(lines, np.append(distance / mean, [prior, 0.0]))
    total = at_zero + slope
    return Growth(at_zero / total, slope / total / middle) if total > 0 else Growth()


def gene_variances(excess: Floats) -> Floats:
    """Return (d,) the variance of the errors of every gene beyond the noise of measuring.

    Parameters
    ----------
    excess
        (C, d) squared errors less the noise of what was measured, over the growth.
    """
    found: Floats = np.maximum(excess.mean(axis=0), 0.0)
    return found


def variances_of_others(excess: Floats, unit: Ints) -> Floats:
    """Return (C, d) variances as of `gene_variances`, each from the conditions of other units.

    If there is one unit alone, they are made with it.

    Parameters
    ----------
    excess
        (C, d) as for `gene_variances`.
    unit
        (C,) what each condition was left out with.
    """
    _, code, n = np.unique(unit, return_inverse=True, return_counts=True)
    if len(n) == 1:
        return np.broadcast_to(gene_variances(excess), excess.shape)
    own = np.zeros((len(n), excess.shape[1]))
    np.add.at(own, code, excess)
    others = (own.sum(axis=0) - own) / (len(excess) - n)[:, None]
    found: Floats = np.maximum(others, 0.0)[code]
    return found


def quantiles(residual: Floats, scale: Floats) -> Floats:
    """Return (C, 201) the quantiles over genes of absolute residuals, in units of their scale.

    A gene whose scale is 0 never varies, and does not count.

    Parameters
    ----------
    residual, scale
        (C, d) residuals and their scales.
    """
    counts = (scale > 0).all(axis=0)
    if not counts.any():
        return np.zeros((len(residual), len(GRID)))
    found: Floats = np.quantile(np.abs(residual[:, counts]) / scale[:, counts], GRID, axis=1).T
    return found


def ranked(score: Floats, unit: Ints, level: float, *, spread: float = SPREAD_OF_GENES) -> float:
    """Return the score that the next condition is below with a probability of `level`.

    Parameters
    ----------
    score
        (C,) scores.
    unit
        (C,) what each condition was left out with.
    level
        Probability. Above ``reached(unit)`` the score rests on a distribution, see `widened`.
    spread
        Standard deviation of the logarithms of scores between units, on other screens.
    """
    most = reached(unit)
    found = one_of_each(score, unit, min(level, most))
    if level <= most + 1e-9:
        return found
    return max(found, widened(score, unit, level, spread=spread))


def one_of_each(score: Floats, unit: Ints, level: float) -> float:
    """Return the score of a rank among one condition of each unit, in the mean over such draws.

    Parameters
    ----------
    score, unit
        As of `ranked`.
    level
        The rank is `level` times one more than there are units, and at least 1.
    """
    _, code, n = np.unique(unit, return_inverse=True, return_counts=True)
    order, n_units = np.argsort(score, kind="stable"), len(n)
    rank = min(max(level * (n_units + 1), 1.0), float(n_units))
    k = int(rank + 1e-9)
    most = n_units - k  # drawn scores that may be above the one of rank k
    expected = np.cumsum(1 / n[code[order]])  # number of drawn scores up to each score
    near = np.abs(expected - rank) <= NEAR * np.sqrt(n_units) + 1
    above = np.zeros((np.count_nonzero(near), most + 1))  # probability that so many are above
    above[:, 0] = 1.0
    for own in range(n_units):
        below = (np.cumsum(code[order] == own) / n[own])[near, None]
        above[:, 1:] = above[:, 1:] * below + above[:, :-1] * (1 - below)
        above[:, :1] *= below
    reach = np.cumsum(above, axis=1)[:, ::-1]  # probabilities of N(x) >= k, k + 1, ...
    steps = np.diff(reach, axis=0, prepend=0.0)  # the probability that each score is of that rank
    here, after = score[order][near] @ steps[:, [0, min(1, most)]]
    return float(here + (rank - k) * (after - here))


def widened(
    score: Floats, unit: Ints, level: float, *, spread: float, worth: float = UNITS
) -> float:
    """Return the quantile of the next score if logarithms of scores are normally distributed.

    Parameters
    ----------
    score, unit, level, spread
        As of `ranked`.
    worth
        Number of units that `spread` is worth.
    """
    mean = float(score.mean())
    if not mean > 0:
        return 0.0
    logs = np.log(np.maximum(score, LEAST_SCORE * mean))
    _, code, n = np.unique(unit, return_inverse=True, return_counts=True)
    centre = np.bincount(code, logs) / n
    within = float((np.bincount(code, (logs - centre[code]) ** 2) / n).mean())
    degrees = worth + len(n) - 1
    between = (worth * spread**2 + float(((centre - centre.mean()) ** 2).sum())) / degrees
    between *= 1 + 1 / len(n)
    uncertain = between**2 / degrees + within**2 / max(len(score) - len(n), 1)
    variance = between + within
    if uncertain > 0:
        degrees = variance**2 / uncertain
    wide = float(stdtrit(degrees, level)) * np.sqrt(variance)
    return float(np.exp(centre.mean() + wide))


def reached(unit: Ints) -> float:
    """Return the highest level that U units allow without an assumption: U / (U + 1)."""
    n = len(np.unique(unit))
    return n / (n + 1)


def radius(grid: Floats, unit: Ints, level: float, *, pooled: bool = False) -> float:
    """Return how many scales wide an interval is to each side.

    Parameters
    ----------
    grid
        (C, 201) quantiles of each condition, as `quantiles` returns them.
    unit
        (C,) what each condition was left out with.
    level
        Share of genes, and of conditions, that are to be covered. Above ``reached(unit)`` the
        radius rests on a distribution, see `widened`.
    pooled
        Whether the share of all genes of all conditions together is meant instead.
    """
    if not pooled:
        return ranked(np.array([np.interp(level, GRID, own) for own in grid]), unit, level)
    each = np.broadcast_to((_weights(unit) / grid.shape[1])[:, None], grid.shape).ravel()
    order = np.argsort(grid, axis=None, kind="stable")
    rank = int(np.searchsorted(np.cumsum(each[order]) / each.sum(), level - 1e-9))
    return float(grid.ravel()[order[min(rank, grid.size - 1)]])


def _weights(unit: Ints) -> Floats:
    """Return (C,) how much each condition counts; they sum to U / (U + 1)."""
    _, code, n = np.unique(unit, return_inverse=True, return_counts=True)
    found: Floats = 1.0 / (n[code] * (len(n) + 1))
    return found
