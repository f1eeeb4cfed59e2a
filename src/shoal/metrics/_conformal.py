r"""Split-conformal intervals of responses over conditions: arrays in, numbers out.

Conditions :math:`c = 1, \dots, C` were predicted without having been seen. Let :math:`r_{cg}` be
measured minus predicted response of gene g, :math:`\nu_{cg}` the variance of the sampling noise of
the measured one, and

.. math:: s_{cg}^2 = \tau_g^2 + \nu_{cg}, \qquad
    \tau_g^2 = \max\bigl(\operatorname{mean}_c (r_{cg}^2 - \nu_{cg}), 0\bigr).

The *score* of a condition is a quantile over genes of :math:`|r_{cg}| / s_{cg}`. If the next
condition is drawn like these C, its score is equally likely to have any rank among all C + 1. So
with Q the :math:`\lceil (C + 1)\, \alpha \rceil`-th smallest score, a share :math:`\alpha` of its
genes lies within :math:`\hat\Delta_g \pm Q s_g`, in a share of at least :math:`\alpha` of
conditions. This is *marginal*: it holds on average over conditions and not for strong ones alone.

Pooled over genes, the next condition counts as one of C + 1 that may be wrong everywhere.

Lei et al. 2018, https://doi.org/10.1080/01621459.2017.1307116.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats

GRID = np.linspace(0, 1, 201)  # quantiles over genes that are kept of every condition


def excess_variance(residual: Floats, noise: Floats) -> Floats:
    """Return (d,) by how much squared residuals exceed the noise of what was measured, or 0.

    Parameters
    ----------
    residual
        (C, d) measured minus predicted responses.
    noise
        (C, d) variances of the sampling noise of the measured ones.
    """
    found: Floats = np.maximum((residual**2 - noise).mean(axis=0), 0.0)
    return found


def quantiles(residual: Floats, scale: Floats) -> Floats:
    """Return (C, 201) the quantiles over genes of absolute residuals, in units of their scale.

    A gene whose scale is 0 never varies, and does not count.

    Parameters
    ----------
    residual, scale
        (C, d) residuals and their scales.
    """
    counts = (scale > 0).all(axis=0)
    if not counts.any():
        return np.zeros((len(residual), len(GRID)))
    found: Floats = np.quantile(np.abs(residual[:, counts]) / scale[:, counts], GRID, axis=1).T
    return found


def radius(grid: Floats, level: float, *, pooled: bool = False) -> tuple[float, bool]:
    """Return how many scales wide an interval is to each side.

    Parameters
    ----------
    grid
        (C, 201) quantiles of each condition, as `quantiles` returns them.
    level
        Share of genes, and of conditions, that are to be covered.
    pooled
        Whether the share of all genes of all conditions together is meant instead.

    Returns
    -------
    radius
        Number of scales.
    enough
        False if there are too few conditions for the level. The largest score is then taken.
    """
    if pooled:  # the next condition is one of C + 1, and may be wrong everywhere
        share = level * (len(grid) + 1) / len(grid)
        return float(np.quantile(grid, min(share, 1.0))), share <= 1
    scores = np.sort([np.interp(level, GRID, own) for own in grid])
    rank = ceil((len(scores) + 1) * level - 1e-9)
    return float(scores[min(rank, len(scores)) - 1]), rank <= len(scores)
