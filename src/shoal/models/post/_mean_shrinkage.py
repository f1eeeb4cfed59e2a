"""Shrinkage of predicted responses: a share of the change of every mean is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints

    Values = NDArray[np.floating]

MOST = 2.0  # largest factor: a mean near 0 is not scaled up further, which would make outliers


def shrink_mean_change(
    values: Values, start: Values, population: Ints, share: float, *, nonnegative: bool
) -> Values:
    """Take back a share of the change of the mean of every population and feature.

    Signed values are shifted. Values that cannot be negative are scaled, so that zeros stay zeros.

    Parameters
    ----------
    values
        (n, d) predicted values; changed in place.
    start
        (n, d) values of the cells that the predictions start from.
    population
        (n,) code of the population of each cell.
    share
        0 takes nothing back, 1 takes the whole change back.
    nonnegative
        Whether values cannot be negative.

    Returns
    -------
    (n, d) values.
    """
    for rows in members(population):
        mean = values[rows].mean(axis=0)
        back = share * (start[rows].mean(axis=0) - mean)
        if nonnegative:
            scale = np.divide(mean + back, mean, out=np.ones_like(mean), where=mean > 0)
            values[rows] *= np.clip(scale, 0, MOST)
        else:
            values[rows] += back
    return values
