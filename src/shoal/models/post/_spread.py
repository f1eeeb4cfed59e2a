r"""How far counts spread: the negative binomial law of mean and variance, fitted on measured cells.

In a population of cells with library sizes :math:`L_i`, a gene with the share q of all molecules
has counts of mean :math:`L_i q` and variance

.. math:: L_i q + \phi (L_i q)^2 .

:math:`\phi` is the dispersion of the gene: 0 for Poisson counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from ..._typing import Floats, Ints

ROUNDS = 4  # in which the weights of the trend are found anew


@dataclass(frozen=True)
class CountSums:
    """Sums over the cells of k populations, for d genes.

    Attributes
    ----------
    n
        (k,) cells.
    counts, squares, by_library
        (k, d) sums of the counts, of their squares, and of counts times library size.
    library, library_squares
        (k,) sums of the library sizes, and of their squares.
    """

    n: Ints
    counts: Floats
    squares: Floats
    by_library: Floats
    library: Floats
    library_squares: Floats


def variance_noise(variance: Floats, dispersion: Floats) -> Floats:
    """Return n times the variance of a sample variance of n negative binomial counts."""
    kurtosis = 6 * dispersion + 1 / np.maximum(variance, 1e-12)
    made: Floats = variance**2 * (2 + kurtosis)
    return made


def dispersions(sums: CountSums) -> Floats:
    r"""Return the dispersion of every gene, shrunk to the trend over all genes.

    - A gene's own dispersion compares the squares of residuals, summed over populations, with what
      Poisson counts would have: :math:`\hat\phi = \sum [(c - Lq)^2 - c] / \sum (Lq)^2`. It is
      unbiased in numerator and denominator, and may be below 0.
    - The trend is :math:`a + b / \mu`, with :math:`\mu` the typical mean of a gene.
    - A gene keeps the share of its distance to the trend that is not explained by noise. Of rare
      genes little is known, and they get the trend.

    Parameters
    ----------
    sums
        Sums over populations. Those of one cell, or without counts, tell nothing.

    Returns
    -------
    (d,) dispersions of at least 0.

    References
    ----------
    Love, Huber & Anders (2014), for the trend.
    """
    told = (sums.n > 1) & (sums.library > 0)
    if not told.any():
        return np.zeros(sums.counts.shape[1])
    n, library, squares = (
        own[told][:, None] for own in (sums.n, sums.library, sums.library_squares)
    )
    counts, own_squares, by_library = (
        own[told] for own in (sums.counts, sums.squares, sums.by_library)
    )
    share = counts / library
    residual = own_squares - 2 * share * by_library + share**2 * squares
    above = (n / (n - 1) * residual - counts).sum(axis=0)
    size = (np.maximum(share**2 - counts / library**2, 0) * squares).sum(axis=0)
    seen = size > 0
    made = np.zeros(len(size))
    if seen.any():
        mean = share[:, seen] * library / n
        made[seen] = _shrunk(above[seen] / size[seen], size[seen], n, mean)
    return made


def _shrunk(own: Floats, size: Floats, n: Ints, mean: Floats) -> Floats:
    """Return dispersions of genes, shrunk to their trend.

    Parameters
    ----------
    own
        (d,) each gene's own dispersion.
    size
        (d,) sum of the squares that they were divided by.
    n
        (k, 1) cells of the populations.
    mean
        (k, d) mean counts.
    """
    typical = (n * mean**2).sum(axis=0) / (n * mean).sum(axis=0)
    design = np.stack([np.ones_like(typical), 1 / typical], axis=1)
    trend = np.full(len(own), max(np.average(own, weights=np.sqrt(size)), 0.0))
    spread = 1.0
    for _ in range(ROUNDS):
        noise = (n * variance_noise(mean + trend * mean**2, trend)).sum(axis=0) / size**2
        weight = 1 / np.sqrt(noise + spread * trend**2 + 1e-12)
        trend = design @ nnls(design * weight[:, None], own * weight)[0]
        apart = trend > 0
        if not apart.any():
            break
        relative = noise[apart] / trend[apart] ** 2
        far = (own[apart] / trend[apart] - 1) ** 2
        known = 1 / (1 + relative) ** 2
        spread = max(float(np.average(np.minimum(far, 100.0) - relative, weights=known)), 0.0)
    between = spread * trend**2
    kept = np.divide(between, between + noise, out=np.zeros_like(trend), where=between > 0)
    made: Floats = np.maximum(trend + kept * (own - trend), 0.0)
    return made
