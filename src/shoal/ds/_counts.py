"""Gamma-Poisson counts, and the counts of the same cells without a perturbation; arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats


def draw_counts(
    mean: Floats, size: Floats, dispersion: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Draw counts with given means and the variance ``mean + dispersion * mean**2 / size``.

    Parameters
    ----------
    mean
        (n_cells, n_genes) means.
    size
        (n_genes,) negative-binomial sizes at dispersion 1.
    dispersion
        Factor on the variance beyond Poisson, at least 1.
    rng
        Source of random numbers.

    Returns
    -------
    Three (n_cells, n_genes) arrays: the counts, the gamma draws behind them, and the Poisson rates.
    The gamma draws have the shape parameter ``size / dispersion``.
    """
    gamma = rng.standard_gamma(np.broadcast_to(size / dispersion, mean.shape))
    rate = mean * gamma * (dispersion / size)
    return rng.poisson(rate).astype(np.float64), gamma, rate


def draw_twin(
    counts: Floats,
    gamma: Floats,
    rate: Floats,
    mean: Floats,
    size: Floats,
    dispersion: float,
    rng: np.random.Generator,
) -> Floats:
    """Draw counts of the same cells at other means and dispersion 1, close to their `counts`.

    - The gamma draw is completed to the shape parameter `size`, since gamma variables of one scale
      add up.
    - Where the rate falls, counts are thinned. Where it rises, Poisson counts are added. Both are
      exact.
    - Where the rate stays, the count stays.
    """
    if dispersion > 1:
        gamma = gamma + rng.standard_gamma(np.broadcast_to(size * (1 - 1 / dispersion), mean.shape))
    target = mean * gamma * (1 / size)
    kept = np.divide(target, rate, out=np.ones_like(rate), where=target < rate)
    return rng.binomial(counts.astype(np.int64), kept) + rng.poisson(np.maximum(target - rate, 0.0))
