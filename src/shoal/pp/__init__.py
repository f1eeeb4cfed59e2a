"""Preprocessing: say what the screen is, check its scale, drop what cannot be measured."""

from ._annotate import annotate

__all__ = ["annotate"]
