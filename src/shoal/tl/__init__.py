"""Statistics on AnnData: results go to ``uns`` and ``obs``."""

from ._associate import associate
from ._coherence import coherence
from ._coherence_null import coherence_null
from ._distance import distance, distance_matrix

__all__ = ["associate", "coherence", "coherence_null", "distance", "distance_matrix"]
