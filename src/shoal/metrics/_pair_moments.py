"""Moments of the control cells of strata, and of pairs of them, which the null is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints, Reals
    from ._strata import ControlSample

OWN, OTHER = 3200, 1200  # control cells, over all strata, that pairs are made of
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
    few: list[Ints] = []
    vectors = [_vectors(sample, h) for h in range(n_strata)]
    for h in range(n_strata):
        own = sample.rows(h, int(np.clip(OWN // n_strata, 100, 800))) - sample.first[h]
        few.append(sample.rows(h, int(np.clip(OTHER // n_strata, 5, 800))) - sample.first[h])
        grams = [v[own] @ v[own].T for v in vectors[h][:2]]
        for gram in grams:
            np.fill_diagonal(gram, 0)
        k = len(own)
        if k > 1:
            tables[:, h, h] = np.array(_moments(*grams)) / (k * (k - 1))
            _, v, e = vectors[h]
            lists[1, h] = np.mean(1 / sample.radius[sample.rows(h)])
            lists[2:, h] = np.mean(np.square(e).sum(axis=1)), np.mean(np.square(v).sum(axis=1))
        if k > 2:
            gram = grams[0][:: -(-k // THIRD), :: -(-k // THIRD)]
            size, cube = len(gram), float(np.vdot(gram @ gram, gram))
            lists[0, h] = max(cube / (size * (size - 1) * (size - 2)), 0.0)
    if n_strata > 1:
        _between(tables, vectors, few)
    # a stratum with too few controls for pairs is taken for the mean of the others
    tables, lists = (np.where(np.isnan(x), _nanmean(x), x) for x in (tables, lists))
    return PairMoments(*tables, *lists)


def _vectors(sample: ControlSample, h: int) -> tuple[Reals, Reals, Reals]:
    """Return u, v and e of a stratum's cells."""
    rows = sample.rows(h)
    cells, inverse = sample.cells[rows], 1 / sample.radius[rows]
    k, unit = len(rows), cells * inverse[:, None]
    turned = (cells @ unit.T) * inverse
    np.fill_diagonal(turned, 0)  # A comes from the other cells
    mean = np.float32(max(float(inverse.sum()), 1e-30) / max(k, 1))
    moved = cells - turned @ unit / (mean * np.float32(max(k - 1, 1)))
    return unit - unit.sum(axis=0) / max(k, 1), moved, cells


def _moments(u: Reals, v: Reals) -> tuple[float, float, float]:
    return float(np.vdot(u, u)), float(np.vdot(u, v)), float(np.vdot(v, v))


def _between(
    tables: Floats, vectors: Sequence[tuple[Reals, Reals, Reals]], few: list[Ints]
) -> None:
    """Fill in pairs of cells of different strata."""
    size = np.array([len(rows) for rows in few])
    start = np.concatenate([[0], np.cumsum(size)[:-1]])
    u, v = (
        np.vstack([own[i][rows] for own, rows in zip(vectors, few, strict=True)]) for i in range(2)
    )
    for h, rows in enumerate(few):
        gu, gv = u @ vectors[h][0][rows].T, v @ vectors[h][1][rows].T
        for table, product in zip(tables, (gu * gu, gu * gv, gv * gv), strict=True):
            sums = np.add.reduceat(product.sum(axis=1, dtype=np.float64), start)
            others = np.arange(len(few)) != h
            table[h, others] = (sums / (size * len(rows)))[others]


def _nanmean(tables: Floats) -> Floats:
    """Return the mean of each table of what is known, 0 where nothing is."""
    known = np.isfinite(tables)
    flat = (len(tables), -1)
    total = np.where(known, tables, 0).reshape(flat).sum(axis=1)
    mean = total / np.maximum(known.reshape(flat).sum(axis=1), 1)
    return mean.reshape((-1,) + (1,) * (tables.ndim - 1))
