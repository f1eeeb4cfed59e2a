r"""The probability that a perturbation responds, from the size of its predicted response.

*Does a measured condition respond?* Let y be its mean shift from its controls along p axes,
:math:`\Lambda` the (p, p) covariance of a cell around the mean of its condition, and f the noise of
the shift in units of that of a cell: 1 / cells, and as much for the controls. Without a response
:math:`T = y^\top \Lambda^{-1} y / f` has a :math:`\chi^2_p` distribution. The mean of T is p more
by :math:`\Delta^\top \Lambda^{-1} \Delta / f` where there is one, so what is found depends on the
number of cells.

*How probable is that of one that was not measured?* The probability is

.. math:: P = 1 / (1 + e^{-(a + b x)}), \qquad b \ge 0,

with x the logarithm of the predicted size, standardised. It is fitted to conditions that were left
out of training, by penalised likelihood: two further conditions, one of which responds, at the mean
of x, and :math:`b^2 / 2`. Where all sizes are equal it is (k + 1) / (n + 2) for k of n that
respond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import chdtrc, expit

if TYPE_CHECKING:
    from .._typing import Bools, Floats

FOUND = 0.01  # p-value at which a measured condition responds
LEAST_SPREAD = 1e-9  # share of the largest variance below which an axis does not vary


def shift_pvalues(shift: Floats, spread: Floats, factor: Floats) -> Floats:
    """Return the (C,) p-values that conditions do not respond.

    Parameters
    ----------
    shift
        (C, p) mean shifts from controls along some axes.
    spread
        (p, p) covariance of a cell around the mean of its condition.
    factor
        (C,) noise of each shift, in units of that of a cell.

    Returns
    -------
    P-values; 1 if cells do not vary.
    """
    variance, directions = np.linalg.eigh(spread)
    varies = variance > LEAST_SPREAD * max(float(variance.max(initial=0.0)), 0.0)
    if not varies.any():
        return np.ones(len(shift))
    along = (shift @ directions[:, varies]) ** 2 / variance[varies]
    found: Floats = chdtrc(int(varies.sum()), along.sum(axis=1) / factor)
    return found


@dataclass(frozen=True)
class ResponseProbability:
    """The probability that a perturbation responds, for the size of its predicted response.

    Attributes
    ----------
    middle, width
        Mean and standard deviation of log sizes.
    at_middle, slope
        a and b.
    """

    middle: float
    width: float
    at_middle: float
    slope: float

    def __call__(self, size: Floats) -> Floats:
        """Return the (C,) probabilities for (C,) sizes above 0."""
        x = (np.log(size) - self.middle) / self.width
        found: Floats = expit(self.at_middle + self.slope * x)
        return found


def fit_probability(size: Floats, responds: Bools) -> ResponseProbability:
    """Fit the probability of a response to conditions that were measured.

    Parameters
    ----------
    size
        (C,) sizes of predicted responses, above 0.
    responds
        (C,) which of them respond.
    """
    x, y = np.log(size), np.asarray(responds, dtype=np.float64)
    middle, width = float(x.mean()), float(x.std())
    z = (x - middle) / width if width > 1e-9 else np.zeros(len(x))
    z, y = np.append(z, [0.0, 0.0]), np.append(y, [0.0, 1.0])

    def loss(at: Floats) -> tuple[float, Floats]:
        p = expit(at[0] + at[1] * z)
        sign = np.where(y > 0, 1.0, -1.0)
        value = np.logaddexp(0.0, -sign * (at[0] + at[1] * z)).sum() + at[1] ** 2 / 2
        return float(value), np.array([(p - y).sum(), ((p - y) * z).sum() + at[1]])

    start = np.array([np.log(y.mean() / (1 - y.mean())), 0.0])
    best = minimize(loss, start, jac=True, bounds=[(None, None), (0.0, None)], method="L-BFGS-B")
    return ResponseProbability(middle, width if width > 1e-9 else 1.0, *map(float, best.x))
