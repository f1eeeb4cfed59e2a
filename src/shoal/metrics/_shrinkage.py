"""Shrink noisy coherences towards the coherences that their magnitudes predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats


def shrink(estimate: Floats, se: Floats, prior: Floats, *, n_iter: int = 50) -> Floats:
    """Return posterior means of a normal-normal model whose prior mean is a line in `prior`.

    The model is estimate ~ N(theta, se^2) with theta ~ N(a + b prior, tau^2). The parameters a, b
    and tau^2 are fitted by iterated weighted least squares and the method of moments
    (Paule-Mandel).

    Parameters
    ----------
    estimate
        (G,) kappa.
    se
        (G,) standard errors.
    prior
        (G,) variable of the line: kappa of a translation of the estimated magnitude.
    n_iter
        Steps of the fit.

    Returns
    -------
    (G,) shrunken values; NaN where an input is. With fewer than 5 usable perturbations nothing is
    shrunk.
    """
    usable = np.isfinite(estimate) & np.isfinite(se) & np.isfinite(prior) & (se > 0)
    if usable.sum() < 5:
        return np.where(np.isfinite(estimate), estimate, np.nan)
    y, v, x = (
        estimate[usable],
        se[usable] ** 2,
        np.column_stack([np.ones(usable.sum()), prior[usable]]),
    )
    tau2 = float(np.var(y))
    for _ in range(n_iter):
        w = 1 / (v + tau2)
        coef = np.linalg.lstsq(x * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
        misfit = float(np.sum(w * (y - x @ coef) ** 2)) - (len(y) - x.shape[1])
        tau2 = max(tau2 + misfit / float(np.sum(w)), 0.0)
    mean = x @ coef
    out = np.full(len(estimate), np.nan)
    out[usable] = mean + tau2 / (tau2 + v) * (y - mean)
    return out
