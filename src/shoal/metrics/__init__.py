"""Arrays in, numbers out: the statistics, without AnnData."""

from ._association import partial_association, raw_partial
from ._coherence import coherence
from ._distance import edistance, energy_distance
from ._mmd import median_bandwidth, mmd
from ._pca import principal_axes

__all__ = [
    "coherence",
    "edistance",
    "energy_distance",
    "median_bandwidth",
    "mmd",
    "partial_association",
    "principal_axes",
    "raw_partial",
]
