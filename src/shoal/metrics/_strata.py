"""What perturbations and controls are made of, where a screen has several strata.

Strata differ in the spread of their cells. The null distribution of a perturbation is therefore
made of the strata that its cells are in, in the proportions in which they are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._typing import Floats, Ints

GROUPS = 4096  # perturbations at a time


@dataclass(frozen=True)
class Composition:
    """Cells of each perturbation in each stratum: one row for each combination that occurs.

    Attributes
    ----------
    group, stratum
        (Q,) perturbation and stratum of each combination, sorted.
    n
        (Q,) cells.
    share
        (Q,) share of the perturbation's cells that is in the stratum; adds up to 1.
    alpha
        (Q,) variance factor of the controls' mean: share^2 / m with m controls in the stratum.
    n_groups, n_strata
        Numbers of perturbations and of strata.
    """

    group: Ints
    stratum: Ints
    n: Ints
    share: Floats
    alpha: Floats
    n_groups: int
    n_strata: int

    @cached_property
    def n_parts(self) -> Ints:
        """(G,) strata that each perturbation has cells in."""
        return np.bincount(self.group, minlength=self.n_groups)

    @cached_property
    def weight(self) -> Floats:
        """(Q,) noise of the difference of means that is due to each stratum: share / n + alpha."""
        n = np.bincount(self.group, weights=self.n, minlength=self.n_groups)
        return self.share / n[self.group] + self.alpha

    def total(self, values: Floats) -> Floats:
        """Return (G,) sums of values (Q,) of the combinations."""
        return np.bincount(self.group, weights=values, minlength=self.n_groups).astype(np.float64)

    def table(self, values: Floats) -> sparse.csr_matrix:
        """Return (G, H) sparse table of values of the combinations."""
        shape = (self.n_groups, self.n_strata)
        return sparse.csr_matrix((values, (self.group, self.stratum)), shape=shape)

    def mean(self, of_stratum: Floats) -> Floats:
        """Return (G,) means over the perturbation's cells of a value (H,) of their strata."""
        mean = self.total(self.share * of_stratum[self.stratum])
        return np.where(self.n_parts > 0, mean, np.nan)

    def product(self, left: Floats, between: Floats, right: Floats) -> Floats:
        """Return (G,) sums over strata h, k of left_h between_hk right_k.

        Parameters
        ----------
        left, right
            (Q,) values of the combinations.
        between
            (H, H) values of pairs of strata.
        """
        a, b, total = self.table(left), self.table(right), np.zeros(self.n_groups)
        for start in range(0, self.n_groups, GROUPS):
            rows = slice(start, start + GROUPS)
            total[rows] = np.asarray(b[rows].multiply(a[rows] @ between).sum(axis=1)).ravel()
        return total


@dataclass(frozen=True)
class ControlSample:
    """Control cells that are kept whole, for statistics that need single cells.

    Attributes
    ----------
    cells
        (K, d) shifts, stratum by stratum, in order of length within each; float32. They are as
        long as those of other cells of the same population: a control cell lies closer to a
        centroid that is fitted to itself.
    first
        (H + 1,) position of the first cell of each stratum.
    stretch
        (H,) what the shifts were multiplied by: sqrt((m + q) / (m - q)) for m controls and q
        covariates.
    n
        (H,) controls of each stratum, in the sample or not.
    """

    cells: NDArray[np.float32]
    first: Ints
    stretch: Floats
    n: Ints

    @property
    def n_strata(self) -> int:
        """Number of strata."""
        return len(self.first) - 1

    @cached_property
    def radius(self) -> NDArray[np.float32]:
        """(K,) lengths. A cell at its centroid has a ten-thousandth of the typical length."""
        square = np.einsum("ij,ij->i", self.cells, self.cells)
        typical = float(np.sqrt(square.mean())) if len(square) else 0.0
        return np.maximum(np.sqrt(square), np.float32(1e-4 * typical if typical > 0 else 1.0))

    def rows(self, stratum: int, most: int | None = None) -> Ints:
        """Return positions of at most `most` cells of a stratum, evenly spaced by length."""
        inside = np.arange(self.first[stratum], self.first[stratum + 1])
        if most is None or len(inside) <= most:
            return inside
        return inside[((np.arange(most) + 0.5) * len(inside) / most).astype(np.int64)]
