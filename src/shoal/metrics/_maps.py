r"""Where a map takes cells: the way, its cost, and whether another assignment of the same cells would be cheaper.

Throughout, x and y (n, d) are cells and their images, row by row, and :math:`c(x, y) = \lVert x - y \rVert^p` with p = 1
(distance) or 2 (squared distance). Unpaired populations cannot say whether a cell went the right way; what can be said is
whether the map is *optimal*: a map that carries cells across one another takes a detour that the data do not ask for.
A map is optimal for its own endpoints exactly if it is cyclically monotone: no cycle of cells can swap their images at a
gain. For p = 2 these are the gradients of convex functions (Brenier), translations and increasing maps of the line among
them; translations are optimal for p = 1 too.
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
ROUNDING = 1e-9  # relative gain of a swap that is no gain


def displacement(
    x: NDArray[np.floating], y: NDArray[np.floating], times: Sequence[float]
) -> NDArray[np.floating]:
    """Displacement interpolation (1 - t) x + t y: each cell on the straight way to its image, at constant speed.

    For an optimal map at squared cost these are the geodesics of Wasserstein space (McCann): the population at time t is as
    far as t says. At 0 it is x, at 1 it is y, to the last bit.

    Parameters
    ----------
    x, y
        (n, d) cells and their images.
    times
        Different times from 0 to 1.

    Returns
    -------
    (len(times), n, d), in the precision of the cells.

    Raises
    ------
    ValueError
        If the shapes differ, there is no time, or one is not within 0 and 1 or comes twice.
    """
    _check_shapes(x, y)
    t = np.asarray(check_times(times), dtype=np.result_type(x, y, np.float32))[:, None, None]
    return (1 - t) * x + t * y


def costs(x: ArrayLike, y: ArrayLike, *, power: int = 1) -> Floats:
    """Cost of every cell: the distance from it to its image, or its square.

    For a translation by v it is |v| of every cell; its mean is at least the Wasserstein distance of the two populations (to
    its power), with equality for an optimal map.

    Parameters
    ----------
    x, y
        (n, d) cells and their images.
    power
        1 or 2.

    Returns
    -------
    (n,), in the units of the columns to that power.

    Raises
    ------
    ValueError
        If the shapes differ, or the power is another.
    """
    one_of(power, POWERS, name="power")
    x, y = _check_shapes(x, y)
    return np.linalg.norm(y - x, axis=1) ** power


def excess(x: ArrayLike, y: ArrayLike, *, power: int = 2) -> float:
    """Mean cost of the map over that of the best assignment of the same cells to the same images, minus 1.

    Estimates E c(x, T(x)) / W - 1, with W the least cost between the population and its image: 0 exactly for a cyclically
    monotone map, of any number of cells. For a map that is not it grows with the number of cells, which find better
    partners the more there are, so compare at equal n. A random permutation of the images of an optimal map has the mean
    cost over all pairs in the numerator. As a share of the cost it is small wherever a long common shift makes up the cost;
    `swaps` does not see that shift.

    Parameters
    ----------
    x, y
        (n, d) cells and their images; the assignment takes time n³ at worst, seconds for some thousand.
    power
        1 or 2.

    Returns
    -------
    At least 0; infinite if the best assignment is free and the map is not.

    Raises
    ------
    ValueError
        If the shapes differ, or the power is another.
    """
    from scipy.optimize import linear_sum_assignment

    cost = _table(x, y, power)
    own, best = np.trace(cost), cost[linear_sum_assignment(cost)].sum()
    if own - best <= ROUNDING * own:
        return 0.0
    return float(own / best - 1) if best > 0 else float("inf")


def swaps(x: ArrayLike, y: ArrayLike, *, power: int = 2) -> float:
    r"""Share of the pairs of cells that would gain by swapping their images: cycles of two.

    Estimates :math:`P(c(x, Tx') + c(x', Tx) < c(x, Tx) + c(x', Tx'))` over independent cells, which for squared cost is
    :math:`P(\langle x - x', Tx - Tx' \rangle < 0)`. It is 0 for a cyclically monotone map and 1/2 for images that do not
    depend on the cell (a random permutation, or a model that draws from noise), whatever the two populations. Unbiased, at
    any number of cells from 2 on.

    Parameters
    ----------
    x, y
        (n, d) cells and their images.
    power
        1 or 2.

    Returns
    -------
    From 0 to 1; NaN for a single cell.

    Raises
    ------
    ValueError
        If the shapes differ, or the power is another.
    """
    cost = _table(x, y, power)
    own = np.diag(cost)
    as_is, swapped = own[:, None] + own, cost + cost.T
    n = len(own)
    gain = int((as_is - swapped > ROUNDING * as_is).sum())  # each pair twice
    return gain / (n * (n - 1)) if n > 1 else float("nan")


def check_times(times: Sequence[float]) -> list[float]:
    """Return times of an interpolation as numbers, if they are some."""
    several = [float(t) for t in np.ravel(times)]
    if not several or len(set(several)) < len(several) or not all(0 <= t <= 1 for t in several):
        msg = f"times must be different numbers within 0 (the cells) and 1 (their images), not {several}"
        raise ValueError(msg)
    return several


def _table(x: ArrayLike, y: ArrayLike, power: int) -> Floats:
    """Return (n, n) costs of every cell to every image."""
    from scipy.spatial.distance import cdist

    one_of(power, POWERS, name="power")
    return cdist(*_check_shapes(x, y), "euclidean" if power == 1 else "sqeuclidean")


def _check_shapes(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64, if every cell has its image."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or x.shape != y.shape or not len(x):
        msg = f"cells {x.shape} and their images {y.shape} must have the same shape (n, d), a row for each cell"
        raise ValueError(msg)
    return x, y
