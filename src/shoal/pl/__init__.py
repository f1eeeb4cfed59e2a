"""Plots of coherence, of evaluations, of predicted cells and of training runs."""

from ._bimodality import bimodality
from ._calibration import calibration
from ._coherence import coherence
from ._contexts import contexts
from ._ensemble import ensemble
from ._evaluate import evaluate
from ._genes import genes
from ._geometry import geometry
from ._image_features import image_features
from ._images import images
from ._intervals import intervals
from ._leaderboard import leaderboard
from ._null import coherence_null
from ._populations import populations
from ._ranking import ranking
from ._scatter_baseline import scatter_baseline
from ._strata import strata
from ._training import training
from ._transport import transport

__all__ = [
    "bimodality",
    "calibration",
    "coherence",
    "coherence_null",
    "contexts",
    "ensemble",
    "evaluate",
    "genes",
    "geometry",
    "image_features",
    "images",
    "intervals",
    "leaderboard",
    "populations",
    "ranking",
    "scatter_baseline",
    "strata",
    "training",
    "transport",
]
