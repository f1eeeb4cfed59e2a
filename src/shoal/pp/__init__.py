"""Preprocessing: describe a screen, check its scale, filter, embed and split it."""

from ._annotate import annotate
from ._embed import embed
from ._filter import filter
from ._measure_images import measure_images
from ._prepare import prepare
from ._prepare_images import prepare_images
from ._split import split

__all__ = ["annotate", "embed", "filter", "measure_images", "prepare", "prepare_images", "split"]
