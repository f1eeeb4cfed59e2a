"""Why a response is incoherent: the excess covariance E = Cov_p - Cov_c over the controls.

Three causes leave different marks:

- dispersion: the population is only more variable, and E is spread over all directions;
- partial penetrance: only some cells respond, and E is one direction along the mean shift;
- several programmes: cells respond in different ways, and E is one direction across the shift.
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

MATRIX = 500  # largest number of features for which a covariance matrix is formed


@dataclass(frozen=True)
class Excess:
    """Summary of one excess covariance.

    Attributes
    ----------
    along_shift
        Share of the excess variance along the mean shift, 0 to 1. Where the excess is no larger
        than the standard error of the total variance, it is the share of that error.
    top_share
        Share of the excess variance along its top direction, 0 to 1. The direction is found in one
        half of the cells and measured in the other, so that noise has no share.
    alignment
        |cosine| of the top direction with the mean shift.
    """

    along_shift: float
    top_share: float
    alignment: float


@dataclass(frozen=True)
class Spread:
    """Covariance of the controls, kept as a sample: a matrix may be too large.

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
        """Return covariance times a vector, in the precision of the sample, which is not copied."""
        return self.sample.T @ (self.sample @ vector.astype(self.sample.dtype)) / self.free

    def along(self, unit: Floats) -> float:
        """Return the variance along a unit vector."""
        on = self.sample @ unit
        return float(on @ on) / self.free

    def noise(self, n: int) -> float:
        """Return the standard error of the total variance of n cells like these."""
        return float(self.trace * np.sqrt(2 / (n * self.dimensions)))


def top_direction(cells: Floats, control: Spread) -> Floats:
    """Return the unit vector (d,) in which the covariance of `cells` most exceeds the controls'.

    `cells` is overwritten.
    """
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
    start = cells[
        np.argmax(np.einsum("ij,ij->i", cells, cells))
    ]  # does not depend on the order of the rows
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
    Shares and alignment; NaN for fewer than 8 cells or without a shift.
    """
    shift = cells.mean(axis=0)
    length = float(np.linalg.norm(shift))
    if len(cells) < 8 or length == 0:
        return Excess(np.nan, np.nan, np.nan)
    unit = shift / length
    along = float(np.var(cells @ unit, ddof=1) - control.along(unit))
    square = np.einsum("ij,ij->i", cells, cells)
    by_length = np.argsort(
        square, kind="stable"
    )  # the halves do not depend on the order of the rows
    halves = by_length[::2], by_length[1::2]
    top_variance, tops = 0.0, [top_direction(cells[half], control) for half in halves]
    for top, other in zip(tops, halves[::-1], strict=True):
        top_variance += 0.5 * float(np.var((cells @ top)[other], ddof=1) - control.along(top))
    total = float(square.sum() - len(cells) * length**2) / (len(cells) - 1) - control.trace
    total = max(
        total, along, top_variance, control.noise(len(cells))
    )  # no share of a total that is only noise
    alignment = float(np.mean([abs(top @ unit) for top in tops]))
    return Excess(max(along, 0.0) / total, max(top_variance, 0.0) / total, alignment)


def cause(summary: Excess, excess_trace: float, noise: float) -> str:
    """Name the cause of a response that is less coherent than a translation.

    Parameters
    ----------
    summary
        Its excess covariance.
    excess_trace
        Excess of its total variance over that of the controls.
    noise
        Standard error of that excess.

    Returns
    -------
    One of

    - ``"partial penetrance"``: a single direction along the shift;
    - ``"several programmes"``: a single direction across the shift;
    - ``"dispersion"``: spread over all directions;
    - ``"unclear"``: there is no excess to speak of.
    """
    if max(summary.along_shift, summary.top_share) >= 0.5:
        # one direction at angle t to the shift has the share cos^2 t along the shift
        return (
            "partial penetrance"
            if summary.along_shift >= 0.6 * summary.top_share
            else "several programmes"
        )
    return "dispersion" if excess_trace > noise else "unclear"
