"""What the training cells hold of every gene, and in all: sums of one walk through the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._scale import LOG_MAX, Scale, look_at, scale_of
from ._walk import walk

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints, Matrix
    from ._matrix import Rows
    from ._walk import Totals, Values


@dataclass(frozen=True, eq=False)
class TrainingValues:
    """Sums over the training cells.

    Attributes
    ----------
    n
        Training cells.
    sums
        (n_features,) sums of their values.
    on
        (n_features,) training cells with a value above 0.
    lowest
        Smallest value of a training cell; 0 where none is below 0.
    totals
        Smallest and largest total of a training cell, the sum of ``expm1`` of its values. Cells
        whose values are all 0 are left aside. Both are NaN without any other cell, and where values
        are no logarithms.
    """

    n: int
    sums: Floats
    on: Ints
    lowest: float
    totals: tuple[float, float]


def read_values(rows: Rows, train: Bools) -> tuple[Scale, TrainingValues]:
    """Read a matrix once: the scale of all cells, and the sums of the (n_obs,) training cells."""

    def visit(where: slice, block: Matrix, totals: Totals) -> Values:
        return {**look_at(where, block, totals), **add_values(block, train[where], totals)}

    totals, values = walk(rows, visit, partial(no_values, rows.cell_shape))
    return scale_of(values), values_of(totals, values)


def no_values(cell_shape: tuple[int, ...]) -> Totals:
    """Return the sums of no cell. Images have none."""
    d = cell_shape[0] if len(cell_shape) == 1 else 0
    return {
        "n_train": np.zeros(1, dtype=np.int64),
        "train_sums": np.zeros(d),
        "train_on": np.zeros(d, dtype=np.int64),
    }


def add_values(block: Matrix, train: Bools, totals: Totals) -> Values:
    """Add the training cells of a block to the sums, and return the extremes of the block."""
    totals["n_train"] += train.sum()
    low, least, most = 0.0, np.inf, -np.inf
    if train.any() and len(block.shape) == 2:
        own = block if train.all() else block[train]
        is_sparse = bool(sparse.issparse(own))
        if is_sparse:  # scipy would add single precision up in single precision
            d, above = own.shape[1], own.data > 0
            totals["train_sums"] += np.bincount(own.indices, weights=own.data, minlength=d)
            totals["train_on"] += np.bincount(own.indices[above], minlength=d)
        else:
            totals["train_sums"] += own.sum(axis=0, dtype=np.float64)
            totals["train_on"] += (own > 0).sum(axis=0)
        stored = own.data if is_sparse else own
        low = min(0.0, float(stored.min(initial=0)))
        if low >= 0 and stored.max(initial=0) < LOG_MAX:
            linear = own.astype(np.float64)  # the total of a cell is the same in any precision
            linear = linear.expm1() if is_sparse else np.expm1(linear, out=linear)
            total = np.asarray(linear.sum(axis=1)).ravel()
            total = total[total > 0]
            least, most = total.min(initial=np.inf), total.max(initial=-np.inf)
    else:
        low = min(0.0, float(block[train].min())) if train.any() else 0.0
    return {
        "train_lowest": np.array([low]),
        "least_total": np.array([least]),
        "most_total": np.array([most]),
    }


def values_of(totals: Totals, values: Values) -> TrainingValues:
    """Return the sums, from what `add_values` made of all blocks."""
    span = (np.nan, np.nan)
    if values and np.isfinite(values["most_total"]).any():
        span = float(values["least_total"].min()), float(values["most_total"].max())
    return TrainingValues(
        n=int(totals["n_train"][0]),
        sums=totals["train_sums"],
        on=totals["train_on"],
        lowest=float(values["train_lowest"].min()) if values else 0.0,
        totals=span,
    )
