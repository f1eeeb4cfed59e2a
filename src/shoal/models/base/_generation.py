"""Generation of the cells of a request, block by block."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..._logging import progress
from ._arrays import compact, stacked

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._typing import Matrix
    from ._requests import PredictionRequest

BLOCK = 8192  # cells that are generated together
BLOCK_BYTES = 2**27  # most bytes of the images that are generated together


def in_blocks(
    generate: Callable[[PredictionRequest], Matrix],
    request: PredictionRequest,
    *,
    cell_shape: tuple[int, ...],
) -> Matrix:
    """Generate the cells of a request in blocks.

    A block ends where a perturbation or a context ends, so that a population of up to `BLOCK` cells
    is generated, and finished, as a whole.

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
    fit = BLOCK_BYTES // (4 * prod(cell_shape)) if len(cell_shape) > 1 else BLOCK
    blocks = _blocks(request, max(1, min(BLOCK, fit)))
    parts = [
        compact(generate(request.take(block)))
        for block in progress(blocks, total=len(blocks), desc="generating cells")
    ]
    if not parts:
        return np.zeros((0, *cell_shape), dtype=np.float32)
    return stacked(parts)


def _blocks(request: PredictionRequest, most: int) -> list[slice]:
    """Return blocks of at most `most` rows, that cut no population which fits into one."""
    code = np.stack([request.perturbation, request.context])
    ends = np.r_[1 + np.flatnonzero((np.diff(code) != 0).any(axis=0)), len(request)]
    blocks, start = [], 0
    while start < len(request):
        within = ends[(ends > start) & (ends <= start + most)]
        stop = int(within[-1]) if len(within) else min(start + most, len(request))
        blocks.append(slice(start, stop))
        start = stop
    return blocks
