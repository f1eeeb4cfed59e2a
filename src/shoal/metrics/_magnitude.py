"""Size of a response, without the noise of the means, and the spread around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._coherence import pair_mean

if TYPE_CHECKING:
    from .._typing import Floats, Ints


def magnitude2(norm: Floats, square: Floats, n: Ints, control_noise: Floats) -> Floats:
    """Return the unbiased squared shift |E_p x - E_c x|^2 of each perturbation.

    It is half the energy distance with squared Euclidean distances.

    Parameters
    ----------
    norm
        (G,) squared length of the sum of the shifts.
    square
        (G,) sum of the squared lengths of the shifts.
    n
        (G,) numbers of cells.
    control_noise
        (G,) noise of the control centroid that each pair of cells shares: trace / m for m controls.
    """
    return pair_mean(norm, square, n) - control_noise


def trace(norm: Floats, square: Floats, n: Ints) -> Floats:
    """Return the total variance of the cells of each perturbation; NaN for fewer than 2 cells."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, np.maximum(square - norm / n, 0.0) / (n - 1.0), np.nan)


def log_ratio(a: Floats, b: Floats) -> Floats:
    """Return log(a / b), NaN where either is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(a / b)
    return np.where(np.isfinite(ratio), ratio, np.nan)
