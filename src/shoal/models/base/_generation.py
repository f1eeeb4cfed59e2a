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
    generate: Callable[[PredictionRequest], Matrix],
    request: PredictionRequest,
    *,
    cell_shape: tuple[int, ...],
) -> Matrix:
    """Generate the cells of a request in blocks.

    Parameters
    ----------
    generate
        Returns (n, *cell_shape) values of the cells of a part of the request.
    request
        Cells to generate, sorted by condition.
    cell_shape
        Shape of one cell, for a request without cells.

    Returns
    -------
    (n, *cell_shape) values, as CSR where more than half of the values of features are 0.
    """
    starts = range(0, len(request), BLOCK)
    parts = [
        compact(generate(request.take(slice(start, start + BLOCK))))
        for start in progress(starts, total=len(starts), desc="generating cells")
    ]
    if not parts:
        return np.zeros((0, *cell_shape), dtype=np.float32)
    return stacked(parts)
