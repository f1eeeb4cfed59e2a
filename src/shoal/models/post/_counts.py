r"""From rates to integer counts: means are kept, and count noise is added where it is missing.

A predicted cell begins at a measured one, and what it has of that cell carries the noise of counts
already. Poisson noise on top of it would be counted twice. What a model has smoothed carries none.
Two steps take both into account, in one population and gene at a time.

1. **Noise.** The variance of the rates is compared with that of negative binomial counts of the
   same mean. Of a perfectly smooth gene all count noise is missing, of a copied one none. The share
   that is missing is estimated for every gene, and shrunk to that of all genes by its uncertainty.
   That share of the noise is drawn: Poisson counts of a part of each rate, or of the whole rate
   times a gamma variable where the law says more. The result is scaled to the sum that the rates
   had. Variance is never taken away, and rates of 0 stay 0.
2. **Rounding.** Every rate is rounded up with a probability equal to its fraction, by systematic
   sampling of the cells in random order. So the expected count of a cell is its rate, and the sum
   of a gene is right to one molecule.

Genes whose rates are whole numbers in all cells are counts, and are left as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._spread import variance_noise

if TYPE_CHECKING:
    from ..._typing import Bools, Floats, Ints

WHOLE = 2e-6  # relative distance to a whole number that single precision leaves


def as_counts(
    rates: sparse.csr_matrix,
    *,
    library: Floats,
    dispersion: Floats,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Return integer counts of one population of cells, given the rate of every gene and cell.

    Parameters
    ----------
    rates
        (n, d) expected counts, at least 0.
    library
        (n,) library sizes of the cells; only their ratios matter.
    dispersion
        (d,) dispersions of the genes, see `shoal.models.post._spread.dispersions`.
    rng
        Generator.

    Returns
    -------
    (n, d) int32 counts. The sum of every gene is that of its rates, to within one molecule.
    """
    n, d = rates.shape
    columns = sparse.csc_matrix(rates, dtype=np.float64)
    gene = np.repeat(np.arange(d), np.diff(columns.indptr))
    values = columns.data
    nearest = np.rint(values)
    values = np.where(np.abs(values - nearest) <= WHOLE * (1 + values), nearest, values)
    smooth = np.bincount(gene, values != np.rint(values), d) > 0
    if smooth.any() and n > 1:
        values = _with_noise(values, gene, smooth, n, library, dispersion, rng)
    counted = _rounded(values, gene, rng)
    made = sparse.csc_matrix((counted, columns.indices, columns.indptr), shape=(n, d)).tocsr()
    made.eliminate_zeros()
    made.sort_indices()
    return made


def missing_share(
    mean: Floats, variance: Floats, rounding: Floats, n: int, spread: float, dispersion: Floats
) -> tuple[Floats, Floats]:
    """Return the variance that genes lack, 0 or more, after shrinkage over genes.

    Parameters
    ----------
    mean, variance
        (d,) means (above 0) and variances of the rates.
    rounding
        (d,) variance that rounding them adds.
    n
        Cells.
    spread
        Squared coefficient of variation of the library sizes.
    dispersion
        (d,) dispersions.

    Returns
    -------
    share
        (d,) share of the count noise that is missing, from 0 to 1.
    most
        (d,) variance that is missing where the share is 1: a smooth gene has the variance of its
        library sizes, and that of rounding.
    """
    law = mean + (dispersion * (1 + spread) + spread) * mean**2
    most = np.maximum(law - spread * mean**2 - rounding, 1e-12)
    own = np.clip((law - variance - rounding) / most, -1, 1)
    noise = variance_noise(law, dispersion) / n / most**2
    weight = 1 / noise
    centre = np.average(own, weights=weight)
    excess = (weight * (own - centre) ** 2).sum() - (len(own) - 1)
    scale = weight.sum() - (weight**2).sum() / weight.sum()
    between = max(excess / scale, 0.0) if scale > 0 else 0.0
    weight = 1 / (noise + between)
    centre = np.average(own, weights=weight)
    share = centre + between / (between + noise) * (own - centre)
    return np.clip(share, 0, 1), most


def _with_noise(
    values: Floats,
    gene: Ints,
    smooth: Bools,
    n: int,
    library: Floats,
    dispersion: Floats,
    rng: np.random.Generator,
) -> Floats:
    """Return rates with the count noise that they lack, of the same sum in every gene.

    Parameters
    ----------
    values
        (k,) rates above 0, gene by gene.
    gene
        (k,) gene of each.
    smooth
        (d,) genes that may lack noise.
    n
        Cells of the population.
    library
        (n,) library sizes.
    dispersion
        (d,) dispersions.
    rng
        Generator.
    """
    d = len(smooth)
    fraction = values - np.floor(values)
    total = np.bincount(gene, values, d)
    square = np.bincount(gene, values**2, d) / n
    rounding = np.bincount(gene, fraction * (1 - fraction), d) / n
    at = np.flatnonzero(smooth)
    mean = total[at] / n
    spread = float(library.var() / library.mean() ** 2) if library.mean() > 0 else 0.0
    variance = (square[at] - mean**2) * n / (n - 1)
    share, most = missing_share(mean, variance, rounding[at], n, spread, dispersion[at])
    wanted = share * most + rounding[at]
    part, burst = np.zeros(d), np.zeros(d)
    room = np.maximum(mean - rounding[at], 1e-12)
    part[at] = np.clip(share * most / room, 0, 1)
    burst[at] = np.maximum(wanted - mean, 0) / square[at]
    chosen = np.flatnonzero(part[gene] > 0)
    own, of = values[chosen], gene[chosen]
    bursts = burst[of]
    varied = bursts > 1e-9
    factor = np.ones(len(own))
    factor[varied] = rng.standard_gamma(1 / bursts[varied]) * bursts[varied]
    drawn = (1 - part[of]) * own + rng.poisson(part[of] * own * factor)
    sums = np.bincount(of, drawn, d)
    scale = np.divide(total, sums, out=np.zeros(d), where=sums > 0)
    values = values.copy()
    values[chosen] = np.where(sums[of] > 0, drawn * scale[of], own)
    return values


def _rounded(values: Floats, gene: Ints, rng: np.random.Generator) -> Ints:
    """Return whole numbers: each value up or down, with its own mean, by systematic sampling."""
    floor = np.floor(values)
    fraction = values - floor
    made = floor.astype(np.int32)
    open_ = np.flatnonzero(fraction > 0)
    order = open_[np.argsort(gene[open_] + rng.random(len(open_)), kind="stable")]
    reached = np.floor(np.cumsum(fraction[order]) + rng.random())
    made[order] += np.diff(reached, prepend=0).astype(np.int32)
    return made
