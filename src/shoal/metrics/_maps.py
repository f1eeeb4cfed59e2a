r"""Where a map takes cells: the path, its cost, and whether another assignment is cheaper.

Throughout, x and y (n, d) are cells and their images, row by row. The cost is
:math:`c(x, y) = \lVert x - y \rVert^p`, with p = 1 (distance) or 2 (squared distance).

Unpaired populations cannot say whether a cell went the right way. What can be checked is whether
the map is *optimal*. A map that carries cells across one another takes a detour that the data do
not ask for.

A map is optimal for its own endpoints exactly if it is cyclically monotone: no cycle of cells can
swap their images at a gain. For p = 2 these maps are the gradients of convex functions (Brenier),
among them translations and increasing maps of the line. Translations are optimal for p = 1 too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from .._typing import Floats

POWERS = (1, 2)
ROUNDING = 1e-9  # relative gain of a swap that is rounding


def displacement(
    x: NDArray[np.floating], y: NDArray[np.floating], times: Sequence[float]
) -> NDArray[np.floating]:
    """Displacement interpolation (1 - t) x + t y: straight paths at constant speed.

    For an optimal map at squared cost these are the geodesics of Wasserstein space (McCann): the
    population at time t has gone the share t of the distance. At time 0 the result is x and at time
    1 it is y, to the last bit.

    Parameters
    ----------
    x, y
        (n, d) cells and their images.
    times
        Different times from 0 to 1.

    Returns
    -------
    (len(times), n, d) cells, in the precision of the input.

    Raises
    ------
    ValueError
        If the shapes differ, or `times` are empty, not within 0 and 1, or not all different.
    """
    _check_shapes(x, y)
    t = np.asarray(check_times(times), dtype=np.result_type(x, y, np.float32))[:, None, None]
    return (1 - t) * x + t * y


def costs(x: ArrayLike, y: ArrayLike, *, power: int = 1) -> Floats:
    """Cost of every cell: the distance from the cell to its image, or its square.

    For a translation by v the cost of every cell is |v|, to the power. The mean is at least the
    Wasserstein distance of the two populations, to the power, with equality for an optimal map.

    Parameters
    ----------
    x, y
        (n, d) cells and their images.
    power
        1 for the distance, 2 for its square.

    Returns
    -------
    (n,) costs, in the units of the columns to that power.

    Raises
    ------
    ValueError
        If the shapes differ, or the power is neither 1 nor 2.
    """
    one_of(power, POWERS, name="power")
    x, y = _check_shapes(x, y)
    return np.linalg.norm(y - x, axis=1) ** power


def excess(x: ArrayLike, y: ArrayLike, *, power: int = 2) -> float:
    """Mean cost of the map over that of the best assignment to the same images, minus 1.

    It estimates E c(x, T(x)) / W - 1, with W the least cost between the population and its image.

    - It is 0 exactly for a cyclically monotone map, with any number of cells.
    - For other maps it grows with the number of cells, because more cells find better partners.
      Compare at equal n.
    - It is small where a long common shift makes up most of the cost. `swaps` does not see that
      shift.
    - For a random permutation of the images of an optimal map, the numerator is the mean cost over
      all pairs.

    Parameters
    ----------
    x, y
        (n, d) cells and their images. The assignment takes time n³ at worst: seconds for some
        thousand cells.
    power
        1 for the distance, 2 for its square.

    Returns
    -------
    At least 0. Infinite if the best assignment costs nothing and the map does not.

    Raises
    ------
    ValueError
        If the shapes differ, or the power is neither 1 nor 2.
    """
    from scipy.optimize import linear_sum_assignment

    cost = _table(x, y, power)
    actual, best = np.trace(cost), cost[linear_sum_assignment(cost)].sum()
    if actual - best <= ROUNDING * actual:
        return 0.0
    return float(actual / best - 1) if best > 0 else float("inf")


def swaps(x: ArrayLike, y: ArrayLike, *, power: int = 2) -> float:
    r"""Share of the pairs of cells that would gain by swapping their images (cycles of two).

    It estimates :math:`P(c(x, Tx') + c(x', Tx) < c(x, Tx) + c(x', Tx'))` over independent cells.
    For squared cost this is :math:`P(\langle x - x', Tx - Tx' \rangle < 0)`. Whatever the two
    populations, it is

    - 0 for a cyclically monotone map;
    - 1/2 for images that do not depend on the cell: a random permutation, or a model that draws
      from noise.

    It is unbiased for any number of cells from 2 on.

    Parameters
    ----------
    x, y
        (n, d) cells and their images.
    power
        1 for the distance, 2 for its square.

    Returns
    -------
    From 0 to 1; NaN for a single cell.

    Raises
    ------
    ValueError
        If the shapes differ, or the power is neither 1 nor 2.
    """
    cost = _table(x, y, power)
    diagonal = np.diag(cost)
    as_is, swapped = diagonal[:, None] + diagonal, cost + cost.T
    n = len(diagonal)
    gain = int((as_is - swapped > ROUNDING * as_is).sum())  # counts each pair twice
    return gain / (n * (n - 1)) if n > 1 else float("nan")


def check_times(times: Sequence[float]) -> list[float]:
    """Return the times of an interpolation as numbers.

    Raises
    ------
    ValueError
        If they are empty, not within 0 and 1, or not all different.
    """
    several = [float(t) for t in np.ravel(times)]
    if not several or len(set(several)) < len(several) or not all(0 <= t <= 1 for t in several):
        msg = (
            "times must be different numbers within 0 (the cells) and 1 (their images), "
            f"not {several}"
        )
        raise ValueError(msg)
    return several


def _table(x: ArrayLike, y: ArrayLike, power: int) -> Floats:
    """Return (n, n) costs of every cell to every image."""
    from scipy.spatial.distance import cdist

    one_of(power, POWERS, name="power")
    return cdist(*_check_shapes(x, y), "euclidean" if power == 1 else "sqeuclidean")


def _check_shapes(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64 arrays (n, d).

    Raises
    ------
    ValueError
        If not every cell has its image.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or x.shape != y.shape or not len(x):
        msg = (
            f"cells {x.shape} and their images {y.shape} must have the same shape (n, d), "
            "a row for each cell"
        )
        raise ValueError(msg)
    return x, y
