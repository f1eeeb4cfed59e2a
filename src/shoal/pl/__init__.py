"""Plots: coherence against magnitude, calibration, ranking, and one perturbation's cells as arrows."""

from ._coherence import coherence
from ._geometry import geometry
from ._null import coherence_null
from ._ranking import ranking

__all__ = ["coherence", "coherence_null", "geometry", "ranking"]
