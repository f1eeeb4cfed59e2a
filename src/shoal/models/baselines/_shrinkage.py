"""Shrinkage of measured responses by their noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from ..._typing import Floats, Matrix
    from ._deltas import Deltas
    from ._noise import Noise

LEAST = 5  # fewest perturbations for a factor of each axis; else one factor serves all
AT_ONCE = 512  # responses that are in memory together


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses of P perturbations, such as those of training in one context and at one dose.

    A response is ``(1 - factor) * mean + factor * measured + extra @ axes.T``, which is the
    measured one where nothing is shrunk. They are never all in memory.

    Attributes
    ----------
    shares
        (P, C) how each is put together from the responses of the training conditions.
    measured
        (C, n_features) responses of the training conditions.
    mean
        (n_features,) mean over the perturbations.
    factor
        (P,) what is left of the difference from the mean, outside the axes.
    extra
        (P, k) what is left along the axes beyond that factor.
    axes
        (n_features, k) orthonormal axes.
    """

    shares: sparse.csr_matrix
    measured: Floats
    mean: Floats
    factor: Floats
    extra: Floats
    axes: Floats

    def sums(self, weights: Matrix) -> Floats:
        """Return (n, n_features) weighted sums of the responses, from (n, P) weights."""
        own = ((weights @ sparse.diags(self.factor)) @ self.shares) @ self.measured
        on_mean = weights @ (1.0 - self.factor)
        return np.asarray(own + on_mean[:, None] * self.mean + (weights @ self.extra) @ self.axes.T)

    def of(self, i: int) -> Floats:
        """Return the (n_features,) response i; the mean for i = P."""
        if i == len(self.factor):
            return self.mean
        own = self.factor[i] * (self.shares[i] @ self.measured)[0]
        return np.asarray(own + (1.0 - self.factor[i]) * self.mean + self.axes @ self.extra[i])

    def onto(self, directions: Floats, measured: Floats) -> Floats:
        """Return the (P, m) scores of the responses along directions.

        Parameters
        ----------
        directions
            (n_features, m) directions.
        measured
            (C, m) scores of the responses of the training conditions along them.
        """
        own = self.factor[:, None] * (self.shares @ measured)
        on_mean = (1.0 - self.factor)[:, None] * (self.mean @ directions)
        return np.asarray(own + on_mean + self.extra @ (self.axes.T @ directions))


def responses_of(deltas: Deltas, shares: sparse.csr_matrix, noise: Noise | None) -> Responses:
    """Return the responses of perturbations, shrunk towards their mean.

    Parameters
    ----------
    deltas
        Measured responses of training conditions.
    shares
        (P, C) how the response of each perturbation is put together from them.
    noise
        Noise by which they are shrunk; ``None`` to leave them as measured.

    Notes
    -----
    A measured response is the true one plus noise. Its difference from the mean over the
    perturbations is shrunk to the best linear prediction of the true difference, by `reliability`:
    along every axis on its own, and along all other directions together. The mean itself is not
    shrunk. A screen of one perturbation has no other response to shrink to, and nothing changes.
    """
    n = shares.shape[0]
    mean = np.asarray((np.full(n, 1 / n) @ shares) @ deltas.delta)
    if noise is None or n < 2:
        return Responses(
            shares, deltas.delta, mean, np.ones(n), np.zeros((n, 0)), np.zeros((len(mean), 0))
        )
    axes = noise.axes
    along = shares @ (deltas.delta @ axes) - mean @ axes
    squares = np.column_stack([along**2, np.zeros(n)])
    for start in range(0, n, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        total = ((shares[some] @ deltas.delta - mean) ** 2).sum(axis=1)
        squares[some, -1] = np.maximum(total - squares[some, :-1].sum(axis=1), 0.0)
    factors = reliability(squares, deltas.variances(shares), noise.variance)
    factor = factors[:, -1]
    extra = along * (factors[:, :-1] - factor[:, None])
    return Responses(shares, deltas.delta, mean, factor, extra, axes)


def reliability(squares: Floats, noise: Floats, variance: Floats) -> Floats:
    r"""Return how much of measured differences from a mean is believed.

    With true differences of variance s and noise of variance v, the best linear prediction of a
    true difference is the measured one times :math:`s / (s + v)`. The mean is that of the same
    measurements, so a measured difference has the variance :math:`(1 - 1/P)(s + v)`, and s is what
    squares exceed the noise by, averaged over the perturbations, or 0. In that average one of them
    counts as 1 / (its noise + the median noise), so that one of few cells does not drown the rest.

    An s from fewer than four independent squares can do more harm than good. With fewer than 5
    perturbations all axes therefore share one factor.

    Parameters
    ----------
    squares
        (P, k) squared differences of the P measurements from their mean, along k axes or summed
        over some.
    noise
        (P,) variance of the noise of these differences, in units of that of one cell.
    variance
        (k,) variance of one cell along the axes.

    Returns
    -------
    (P, k) factors between 0 and 1; 1 where there is no noise.

    References
    ----------
    James and Stein 1961, https://projecteuclid.org/euclid.bsmsp/1200512173; for unequal noise,
    Efron and Morris 1975, https://doi.org/10.1080/01621459.1975.10479864.
    """
    n, k = squares.shape
    if n < LEAST:
        squares, variance = squares.sum(axis=1, keepdims=True), variance.sum(keepdims=True)
    unit = np.median(noise)
    weight = 1 / (noise + unit) if unit > 0 else np.ones(n)
    scale, each = n / (n - 1), noise[:, None] * variance
    signal = np.maximum(weight @ (squares - each) / weight.sum(), 0.0) * scale
    total = signal + each * scale
    believed = np.divide(signal, total, out=np.ones_like(total), where=each > 0)
    return np.broadcast_to(believed, (n, k))
