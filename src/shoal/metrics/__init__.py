"""Arrays in, numbers out: the statistics, without AnnData."""

from ._association import partial_association, raw_partial
from ._coherence import coherence
from ._delta import coherence_error, pearson_delta
from ._distance import edistance, energy_distance
from ._marginals import variance_ratio, wasserstein_per_gene, zero_fraction_error
from ._mmd import median_bandwidth, mmd
from ._pca import principal_axes

__all__ = [
    "coherence",
    "coherence_error",
    "edistance",
    "energy_distance",
    "median_bandwidth",
    "mmd",
    "partial_association",
    "pearson_delta",
    "principal_axes",
    "raw_partial",
    "variance_ratio",
    "wasserstein_per_gene",
    "zero_fraction_error",
]
