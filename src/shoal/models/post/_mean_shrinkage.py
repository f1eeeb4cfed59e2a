"""Anchor: how far a network may move the mean of a population that was perturbed to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints

    Values = NDArray[np.floating]

MOST = 2.0  # a mean near 0 is not scaled up further, which would make a few cells very large


def anchored(
    values: Values, start: Values, population: Ints, share: float, *, nonnegative: bool
) -> Values:
    """Take back a share of the change that the mean of every population and feature has undergone.

    Signed values are shifted. Values that cannot be negative are scaled, so that zeros stay zeros.

    Parameters
    ----------
    values
        (n, d) what the cells became; changed in place.
    start
        (n, d) what they were.
    population
        (n,) codes of the populations that the cells belong to.
    share
        0 takes nothing back, 1 all.
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
