"""Principal axes of the training cells, and the width of the kernel of the MMD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core._controls import shuffled
from ..metrics import median_bandwidth
from ..metrics._comparison import project
from ..metrics._pca import axes_of_cells, axes_of_few_cells
from ..models.space._fit_cells import at_most, training_block

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ..core._matrix import Rows

SAMPLE = 2_000  # training cells that the width of the kernel is taken from
FEW = 500  # training cells that the axes are taken from where no metric works in them


@dataclass(frozen=True, eq=False)
class AxisCells:
    """The training cells that axes and width are taken from.

    Attributes
    ----------
    fit
        Rows for the axes, in the order of their names: of very many, some are drawn.
    width
        Sorted rows for the width of the kernel, ``None`` where no metric needs it.
    """

    fit: Ints
    width: Ints | None


def axis_cells(training: Ints, *, seed: int, rng: np.random.Generator | None) -> AxisCells:
    """Choose the training cells that axes and width are taken from.

    Parameters
    ----------
    training
        Rows of the training cells, in the order of their names.
    seed
        Seed of the choice of cells for the axes.
    rng
        Chooses the cells for the width; ``None`` where no metric works in the axes.
    """
    chooser = np.random.default_rng([seed, 3])
    if rng is None:
        few, _ = shuffled(training, min(len(training), FEW), chooser)
        return AxisCells(np.sort(few), None)
    sample, _ = shuffled(training, min(len(training), SAMPLE), rng)
    return AxisCells(training, np.sort(sample))


def read_by_axes(chosen: AxisCells, *, seed: int) -> Ints:
    """Return the rows whose values `axes_of` reads: a PCA reads a choice of very many cells."""
    if chosen.width is None:
        return chosen.fit
    return np.concatenate([at_most(chosen.fit, np.random.default_rng([seed, 3])), chosen.width])


def axes_of(rows: Rows, chosen: AxisCells, *, n_comps: int, seed: int) -> tuple[Floats, float]:
    """Return principal axes (n_features, k) and the width of the kernel.

    Where no metric works in the axes, they only tell how large the real effects are. Then they come
    from a few cells, and the width is NaN.

    Raises
    ------
    ValueError
        If the training cells do not vary.
    """
    if chosen.width is None:
        few = rows.take(chosen.fit).astype(np.float64)
        axes = axes_of_few_cells(few, n_comps)
        if not axes.shape[1]:
            msg = (
                f"the {few.shape[0]} training cells do not vary in any of the {few.shape[1]} "
                "features"
            )
            raise ValueError(msg)
        return axes, np.nan
    chooser = np.random.default_rng([seed, 3])
    block = training_block(rows, chosen.fit, chooser)
    n, d = block.shape
    axes = axes_of_cells(block, min(n_comps, d, n - 1), rng=chooser)
    return axes, median_bandwidth(project(rows.take(chosen.width), axes))
