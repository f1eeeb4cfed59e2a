"""The training cells that a space is fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._choose import refuse_images
from ...core._order import stable_order
from ...metrics._pca import axes_of_cells

if TYPE_CHECKING:
    from ..._typing import Floats, Ints, Matrix
    from ...core._matrix import Rows
    from ...core._population import Population

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


def axes_of_training(cells: Population, n_comps: int, rng: np.random.Generator) -> Floats:
    """Return the (d, k) principal axes of the training cells, perturbed ones and controls.

    Parameters
    ----------
    cells
        The screen. The order of its rows does not matter.
    n_comps
        Most axes; fewer if there are fewer features or cells.
    rng
        Chooses cells where they are very many, and starts the iteration.

    Raises
    ------
    ValueError
        If the cells do not vary, or are images.
    """
    order = stable_order(cells.adata)
    train = order[(cells.train | cells.train_control)[order]]
    block = training_block(cells.rows, train, rng)
    n, d = block.shape
    return axes_of_cells(block, min(n_comps, d, n - 1), rng=rng)
