"""Moments of the control cells of strata, and of pairs of them, which the null is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Reals
    from ._strata import ControlSample

OWN, OTHER = 3200, 800  # control cells, over all strata, that pairs are made of
PIECE = 100  # rows of a table of pairs at a time
THIRD = 300  # cells of a stratum that triples are made of


@dataclass(frozen=True)
class PairMoments:
    """Moments of the control cells of strata, and of pairs of cells of two strata.

    e is the shift of a cell and u its centred direction. A small shift m of all cells of a stratum
    turns their mean direction by A m, with A = E (1 - u u') / |e|. A is nearly a multiple of the
    identity, c = E 1/|e|, and v = A e / c.

    Attributes
    ----------
    unit
        (H, H) means of (u.u')^2: tr C_h C_k, with C_h the covariance of u.
    mixed, moved
        (H, H) means of (u.u')(v.v') and of (v.v')^2.
    third
        (H,) tr C_h^3.
    closeness
        (H,) means of 1 / |e|.
    trace, move
        (H,) means of |e|^2 and |v|^2.
    """

    unit: Floats
    mixed: Floats
    moved: Floats
    third: Floats
    closeness: Floats
    trace: Floats
    move: Floats


def pair_moments(sample: ControlSample) -> PairMoments:
    """Return moments of the controls of strata, from a bounded number of cells."""
    n_strata = sample.n_strata
    tables = np.full((3, n_strata, n_strata), np.nan)
    lists = np.full((4, n_strata), np.nan)  # third, closeness, trace, move
    few: list[tuple[Reals, Reals]] = []
    for h in range(n_strata):
        rows = sample.rows(h)
        u, v = _vectors(sample, h)
        own = sample.rows(h, int(np.clip(OWN // n_strata, 100, 800))) - sample.first[h]
        part = sample.rows(h, int(np.clip(OTHER // n_strata, 5, 800))) - sample.first[h]
        few.append((u[part], v[part]))
        k = len(own)
        if k > 1:
            whole = u if k == len(u) else u[own], v if k == len(v) else v[own]
            itself = [np.einsum("ij,ij->i", *pair) for pair in ((whole[0],) * 2, (whole[1],) * 2)]
            on = np.array([[a @ b for b in itself] for a in itself], dtype=np.float64)
            sums = _rows_of_pairs(whole, whole).sum(axis=1) - on[[0, 0, 1], [0, 1, 1]]
            tables[:, h, h] = sums / (k * (k - 1))
            cells = sample.cells[rows[0] : rows[-1] + 1]
            lists[1, h] = np.mean(1 / sample.radius[rows])
            lists[2:, h] = [float(np.einsum("ij,ij->", x, x)) / len(rows) for x in (cells, v)]
        if k > 2:
            thin = u[own[:: -(-k // THIRD)]]
            gram, n = thin @ thin.T, len(thin)
            np.fill_diagonal(gram, 0)
            cube = float(np.vdot(gram @ gram, gram))
            lists[0, h] = max(cube / (n * (n - 1) * (n - 2)), 0.0)
    if n_strata > 1:
        size = np.array([len(u) for u, _ in few])
        every = np.vstack([u for u, _ in few]), np.vstack([v for _, v in few])
        few.clear()
        _between(tables, every, size)
    # a stratum with too few controls for pairs is taken for the mean of the others
    tables, lists = (np.where(np.isnan(x), _nanmean(x), x) for x in (tables, lists))
    return PairMoments(*tables, *lists)


def _vectors(sample: ControlSample, h: int) -> tuple[Reals, Reals]:
    """Return u and v of a stratum's cells."""
    rows = sample.rows(h)
    cells, inverse = sample.cells[rows], 1 / sample.radius[rows]
    k, unit = len(rows), cells * inverse[:, None]
    mean = np.float32(max(float(inverse.sum()), 1e-30) / max(k, 1) * max(k - 1, 1))
    moved = cells.copy()
    for i in range(0, k, PIECE):
        turned = cells[i : i + PIECE] @ unit.T
        turned *= inverse
        at = np.arange(len(turned))
        turned[at, i + at] = 0  # A comes from the other cells
        moved[i : i + PIECE] -= turned @ unit / mean
    unit -= unit.sum(axis=0) / max(k, 1)
    return unit, moved


def _rows_of_pairs(left: tuple[Reals, Reals], right: tuple[Reals, Reals]) -> Floats:
    """Return (3, n) sums over right cells of (u.u')^2, (u.u')(v.v') and (v.v')^2."""
    sums = np.empty((3, len(left[0])))
    for i in range(0, len(left[0]), PIECE):
        near = slice(i, i + PIECE)
        gu, gv = (a[near] @ b.T for a, b in zip(left, right, strict=True))
        for total, a, b in zip(sums, (gu, gu, gv), (gu, gv, gv), strict=True):
            total[near] = np.einsum("ij,ij->i", a, b)
    return sums


def _between(tables: Floats, every: tuple[Reals, Reals], size: Ints) -> None:
    """Fill in pairs of cells of different strata, of which `every` holds the u and v in turn."""
    first = np.concatenate([[0], np.cumsum(size)])
    for h in range(len(size)):
        own = every[0][first[h] : first[h + 1]], every[1][first[h] : first[h + 1]]
        sums = np.add.reduceat(_rows_of_pairs(every, own), first[:-1], axis=1)
        others = np.arange(len(size)) != h
        tables[:, h, others] = (sums / (size * max(size[h], 1)))[:, others]


def _nanmean(tables: Floats) -> Floats:
    """Return the mean of each table of what is known, 0 where nothing is."""
    known = np.isfinite(tables)
    flat = (len(tables), -1)
    total = np.where(known, tables, 0).reshape(flat).sum(axis=1)
    mean = total / np.maximum(known.reshape(flat).sum(axis=1), 1)
    return mean.reshape((-1,) + (1,) * (tables.ndim - 1))
