"""Size of a response: the squared shift without the noise of either mean, and the spread around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._coherence import pair_mean

if TYPE_CHECKING:
    from .._typing import Floats, Ints


def magnitude2(norm: Floats, square: Floats, n: Ints, control_noise: Floats) -> Floats:
    """Return the unbiased squared shift |E_p x - E_c x|^2; half the squared-Euclidean energy distance.

    Parameters
    ----------
    norm
        (G,) |sum of shifts|^2.
    square
        (G,) sum of |shift|^2.
    n
        (G,) cells.
    control_noise
        (G,) what the noise of the control centroid adds to a pair of cells; trace / m for m controls.
    """
    return pair_mean(norm, square, n) - control_noise


def trace(norm: Floats, square: Floats, n: Ints) -> Floats:
    """Return the total variance of the cells of each perturbation about their own mean; NaN below 2 cells."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, np.maximum(square - norm / n, 0.0) / (n - 1.0), np.nan)


def log_ratio(a: Floats, b: Floats) -> Floats:
    """Return log(a / b), NaN where either is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(a / b)
    return np.where(np.isfinite(ratio), ratio, np.nan)
