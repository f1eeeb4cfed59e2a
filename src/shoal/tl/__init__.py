"""Statistics, training and prediction on AnnData: results go to ``uns``, ``obs`` and ``layers``."""

from ._associate import associate
from ._coherence import coherence
from ._coherence_null import coherence_null
from ._distance import distance, distance_matrix
from ._fit import fit
from ._predict import predict

__all__ = ["associate", "coherence", "coherence_null", "distance", "distance_matrix", "fit", "predict"]
