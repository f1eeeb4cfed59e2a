"""The rows of a screen that baselines read, beside the sums of its conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..models.base._registry import model_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Ints
    from ..core._population import Population


def read_by_baselines(cells: Population, baselines: Sequence[str]) -> Ints:
    """Return the rows whose values baselines read, beside the sums of the conditions.

    All start from control cells. Some keep training cells.
    """
    if not baselines:
        return np.zeros(0, dtype=np.int64)
    from ..models.baselines._means import MAX_CELLS
    from ..models.baselines._pool import kept_rows

    rows = [np.flatnonzero(cells.labels.is_control)]
    if any(getattr(model_class(name), "keeps_cells", True) for name in baselines):
        chosen = (cells.train, cells.train_control)
        rows += [kept_rows(cells, which, max_cells=MAX_CELLS) for which in chosen]
    return np.concatenate(rows)
