"""Wilcoxon's rank-sum test of populations against controls: a gene is sorted once for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ._cells import parts_of, sizes_of
from ._ranks import columns, rank_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints, Matrix
    from ._cells import Part


@dataclass(frozen=True)
class RankSum:
    """Standardised rank sums.

    Attributes
    ----------
    z
        (P, G) standardised rank sums. Above 0 where cells of the population are higher than the
        controls.
    pvalue
        (P, G) two-sided p-values of the normal approximation, not adjusted.
    """

    z: Floats
    pvalue: Floats


@dataclass(frozen=True)
class RankSums:
    """Rank sums before they are standardised.

    Attributes
    ----------
    u
        (P, G) numbers of pairs in which the cell of the population is higher; a tie counts as half.
    ties
        (P, G) sums of t³ - t over sets of t tied values.
    n
        (P,) cells of the population.
    m
        (P,) controls that it is compared with.
    """

    u: Floats
    ties: Floats
    n: Ints
    m: Ints

    def standardised(self, *, continuity: bool = False) -> RankSum:
        r"""Return z, corrected for ties, and p-values.

        .. math::
            z = \frac{U - nm/2}{\sqrt{\frac{nm}{12}
                \left(N + 1 - \frac{\sum_t t^3 - t}{N(N - 1)}\right)}}, \qquad N = n + m,

        where the sum is over sets of t tied values (Mann and Whitney 1947). The normal
        approximation is poor for fewer than about 10 cells. A gene in which all values are equal
        has z 0 and p 1. A population without cells, or without controls, has NaN.

        Parameters
        ----------
        continuity
            Whether to move U towards its mean by 1/2, as :func:`scipy.stats.mannwhitneyu` does.
        """
        n, m, u = self.n, self.m, self.u
        defined = (n > 0) & (m > 0)
        pairs = np.where(defined, n * m, 1).astype(np.float64)[:, None]
        total = np.where(defined, n + m, 2).astype(np.float64)[:, None]
        variance = pairs / 12 * (total + 1 - self.ties / (total * (total - 1)))
        shift = u - pairs / 2
        if continuity:
            shift = np.sign(shift) * np.maximum(np.abs(shift) - 0.5, 0.0)
        z = np.zeros_like(u)
        np.divide(
            shift, np.sqrt(np.maximum(variance, 0.0)), out=z, where=(shift != 0) & (variance > 0)
        )
        z[~defined] = np.nan
        return RankSum(z, 2 * special.ndtr(-np.abs(z)))


def sums_against(cells: Sequence[Matrix], controls: Sequence[Matrix], group: Ints) -> RankSums:
    """Return the rank sums of P populations against the controls of their context.

    A gene is sorted once, and all populations read their ranks from that order. Zeros are one set
    of ties and are never sorted, so the time grows with the number of values that are not 0. No
    matrix is copied as a whole.

    Parameters
    ----------
    cells
        P populations (n_p, G), dense or CSR, such as `Cells`.
    controls
        Controls (m, G) of each context.
    group
        (P,) context of each population, an index into `controls`.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    n, sizes = len(cells), np.concatenate([sizes_of(cells), sizes_of(controls)])
    code = np.repeat(np.minimum(np.arange(len(sizes)), n), sizes)
    where = np.repeat(np.concatenate([group, np.arange(len(controls))]), sizes)
    parts = [*parts_of(cells), *parts_of(controls)]
    if len(parts) == 2 and parts[0][0] is parts[1][0]:  # read one common matrix only once
        parts = [(parts[0][0], np.concatenate([parts[0][1], parts[1][1]]))]
    return _sums_of(parts, code, where, n)


def _sums_of(parts: Sequence[Part], code: Ints, where: Ints, n_groups: int) -> RankSums:
    """Return the statistics, computed context by context.

    Codes and contexts are those of the rows of all parts, one after another. Controls have the code
    `n_groups`.
    """
    n_genes = parts[0][0].shape[1]
    u, ties = np.full((n_groups, n_genes), np.nan), np.zeros((n_groups, n_genes))
    n, m = np.zeros(n_groups, dtype=np.int64), np.zeros(n_groups, dtype=np.int64)
    ends = np.cumsum([len(rows) for _, rows in parts])
    for level in np.unique(where[code < n_groups]):
        at = np.flatnonzero(where == level)
        present = np.setdiff1d(code[at], [n_groups])
        present_code = np.searchsorted(
            present, code[at]
        )  # the controls have the highest code and come last
        sizes = np.bincount(present_code, minlength=len(present) + 1)
        n[present] = sizes[:-1]
        m[present] = sizes[-1]
        cuts = np.split(at, np.searchsorted(at, ends[:-1]))
        used = [
            (x, rows[cut - end + len(rows)])
            for (x, rows), cut, end in zip(parts, cuts, ends, strict=True)
            if len(cut)
        ]
        for block in columns(used):
            u[present, block.genes], ties[present, block.genes] = rank_sums(
                block, present_code, sizes
            )
    return RankSums(u, ties, n, m)
