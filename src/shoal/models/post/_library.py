"""Library sizes: every moved cell gets the total that training cells were normalised to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Bools

    Values = NDArray[np.floating]


def renew_total(values: Values, moved: Bools, total: float) -> Values:
    """Scale the linear values of every moved cell so that they have the wanted total.

    The linear value of a log-normalised value x is ``expm1(x)``. Zeros stay zeros. A cell without
    counts stays as it is.

    Parameters
    ----------
    values
        (n, d) log-normalised values; changed in place.
    moved
        (n,) which cells were moved.
    total
        The total of a cell.

    Returns
    -------
    (n, d) values.
    """
    linear = np.expm1(values[moved], dtype=np.float64)
    now = linear.sum(axis=1, keepdims=True)
    linear *= np.divide(total, now, out=np.ones_like(now), where=now > 0)
    values[moved] = np.log1p(linear)
    return values
