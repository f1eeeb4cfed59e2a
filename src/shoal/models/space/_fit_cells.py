"""The training cells that a space is fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._choose import refuse_images

if TYPE_CHECKING:
    from ..._typing import Ints, Matrix
    from ...core._matrix import Rows

FIT_CELLS = 50_000  # most cells that a space is fitted on


def at_most(fit: Ints, rng: np.random.Generator) -> Ints:
    """Return the positions of at most `FIT_CELLS` cells, sorted: all, or a random choice.

    The choice depends on the order of `fit`.
    """
    return np.sort(fit if len(fit) <= FIT_CELLS else rng.choice(fit, FIT_CELLS, replace=False))


def training_block(rows: Rows, fit: Ints, rng: np.random.Generator) -> Matrix:
    """Return the (n, d) values of the training cells, or of a random choice if they are very many.

    Raises
    ------
    ValueError
        If the cells do not vary, or are images.
    """
    refuse_images(rows.shape, rows.slot)
    block = rows.take(at_most(fit, rng))
    n, d = block.shape
    if not (block.max(axis=0) - block.min(axis=0)).max() > 0:
        msg = (
            f"the {n} training cells do not vary in any of the {d} features; there is nothing to "
            "learn"
        )
        raise ValueError(msg)
    return block
