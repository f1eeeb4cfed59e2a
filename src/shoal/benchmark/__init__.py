"""Benchmarks of models over data sets, splits and seeds: resumable runs and their leaderboard."""

from ._prepare import screen
from ._replay import Replay, replay
from ._run import run
from ._spec import Spec
from ._table import markdown, table

__all__ = ["Replay", "Spec", "markdown", "replay", "run", "screen", "table"]
