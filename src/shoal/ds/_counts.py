"""Draw gamma-Poisson counts, and the counts the same cells would have had without a perturbation; arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats


def draw_counts(
    mean: Floats, size: Floats, dispersion: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Draw counts of the given means and variance ``mean + dispersion * mean**2 / size``.

    Parameters
    ----------
    mean
        (n_cells, n_genes) means.
    size
        (n_genes,) negative-binomial sizes at dispersion 1.
    dispersion
        Factor, at least 1, on the variance beyond Poisson.
    rng
        Source of randomness.

    Returns
    -------
    Counts, the gamma draws behind them (of shape size / dispersion) and the resulting Poisson rates; all (n, g).
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
    """Draw the counts of the same cells with means `mean` and dispersion 1, as close to `counts` as can be.

    The gamma draw is completed to shape `size` (gamma variables of one scale add up). Where the rate falls, counts are
    thinned; where it rises, Poisson counts are added: both are exact, and an unchanged rate leaves the count unchanged.
    """
    if dispersion > 1:
        gamma = gamma + rng.standard_gamma(np.broadcast_to(size * (1 - 1 / dispersion), mean.shape))
    target = mean * gamma * (1 / size)
    kept = np.divide(target, rate, out=np.ones_like(rate), where=target < rate)
    return rng.binomial(counts.astype(np.int64), kept) + rng.poisson(np.maximum(target - rate, 0.0))
