"""Who answers a kind of question by rule: baselines that need no weights."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..base._kinds import (
    COMBINATION,
    DOSE,
    ELSEWHERE,
    MEASURED,
    NEW_CONTEXT,
    NOT_AT_ALL,
    PARTLY,
    UNMEASURED,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        MEASURED: ("own_shift",),
        DOSE: ("own_shift",),
        ELSEWHERE: ("context_weighted", "own_shift"),
        NEW_CONTEXT: ("context_weighted", "own_shift"),
        COMBINATION: ("additive",),
        PARTLY: ("matching_mean",),
        NOT_AT_ALL: (),
        UNMEASURED: (),
    }
)
"""Kind of question -> baselines that answer it by rule, the first that there is."""

LEAST_UNITS = 8  # of a kind that must have been left out; with fewer the rule is taken
LAST = "mean_shift"  # the rule where no other can be had; it answers every question
