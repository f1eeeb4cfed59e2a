"""The mark of contenders whose embedding has seen held-out cells, in pictures and in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DAGGER = " †"


def daggers(contenders: pd.DataFrame) -> dict[str, str]:
    """Return contender -> its name with a dagger, of the rows of a table of scores that are ``transductive``."""
    if "transductive" not in contenders:  # a result of an earlier version
        return {}
    return {
        str(name): f"{name}{DAGGER}"
        for name in contenders.index[contenders["transductive"].astype(bool)]
    }
