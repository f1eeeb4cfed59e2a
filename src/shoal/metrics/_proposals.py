r"""Which of several candidates to measure: arrays in, an order and a score for each out.

Each rule chooses one candidate after another, and counts what the earlier ones bring already.

- *Least disagreement left.* Candidates have the covariance C of what is expected of them. Measuring
  candidate s with noise :math:`\sigma^2` takes :math:`C_{cs}^2 / (C_{ss} + \sigma^2)` from the
  variance of every candidate c. The candidate that takes most in all is chosen, and C is that which
  is left (Cohn, Ghahramani & Jordan 1996, J. Artif. Intell. Res. 4, 129). For unrelated candidates
  this is the order of :math:`C_{ss}^2 / (C_{ss} + \sigma^2)`.
- *Coverage.* With the distance of every candidate to the nearest one that is measured or chosen,
  the candidate is chosen that makes the sum of these smallest (facility location; the greedy choice
  has at least :math:`1 - 1/e` of the best possible fall).
- *Hits.* The probability that a candidate responds is the share of responders among the measured
  ones, near ones counting more and all of them together as one more, see `hit_probability`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

WIDTHS = (0.25, 0.5, 1.0)  # of the median distance between measured ones; beside no vectors at all


def order_by_reduction(covariance: Floats, noise: float, n: int) -> tuple[Ints, Floats]:
    """Choose candidates whose measurement takes most from the variance of all of them.

    Parameters
    ----------
    covariance
        (m, m) covariance of what is expected of the candidates.
    noise
        Variance of a measurement.
    n
        Number to choose.

    Returns
    -------
    order
        (n,) positions, the first first.
    score
        (n,) share of the variance of all candidates that each takes.
    """
    left = np.array(covariance, dtype=np.float64)
    total = float(np.trace(left))
    order, scores = [], []
    free = np.ones(len(left), dtype=bool)
    for _ in range(min(n, len(left))):
        own = np.diag(left).clip(0)
        gain = (left**2).sum(axis=0) / np.maximum(own + noise, np.finfo(float).tiny)
        best = int(np.argmax(np.where(free, gain, -1.0)))
        order.append(best)
        scores.append(gain[best] / total if total > 0 else 0.0)
        column = left[:, best].copy()
        left -= np.outer(column, column) / max(own[best] + noise, np.finfo(float).tiny)
        free[best] = False
    return np.array(order, dtype=np.int64), np.array(scores)


def order_by_coverage(distances: Floats, nearest: Floats, n: int) -> tuple[Ints, Floats]:
    """Choose candidates that are near to as many others as possible that nothing is near to.

    Parameters
    ----------
    distances
        (m, m) distances between the candidates.
    nearest
        (m,) distance of each to the nearest measured one; infinite if nothing is measured.
    n
        Number to choose.

    Returns
    -------
    order
        (n,) positions, the first first.
    score
        (n,) by how much each makes the sum of these distances smaller, in shares of the first sum.
        Of what nothing is measured near to, it is the sum that the farthest candidates would have.
    """
    near = np.minimum(nearest, distances.max(axis=1, initial=0.0))
    total = float(near.sum())
    order, scores = [], []
    free = np.ones(len(near), dtype=bool)
    for _ in range(min(n, len(near))):
        gain = np.maximum(near[:, None] - distances, 0.0).sum(axis=0)
        best = int(np.argmax(np.where(free, gain, -1.0)))
        order.append(best)
        scores.append(gain[best] / total if total > 0 else 0.0)
        near = np.minimum(near, distances[:, best])
        free[best] = False
    return np.array(order, dtype=np.int64), np.array(scores)


def hit_probability(distances: Floats, responds: Bools, among: Floats) -> tuple[Floats, float]:
    r"""Return the probability that candidates respond, from measured ones that are near.

    With y = 1 for a measured responder and the kernel :math:`k = \exp(-d^2 / 2 w^2)`,

    .. math:: p_c = \frac{\bar y + \sum_s k_{cs} y_s}{1 + \sum_s k_{cs}}, \qquad
        \bar y = \frac{1/2 + \sum_s y_s}{1 + S} .

    The width w is the one under which the measured ones, each from the others, are most likely;
    among the choices is that all are equally likely to respond.

    Parameters
    ----------
    distances
        (m, S) distances of the candidates to the measured ones.
    responds
        (S,) which of these respond.
    among
        (S, S) distances between the measured ones.

    Returns
    -------
    probability
        (m,) probabilities.
    width
        The width; 0 if distances do not tell, and all have the same probability.
    """
    y = np.asarray(responds, dtype=np.float64)
    apart = among[np.triu_indices(len(among), 1)]
    unit = float(np.median(apart[apart > 0])) if (apart > 0).any() else 0.0
    widths = [0.0, *(unit * factor for factor in WIDTHS if unit > 0)]
    others = ~np.eye(len(y), dtype=bool)
    likely = [_log_likelihood(_shares(among, y, width, others), y) for width in widths]
    width = widths[int(np.argmax(likely))]
    return _shares(distances, y, width, np.ones(distances.shape, dtype=bool)), width


def _shares(distances: Floats, y: Floats, width: float, used: Bools) -> Floats:
    """Return the (m,) shares of responders among measured ones, near ones counting more."""
    mean = (0.5 + used @ y) / (1.0 + used.sum(axis=1))
    if width == 0:
        return np.asarray(mean)
    kernel = np.exp(-(distances**2) / (2 * width**2)) * used
    return np.asarray((mean + kernel @ y) / (1.0 + kernel.sum(axis=1)))


def _log_likelihood(p: Floats, y: Floats) -> float:
    return float((y * np.log(p) + (1 - y) * np.log1p(-p)).sum())
