"""Generation of the cells of a request, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._logging import progress
from ._arrays import compact, stacked

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._typing import Matrix
    from ._requests import PredictionRequest

BLOCK = 8192  # cells that are generated together


def in_blocks(
    generate: Callable[[PredictionRequest], Matrix], request: PredictionRequest, *, n_features: int
) -> Matrix:
    """Generate the cells of a request in blocks.

    Parameters
    ----------
    generate
        Returns (n, n_features) values of the cells of a part of the request.
    request
        Cells to generate, sorted by condition.
    n_features
        Number of features, for a request without cells.

    Returns
    -------
    (n, n_features) values, as CSR where more than half of them are 0.
    """
    starts = range(0, len(request), BLOCK)
    parts = [
        compact(generate(request.take(slice(start, start + BLOCK))))
        for start in progress(starts, total=len(starts), desc="generating cells")
    ]
    if not parts:
        return np.zeros((0, n_features), dtype=np.float32)
    return stacked(parts)
