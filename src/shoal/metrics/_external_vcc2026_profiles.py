"""Populations of counts as cell-eval2 looks at them: pseudobulk, its noise, mean CPM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ._kernels import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scipy.sparse import csr_matrix

    from .._typing import Floats, Ints

DEPTH = 5e4  # counts of a pseudobulk
MILLION = 1e6
BLOCK = 2**19  # values that are tested at a time
TERMS = 20  # of the series of log(1 + z), for z up to NEAR
NEAR = 0.2
TINY = 0.02  # z up to which a few terms of the series do


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of cells.

    Attributes
    ----------
    values
        (n, G) CSR matrix of counts, whole or fractional, none of them negative.
    """

    values: csr_matrix

    @cached_property
    def totals(self) -> Floats:
        """(n,) counts of each cell."""
        return np.asarray(self.values @ np.ones(self.values.shape[1]), dtype=np.float64)

    @cached_property
    def bounds(self) -> Ints:
        """Where blocks of genes begin and end that are tested at a time."""
        n_genes = self.values.shape[1]
        n_blocks = int(np.clip(np.ceil(self.values.nnz / BLOCK), 1, max(n_genes, 1)))
        return np.linspace(0, n_genes, n_blocks + 1).astype(np.int64)

    @cached_property
    def blocks(self) -> list[csr_matrix]:
        """What `logged_blocks` yields within `bounds`, kept."""
        return list(self.logged_blocks(self.bounds))

    def logged_blocks(self, bounds: Ints) -> Iterator[csr_matrix]:
        """Yield log(1 + counts per million), float64, of some genes after the other.

        They are computed by the very operations of cell-eval2: two cells are tied in a gene only if
        their values are equal to the last bit.

        Parameters
        ----------
        bounds
            (n_blocks + 1,) where blocks of genes begin and end.
        """
        factor = self.totals / MILLION
        factor = np.where(factor == 0, 1.0, factor)
        by_gene = self.values.tocsc()
        for start, end in pairwise(bounds.tolist()):
            block = by_gene[:, start:end].tocsr().astype(np.float64)
            block.data /= np.repeat(factor, np.diff(block.indptr))
            np.log1p(block.data, out=block.data)
            yield block


@dataclass(frozen=True, eq=False)
class Profiles:
    """What is known of P populations.

    Attributes
    ----------
    bulk
        (P, G) log(1 + x), where x is the sum of the counts, scaled to 50,000.
    noise
        (P,) sampling variance of `bulk`, summed over genes: the delete-one jackknife. 0 for fewer
        than 2 cells.
    cpm
        (P, G) mean counts per million.
    """

    bulk: Floats
    noise: Floats
    cpm: Floats


def profiles_of(counts: Counts, members: Sequence[Ints]) -> Profiles:
    """Return pseudobulk, noise and mean CPM of populations.

    The noise of a population of n cells is

        C = (n - 1) / n * sum over genes g and cells i of (v_ig - mean of v_g)**2

    where v_ig is the pseudobulk without cell i.

    Parameters
    ----------
    counts
        Cells.
    members
        Rows of each of the P populations; each has some.
    """
    x, n_groups = counts.values, len(members)
    rows = np.concatenate(members).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum([len(own) for own in members])]).astype(np.int64)
    sums, cpm = (np.zeros((n_groups, x.shape[1])) for _ in range(2))
    noise = np.zeros(n_groups)
    cells = (x.data, x.indices, x.indptr, counts.totals)
    _moments(*cells, rows, starts, _SQUARES, sums, cpm, noise)
    totals = sums.sum(axis=1)
    scale = np.divide(DEPTH, totals, out=np.zeros(n_groups), where=totals > 0)
    return Profiles(np.log1p(sums * scale[:, None]), noise, cpm)


def _loop(  # type: ignore[no-untyped-def]
    data, indices, indptr, totals, rows, starts, squares, sums, cpm, noise
):
    """Fill `sums`, `cpm` and `noise`.

    The deviation of v_ig from the pseudobulk of all n cells is log(1 + z). Without counts of the
    gene in cell i, z = a_g w_i, where a = x / (1 + x), x is the scaled sum and w_i the total of
    the cell over that of all others. So the sums over cells are power series in a_g whose
    coefficients are sums of powers of w. Only the entries that are not 0 are visited one by one.
    """
    n_genes = sums.shape[1]
    s1, s2 = np.empty(n_genes), np.empty(n_genes)
    a, shrink, own = np.empty(n_genes), np.empty(n_genes), np.zeros(n_genes)
    powers = np.empty(TERMS + 1)
    for p in range(len(starts) - 1):
        first, last = starts[p], starts[p + 1]
        n = last - first
        for at in range(first, last):
            i = rows[at]
            factor = totals[i] / MILLION
            if factor == 0:
                factor = 1.0
            for j in range(indptr[i], indptr[i + 1]):
                sums[p, indices[j]] += data[j]
                cpm[p, indices[j]] += data[j] / factor * (1.0 / n)
        total = 0.0
        for g in range(n_genes):
            total += sums[p, g]
        if n < 2 or total <= 0:
            continue
        for g in range(n_genes):
            x = DEPTH * sums[p, g] / total
            shrink[g] = 1.0 / (1.0 + x)
            a[g] = x * shrink[g]
            s1[g], s2[g] = 0.0, 0.0
        powers[:] = 0.0
        largest = 0.0
        for at in range(first, last):
            rest = total - totals[rows[at]]
            w = totals[rows[at]] / rest if rest > 0 else np.inf
            largest = max(largest, w)
            power = 1.0
            for k in range(TERMS + 1):
                powers[k] += power
                power *= w
        if largest <= NEAR:
            for g in range(n_genes):
                power = 1.0
                for k in range(1, TERMS + 1):
                    power *= a[g]
                    term = power * powers[k]
                    s1[g] += term / k if k % 2 else -term / k
                    s2[g] += squares[k] * term
            for at in range(first, last):
                i = rows[at]
                rest = total - totals[i]
                w, per_count = totals[i] / rest, DEPTH / rest
                for j in range(indptr[i], indptr[i + 1]):
                    g = indices[j]
                    for after in range(2):  # the value without counts goes, that with them comes
                        z = a[g] * w - after * data[j] * per_count * shrink[g]
                        if abs(z) < TINY:
                            v = z * (1 / 5 - z * (1 / 6 - z / 7))
                            v = z * (1 - z * (1 / 2 - z * (1 / 3 - z * (1 / 4 - v))))
                        else:
                            v = np.log1p(z)
                        s1[g] += v if after else -v
                        s2[g] += v * v if after else -v * v
        else:  # few cells, or one that outweighs the others: gene by gene
            for at in range(first, last):
                i = rows[at]
                rest = total - totals[i]
                for j in range(indptr[i], indptr[i + 1]):
                    own[indices[j]] = data[j]
                for g in range(n_genes):
                    if rest > 0:
                        v = np.log1p(DEPTH * (sums[p, g] - own[g]) / rest) + np.log(shrink[g])
                    else:  # the cell holds all counts, and nothing is left
                        v = np.log(shrink[g])
                    s1[g] += v
                    s2[g] += v * v
                for j in range(indptr[i], indptr[i + 1]):
                    own[indices[j]] = 0.0
        spread = 0.0
        for g in range(n_genes):
            spread += s2[g] - s1[g] * s1[g] / n
        noise[p] = max((n - 1) / n * spread, 0.0)


def _squares_of_logs() -> Floats:
    """Return the coefficients c_k, k from 0, of log(1 + z)**2 as a power series."""
    k = np.arange(1, TERMS + 1)
    harmonic = np.concatenate([[0.0, 0.0], np.cumsum(1 / k)])[: TERMS + 1]  # of k - 1
    return np.concatenate([[0.0], 2 * (-1.0) ** k * harmonic[1:] / k])


_moments, _SQUARES = compiled(_loop), _squares_of_logs()
