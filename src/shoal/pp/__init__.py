"""Preprocessing: say what the screen is, check its scale, drop what cannot be measured."""

from ._annotate import annotate
from ._filter import filter
from ._prepare import prepare

__all__ = ["annotate", "filter", "prepare"]
