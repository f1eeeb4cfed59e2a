"""How many leading components of a cell a network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..space._space import Space

LEAST = 3  # components


def n_visible_of(sizes: Sequence[int]) -> int:
    """Return half the root of the median number of cells of a condition, at least three.

    That is six for 150 cells and eleven for 500. Conditions of that size show the shape of a
    population in no more dimensions.
    """
    return max(LEAST, round(float(np.sqrt(np.median(sizes))) / 2))


def n_visible_for(space: Space, sizes: Sequence[int]) -> int | None:
    """Return what ``n_visible="auto"`` means for a screen.

    Parameters
    ----------
    space
        Space of the network.
    sizes
        Number of training cells of each condition.

    Returns
    -------
    Number of components, or ``None`` (all of them) where none comes before another: in features as
    they are, and in what an autoencoder makes of them.
    """
    return None if space.axes is None else min(space.n_dims, n_visible_of(sizes))
