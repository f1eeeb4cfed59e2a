"""Why a response is incoherent: the excess covariance E = Cov_p - Cov_c of a perturbation over its controls.

A population that is only more variable has E spread over all directions. If only some cells respond, E is a single
direction, along the mean shift. If cells follow one of several programmes, E is a single direction across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats

CAUSES = ("none", "dispersion", "partial penetrance", "several programmes", "unclear")


@dataclass(frozen=True)
class Excess:
    """Summary of one excess covariance.

    Attributes
    ----------
    along_shift
        Share of the excess variance that lies along the mean shift, 0 to 1. Where the excess is no larger than the
        standard error of the total variance, the share is of that error.
    top_share
        Share that lies along its top direction, which is found in one half of the cells and measured in the other,
        so that noise has no share; 0 to 1.
    alignment
        |cosine| of the top direction with the mean shift.
    """

    along_shift: float
    top_share: float
    alignment: float


def top_direction(cells: Floats, control: Floats) -> Floats:
    """Return the (d,) unit vector in which the covariance of `cells` exceeds `control` most."""
    centred = cells - cells.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / max(len(cells) - 1, 1) - control)
    return vectors[:, np.argmax(values)]


def excess(cells: Floats, control: Floats) -> Excess:
    """Summarise the excess covariance of one perturbation.

    Parameters
    ----------
    cells
        (n, d) shifts of its cells.
    control
        (d, d) covariance of the controls' shifts.

    Returns
    -------
    Shares and alignment; NaN below 8 cells or without a shift.
    """
    shift = cells.mean(axis=0)
    length = float(np.linalg.norm(shift))
    if len(cells) < 8 or length == 0:
        return Excess(np.nan, np.nan, np.nan)
    unit = shift / length
    along = float(np.var(cells @ unit, ddof=1) - unit @ control @ unit)
    by_length = np.argsort(np.einsum("ij,ij->i", cells, cells), kind="stable")  # halves that no row order changes
    halves = cells[by_length[::2]], cells[by_length[1::2]]
    found, tops = 0.0, [top_direction(half, control) for half in halves]
    for top, other in zip(tops, halves[::-1], strict=True):
        found += 0.5 * float(np.var(other @ top, ddof=1) - top @ control @ top)
    total = float(np.sum(np.var(cells, axis=0, ddof=1)) - np.trace(control))
    effective = np.trace(control) ** 2 / np.sum(control**2)
    noise = float(np.trace(control)) * np.sqrt(2 / (len(cells) * effective))
    total = max(total, along, found, noise)  # a share of nothing is no share
    alignment = float(np.mean([abs(top @ unit) for top in tops]))
    return Excess(max(along, 0.0) / total, max(found, 0.0) / total, alignment)


def cause(summary: Excess, excess_trace: float, noise: float) -> str:
    """Name the cause of a response that is less coherent than a translation.

    Parameters
    ----------
    summary
        Its excess covariance.
    excess_trace
        Excess of its total variance over the controls'.
    noise
        Standard error of that excess.

    Returns
    -------
    One of `CAUSES`: a single direction along the shift, a single direction across it, or spread over all; unclear
    where there is no excess to speak of.
    """
    if max(summary.along_shift, summary.top_share) >= 0.5:
        # of one direction at angle t to the shift, the part along the shift is cos^2 t
        return "partial penetrance" if summary.along_shift >= 0.6 * summary.top_share else "several programmes"
    return "dispersion" if excess_trace > noise else "unclear"
