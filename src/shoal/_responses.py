"""Which perturbations respond, as a table of coherence says it: by replicates where it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from ._typing import Bools

BY_REPLICATE = "qvalue_replicate"


@dataclass(frozen=True)
class Responses:
    """The responses of a table of coherence.

    Attributes
    ----------
    unit
        What was counted: the column of replicates, or ``"cells"``.
    clear
        (n,) which perturbations respond, with an interval above 0.
    spanning
        (n,) which respond although the interval of their coherence includes 0. The test is
        one-sided, and the interval is two-sided.
    by_cells
        (n,) which respond by cells, but not beyond what replicates differ by.
    untested
        (n,) which respond by cells and have a single replicate.
    """

    unit: str
    clear: Bools
    spanning: Bools
    by_cells: Bools
    untested: Bools

    @property
    def all(self) -> Bools:
        """(n,) which perturbations respond."""
        return self.clear | self.spanning

    @property
    def suffix(self) -> str:
        """Text after "q < 0.05": nothing for cells, else the column of replicates."""
        return "" if self.unit == "cells" else f" by {self.unit}"


def responses(table: pd.DataFrame, params: Mapping[str, Any], alpha: float) -> Responses:
    """Return which perturbations have a q-value below `alpha`.

    The q-value is that of replicates, if the table has one for any perturbation, else that of
    cells.
    """
    cells = (table["qvalue"] < alpha).to_numpy()
    nothing = np.zeros(len(table), dtype=bool)
    hit, by_cells, untested, unit = cells, nothing, nothing, "cells"
    if BY_REPLICATE in table and table[BY_REPLICATE].notna().any():
        q = table[BY_REPLICATE]
        hit = (q < alpha).to_numpy()
        by_cells = cells & (q >= alpha).to_numpy()
        untested = cells & q.isna().to_numpy()
        unit = str(params.get("replicate_key") or "replicates")
    spanning = hit & (table["ci_low"] <= 0).to_numpy()
    return Responses(unit, hit & ~spanning, spanning, by_cells, untested)
