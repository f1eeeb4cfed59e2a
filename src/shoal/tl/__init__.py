"""Statistics, training and prediction on AnnData: results go to ``uns``, ``obs`` and ``layers``."""

from ._associate import associate
from ._benchmark import benchmark
from ._coherence import coherence
from ._coherence_null import coherence_null
from ._distance import distance, distance_matrix
from ._encode_images import encode_images
from ._evaluate import evaluate
from ._evaluate_images import evaluate_images
from ._evaluate_intervals import evaluate_intervals
from ._fit import fit
from ._predict import predict
from ._propose import propose
from ._report import report
from ._retrieve import retrieve

__all__ = [
    "associate",
    "benchmark",
    "coherence",
    "coherence_null",
    "distance",
    "distance_matrix",
    "encode_images",
    "evaluate",
    "evaluate_images",
    "evaluate_intervals",
    "fit",
    "predict",
    "propose",
    "report",
    "retrieve",
]
