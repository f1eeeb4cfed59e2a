"""Data: simulated screens whose truth is known, and public screens by name."""

from ._fetch import available, load
from ._gaussian import simulate_gaussian
from ._image_counterfactuals import counterfactual_images
from ._images import simulate_images
from ._read_crops import read_crops
from ._simulate import simulate

__all__ = [
    "available",
    "counterfactual_images",
    "load",
    "read_crops",
    "simulate",
    "simulate_gaussian",
    "simulate_images",
]
