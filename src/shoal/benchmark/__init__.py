"""Benchmarks of models: data sets x splits x models x seeds, resumable, and the leaderboard of it."""

from ._run import run
from ._spec import Spec
from ._table import markdown, table

__all__ = ["Spec", "markdown", "run", "table"]
