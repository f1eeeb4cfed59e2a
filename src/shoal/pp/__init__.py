"""Preprocessing: say what the screen is, check its scale, drop what cannot be measured, hold out what is asked."""

from ._annotate import annotate
from ._embed import embed
from ._filter import filter
from ._prepare import prepare
from ._split import split

__all__ = ["annotate", "embed", "filter", "prepare", "split"]
