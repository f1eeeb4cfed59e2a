r"""What a contender loses by being worse than unchanged controls, on one metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from .._typing import Floats

HARM = 1.5  # weight of each harmful metric, in families that can tell fully
SHARP = 6  # how sharply a difference that is not significant stops to be harm
LEVEL = 0.95  # of the interval by which a contender counts as worse than the control copy


def share_lost(more: Floats, *, scale: Floats, margin: Floats) -> Floats:
    r"""Return the part of a loss that is more than need be.

    .. math:: h = \frac{\Delta}{\Delta + |L_0|} \cdot \frac{\Delta^6}{\Delta^6 + \delta^6},
        \qquad \Delta > 0

    It is hardly anything where :math:`\Delta` is not significant.

    Parameters
    ----------
    more
        Losses beyond that of whoever does no harm, :math:`\Delta`, of any shape.
    scale
        What they are compared with, :math:`|L_0|`.
    margin
        From :math:`\Delta` to the lower end of its interval, :math:`\delta`.

    Returns
    -------
    Shares, 0 to 1, of the same shape; 0 where a loss is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._harm import share_lost
    >>> share_lost(np.array([-1.0, 0.0, 1.0, 3.0]), scale=np.ones(4), margin=np.zeros(4)).tolist()
    [0.0, 0.0, 0.5, 0.75]
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        part = more / (more + np.abs(scale)) / (1 + (margin / more) ** SHARP)
    return np.where(more > 0, part, 0.0)


def margin_of_few(each: Floats, draws: Floats) -> Floats:
    """Return the half width of the interval of a mean over a few perturbations and draws.

    It is that of Student's t, with the degrees of freedom of the perturbations. A bootstrap of two
    or three perturbations is too narrow, because it never leaves what was measured.

    Parameters
    ----------
    each
        (n, ...) values of the perturbations.
    draws
        (D, ...) values of the draws.

    Returns
    -------
    Half widths, infinite for fewer than two perturbations.
    """
    n = len(each)
    if n < 2:
        return np.full(each.shape[1:], np.inf)
    variance = each.var(axis=0, ddof=1) / n
    if len(draws) > 1:
        variance = variance + draws.var(axis=0, ddof=1) / len(draws)
    return np.asarray(np.sqrt(variance) * special.stdtrit(n - 1, (1 + LEVEL) / 2))
