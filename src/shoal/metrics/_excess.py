"""Why a response is incoherent: the excess covariance E = Cov_p - Cov_c of a perturbation over its controls.

A population that is only more variable has E spread over all directions. If only some cells respond, E is a single
direction, along the mean shift. If cells follow one of several programmes, E is a single direction across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import linalg

if TYPE_CHECKING:
    from .._typing import Floats

MATRIX = 500  # features up to which a covariance matrix is formed


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


@dataclass(frozen=True)
class Spread:
    """Covariance of the controls, as a sample of their shifts: the features may be too many for a matrix.

    Attributes
    ----------
    sample
        (K, d) shifts of control cells, centred.
    free
        Degrees of freedom.
    """

    sample: Floats
    free: int

    @cached_property
    def trace(self) -> float:
        """Total variance."""
        return float(np.einsum("ij,ij->", self.sample, self.sample, dtype=np.float64)) / self.free

    @cached_property
    def dimensions(self) -> float:
        """Effective number of dimensions, (tr C)^2 / tr C^2."""
        product = self.sample @ self.sample.T
        return self.trace**2 / (float(np.vdot(product, product)) / self.free**2)

    @cached_property
    def matrix(self) -> Floats:
        """(d, d) covariance."""
        return np.asarray(self.sample.T @ self.sample, dtype=np.float64) / self.free

    def times(self, vector: Floats) -> Floats:
        """Covariance times a vector, in the precision of the sample: a wider vector would have it copied."""
        return self.sample.T @ (self.sample @ vector.astype(self.sample.dtype)) / self.free

    def along(self, unit: Floats) -> float:
        """Variance along a unit vector."""
        on = self.sample @ unit
        return float(on @ on) / self.free

    def noise(self, n: int) -> float:
        """Standard error of the total variance of n cells like these."""
        return float(self.trace * np.sqrt(2 / (n * self.dimensions)))


def top_direction(cells: Floats, control: Spread) -> Floats:
    """Return the (d,) unit vector in which the covariance of `cells`, overwritten, exceeds the controls' most."""
    cells -= cells.mean(axis=0)
    free, d = max(len(cells) - 1, 1), cells.shape[1]
    if d <= MATRIX:
        difference = cells.T @ cells / free - control.matrix
        return np.asarray(
            eigh(difference, subset_by_index=[d - 1, d - 1], check_finite=False)[1][:, 0]
        )

    def apply(v: Floats) -> Floats:
        v = v.ravel()
        return cells.T @ (cells @ v) / free - control.times(v)

    operator = linalg.LinearOperator((d, d), matvec=apply, dtype=np.float64)
    start = cells[np.argmax(np.einsum("ij,ij->i", cells, cells))]  # one that no row order changes
    return np.asarray(linalg.eigsh(operator, k=1, which="LA", v0=start, tol=1e-6)[1][:, 0])


def excess(cells: Floats, control: Spread) -> Excess:
    """Summarise the excess covariance of one perturbation.

    Parameters
    ----------
    cells
        (n, d) shifts of its cells.
    control
        Covariance of the controls' shifts.

    Returns
    -------
    Shares and alignment; NaN below 8 cells or without a shift.
    """
    shift = cells.mean(axis=0)
    length = float(np.linalg.norm(shift))
    if len(cells) < 8 or length == 0:
        return Excess(np.nan, np.nan, np.nan)
    unit = shift / length
    along = float(np.var(cells @ unit, ddof=1) - control.along(unit))
    square = np.einsum("ij,ij->i", cells, cells)
    by_length = np.argsort(square, kind="stable")  # halves that no row order changes
    halves = by_length[::2], by_length[1::2]
    found, tops = 0.0, [top_direction(cells[half], control) for half in halves]
    for top, other in zip(tops, halves[::-1], strict=True):
        found += 0.5 * float(np.var((cells @ top)[other], ddof=1) - control.along(top))
    total = float(square.sum() - len(cells) * length**2) / (len(cells) - 1) - control.trace
    total = max(total, along, found, control.noise(len(cells)))  # a share of nothing is no share
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
    ``"partial penetrance"`` (a single direction along the shift), ``"several programmes"`` (a single direction across it),
    ``"dispersion"`` (spread over all), or ``"unclear"`` where there is no excess to speak of.
    """
    if max(summary.along_shift, summary.top_share) >= 0.5:
        # of one direction at angle t to the shift, the part along the shift is cos^2 t
        return (
            "partial penetrance"
            if summary.along_shift >= 0.6 * summary.top_share
            else "several programmes"
        )
    return "dispersion" if excess_trace > noise else "unclear"
