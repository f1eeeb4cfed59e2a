r"""Weights of several predictions of the same responses: arrays in, numbers out.

For condition c let y be the measured response (p,), X the responses (K, p) that K members predicted
without having seen it, and :math:`\omega` how much the condition counts. The weights are

.. math::

    \hat w = \arg\min_{w \ge 0,\ \sum_k w_k \le 1}
    \sum_c \omega_c \lVert y_c - w^\top X_c \rVert^2 + \lambda \lVert w - w_0 \rVert^2 .

- **The sum is at most 1**, so that the stack moves cells no farther than its members, and shrinks
  towards the controls where these are wrong.
- **The prior** :math:`w_0` is the rule: 1 for the plainest member that knows what a question of
  the kind tells. :math:`\lambda` is worth `PRIOR` units of the mean squared length of a prediction.
  A unit is what is left out of training together: all conditions of a perturbation, say.
- The noise of y adds the same to the error of all weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import brentq, nnls

if TYPE_CHECKING:
    from ..._typing import Floats, Ints

PRIOR = 3.0  # units that the rule is worth


def stacked(
    predicted: Floats,
    real: Floats,
    rule: Floats,
    *,
    unit: Ints,
    weight: Floats,
    prior: float = PRIOR,
) -> Floats:
    """Return the weights of several members.

    Parameters
    ----------
    predicted
        (C, K, p) responses that K members predict of C conditions.
    real
        (C, p) measured responses.
    rule
        (K,) weights that are the prior.
    unit
        (C,) what each condition was left out with.
    weight
        (C,) how much each condition counts.
    prior
        Number of units that the prior is worth.

    Returns
    -------
    (K,) weights of at least 0, whose sum is at most 1.
    """
    if not len(rule):
        return rule
    gram = np.einsum("c,ckp,clp->kl", weight, predicted, predicted)
    along = np.einsum("c,ckp,cp->k", weight, predicted, real)
    penalty = prior * float(np.trace(gram)) / (len(rule) * len(np.unique(unit)))
    if not penalty > 0:  # nothing is predicted, so nothing tells the members apart
        return rule
    lower = cholesky(gram + penalty * np.eye(len(rule)), lower=True)
    target = along + penalty * rule

    def at(multiplier: float) -> Floats:
        found, _ = nnls(lower.T, solve_triangular(lower, target - multiplier, lower=True))
        return np.asarray(found)

    if at(0.0).sum() <= 1:
        return at(0.0)
    multiplier = brentq(lambda m: float(at(m).sum()) - 1, 0.0, float(target.max()), xtol=1e-15)
    found = at(float(multiplier))
    return np.asarray(found / max(float(found.sum()), 1.0))


@dataclass(frozen=True)
class Gain:
    """What is gained over something plainer: a copy of the controls, say.

    Attributes
    ----------
    mean
        Mean over conditions; above 0 if it is better.
    error
        Its standard error, over units that were left out of training.
    """

    mean: float
    error: float


def gain(
    predicted: Floats, real: Floats, unit: Ints, *, weight: Floats, beside: Floats | None = None
) -> Gain:
    """Return by how much predictions are nearer to measured responses than others are, squared.

    For a measured response y with the truth m and the prediction q, that was made without y, the
    mean of |y|² - |y - q|² is 2 m.q - |q|²: the noise of y drops out. It is minus |q|² where
    nothing responds.

    Parameters
    ----------
    predicted, real
        (C, p) predicted and measured responses.
    unit
        (C,) what each condition was left out with. Conditions of one unit are not independent.
    weight
        (C,) how much each condition counts.
    beside
        (C, p) the other predictions; no response if ``None``.
    """
    other = real if beside is None else real - beside
    return gain_of((other**2).sum(axis=1) - ((real - predicted) ** 2).sum(axis=1), unit, weight)


def gain_of(each: Floats, unit: Ints, weight: Floats | None = None) -> Gain:
    """Return the gain from that of every condition.

    Parameters
    ----------
    each
        (C,) gains.
    unit
        (C,) what each condition was left out with.
    weight
        (C,) how much each condition counts; all alike if ``None``.
    """
    weight = np.ones(len(each)) if weight is None else weight
    total = float(weight.sum())
    mean = float(weight @ each / total)
    per_unit = np.bincount(unit, weights=weight * (each - mean))
    n = np.count_nonzero(np.bincount(unit))
    error = float(np.sqrt((per_unit**2).sum() * n / max(n - 1, 1))) / total
    return Gain(mean, error if n > 1 else np.inf)
