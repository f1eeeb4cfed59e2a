"""Random relabellings of perturbed and control cells; perturbations share the controls.

To exchange the labels of n perturbed and m control cells at random is to let k of each change
places, with k hypergeometric. The k controls that change places are the first k of a random order
of the controls. All perturbations use the same order, so that the work on the controls is done
once. The null distribution of each perturbation is exactly the permutation distribution; only the
dependence between perturbations is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix


@dataclass(frozen=True)
class Exchange:
    """B relabellings of one perturbation.

    Attributes
    ----------
    swapped
        (B,) numbers k of cells that change places.
    leaving
        (B, n) CSR indicator of the perturbed cells that become controls, k in each row.
    entering
        (B, m) CSR indicator of the controls that become perturbed cells, k in each row.
    """

    swapped: Ints
    leaving: Matrix
    entering: Matrix


@dataclass(frozen=True)
class Relabelling:
    """B relabellings of several perturbations against the same controls.

    Attributes
    ----------
    sizes
        (G,) numbers of cells of the perturbations.
    n_control
        Number m of control cells.
    swapped
        (G, B) numbers of cells that change places.
    order
        (B, max(swapped)) controls in the order in which they change places.
    streams
        One random generator per perturbation.
    """

    sizes: Ints
    n_control: int
    swapped: Ints
    order: Ints
    streams: tuple[np.random.Generator, ...]

    def of(self, g: int) -> Exchange:
        """Return the relabellings of perturbation `g`. Each call draws new ones."""
        k, n = self.swapped[g], int(self.sizes[g])
        order = self.streams[g].permuted(np.tile(np.arange(n), (len(k), 1)), axis=1)
        return Exchange(k, _indicator(order, k, n), _indicator(self.order, k, self.n_control))


def draw(sizes: Ints, n_control: int, n_perms: int, rng: np.random.Generator) -> Relabelling:
    """Draw `n_perms` relabellings for perturbations of these sizes."""
    shared, *streams = rng.spawn(len(sizes) + 1)
    swapped = np.array(
        [
            stream.hypergeometric(n_control, n, n, size=n_perms)
            for n, stream in zip(sizes, streams, strict=True)
        ],
        dtype=np.int64,
    ).reshape(len(sizes), n_perms)
    longest = int(swapped.max(initial=0))
    order = np.empty((n_perms, longest), dtype=np.int64)
    for row in order:
        row[:] = shared.permutation(n_control)[:longest]
    return Relabelling(np.asarray(sizes), n_control, swapped, order, tuple(streams))


def row_dots(indicator: Matrix, dense: Floats) -> Floats:
    """Return, for each row of a CSR matrix of ones, the sum of `dense` at its ones."""
    rows = np.repeat(np.arange(indicator.shape[0]), np.diff(indicator.indptr))
    picked = dense[rows, indicator.indices]
    return np.bincount(rows, weights=picked, minlength=indicator.shape[0]).astype(
        np.float64, copy=False
    )


def n_reached(null: Floats, observed: Floats) -> Ints:
    """Count relabellings whose statistic is at least the observed one; ties count.

    Parameters
    ----------
    null
        (G, B) statistics of relabelled cells.
    observed
        (G,) statistics of the cells as they are.
    """
    slack = 1e-9 * np.abs(null).max(axis=1, initial=0.0)
    return np.asarray((null >= (observed - slack)[:, None]).sum(axis=1))


def permutation_pvalue(reached: Ints, n_perms: int) -> Floats:
    """Return (b + 1) / (B + 1). The real labels count as one relabelling, so p is never 0."""
    return np.asarray((reached + 1.0) / (n_perms + 1.0), dtype=np.float64)


def _indicator(order: Ints, k: Ints, width: int) -> Matrix:
    """Return a CSR indicator of the first k[b] entries of row b of `order`."""
    used = order[:, : int(k.max(initial=0))]
    keep = np.arange(used.shape[1]) < k[:, None]
    indptr = np.concatenate([[0], np.cumsum(k)])
    return sparse.csr_matrix((np.ones(int(k.sum())), used[keep], indptr), shape=(len(k), width))
