r"""Maximum mean discrepancy with Gaussian kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._threads import one_thread
from ._arguments import arrays, require_finite
from ._cells import densify
from ._distance import check_pair
from ._pairs import BLOCK_BYTES, centre_of, gaussian, squares_of
from ._reference import PairReference
from ._texts import documented

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints, Matrix


@arrays
@one_thread()
@documented
def mmd(
    X: Floats,
    Y: Floats,
    *,
    bandwidth: float | Sequence[float] | None = None,
    biased: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> float:
    r"""Squared maximum mean discrepancy between two populations, with Gaussian kernels.

    .. math:: E k(x, x') + E k(y, y') - 2\,E k(x, y), \qquad k(x, y) = \exp(-|x - y|^2 / 2 w^2)

    Parameters
    ----------
    X
        {cells_of_one}
    Y
        (m, d) cells of the other population, the reference.
    bandwidth
        Width w of the kernel in the units of the columns, or several widths, whose kernels are
        averaged. By default the median distance between the rows of `Y`
        (:func:`median_bandwidth`). Give one width to all predictions that are compared.
    biased
        Whether to count each cell with itself (V-statistic).
    block_bytes
        {block_bytes}

    Returns
    -------
    Squared discrepancy, at most 2. 0 on average between samples of one population.

    Raises
    ------
    ValueError
        As for :func:`shoal.metrics.edistance`, or if a width is not above 0.

    References
    ----------
    gretton2012kernel

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> rng = np.random.default_rng(0)
    >>> value = sh.metrics.mmd(
    ...     rng.normal(1, 1, (50, 5)), rng.normal(0, 1, (80, 5)), bandwidth=[1.0, 2.0, 4.0]
    ... )
    """
    x, y = check_pair(X, Y, biased=biased)
    link = gaussian(as_widths(median_bandwidth(y) if bandwidth is None else bandwidth))
    return PairReference(y, link, at_zero=-1.0, biased=biased, block_bytes=block_bytes).compare(x)[
        0
    ]


@arrays
@one_thread()
def median_bandwidth(values: Matrix, *, most: int = 1000) -> float:
    """Median Euclidean distance between different cells: the usual width for :func:`mmd`.

    Take it from real cells, once, and give it to all predictions that are compared.

    Parameters
    ----------
    values
        (n, d) cells; a dense array or a CSR matrix.
    most
        Largest number of cells that are compared. Of more cells, this many are taken, evenly spaced
        in order of their distance from the mean. The choice needs no seed and does not depend on
        the order of the rows.

    Returns
    -------
    Width, in the units of the columns.

    Raises
    ------
    ValueError
        If the median is 0 (half of all pairs are equal), or there are fewer than 2 cells, or `most`
        is below 2.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> width = sh.metrics.median_bandwidth(np.random.default_rng(0).normal(size=(200, 5)))
    """
    from scipy.spatial.distance import pdist

    if values.ndim != 2:
        msg = f"values must be a table of cells, (n, d), not of shape {values.shape}"
        raise ValueError(msg)
    require_finite({"values": values})
    if most < 2:
        msg = f"most={most} cells have no distance between them; take at least 2"
        raise ValueError(msg)
    n = values.shape[0]
    if n > most:
        values = values[_by_length(values)[((np.arange(most) + 0.5) * n / most).astype(np.int64)]]
    width = float(np.median(pdist(densify(values).astype(np.float64)))) if n > 1 else 0.0
    if not width > 0:
        msg = (
            f"the median distance between the {n} rows is 0, which is no kernel width; "
            "pass bandwidth="
        )
        raise ValueError(msg)
    return width


def _by_length(values: Matrix) -> Ints:
    """Return the rows in order of their distance from the mean, the same in any order of rows.

    Rows at one distance, up to rounding, are ordered by a fixed combination of their columns.
    """
    exact = values.astype(np.float64)
    length = squares_of(exact) - 2 * np.asarray(exact @ centre_of(exact)).ravel()
    scale = float(np.abs(length).max()) or 1.0
    mixed = np.asarray(exact @ np.cos(np.arange(exact.shape[1]))).ravel()
    order: Ints = np.lexsort((mixed, np.round(length / scale, 9)))
    return order


def as_widths(bandwidth: float | Sequence[float]) -> list[float]:
    """Return one or several widths as a list.

    Raises
    ------
    ValueError
        If a width is not a finite number above 0.
    """
    given = np.atleast_1d(bandwidth)
    widths = [float(w) for w in given] if given.dtype.kind in "fiu" and given.ndim == 1 else []
    # their squares are what is used
    if not widths or not all(w > 0 and 0 < w * w < np.inf for w in widths):
        msg = (
            f"bandwidth={bandwidth!r} must be one or several finite numbers above 0, in the units "
            "of the columns"
        )
        raise ValueError(msg)
    return widths
