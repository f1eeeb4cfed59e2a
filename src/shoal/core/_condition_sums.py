"""Sums of the cells of every condition and of the control cells, from one reading of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ._block_sums import add_to_groups
from ._codes import grouped
from ._matrix import KeptRows
from ._scale import Scale, look_at, scale_of
from ._storage import working_dtype
from ._training_values import TrainingValues, add_values, no_values, values_of
from ._walk import walk

if TYPE_CHECKING:
    import pandas as pd

    from .._typing import Bools, Floats, Ints, Matrix
    from ._matrix import Rows
    from ._walk import Totals, Values


@dataclass(frozen=True, eq=False)
class GroupSums:
    """Sums of groups of cells.

    Attributes
    ----------
    keys
        Index group (0, 1, ...): the codes that the cells of a group share, sorted.
    n
        (n_groups,) cells.
    sums
        (n_groups, n_features) sums of the cells.
    """

    keys: pd.DataFrame
    n: Ints
    sums: Floats

    def of_split(self, split: int) -> GroupSums:
        """Return the groups of one value of ``keys["split"]``, without that column."""
        chosen = np.flatnonzero(self.keys["split"].to_numpy() == split)
        keys = self.keys.iloc[chosen].drop(columns="split").reset_index(drop=True)
        return GroupSums(keys, self.n[chosen], self.sums[chosen])

    def of_all_splits(self) -> GroupSums:
        """Return the groups with the cells of all splits put together."""
        columns = [str(name) for name in self.keys if name != "split"]
        code, keys = grouped(**{name: self.keys[name] for name in columns})
        if len(keys) == len(code):
            return GroupSums(keys, self.n, self.sums)
        n, sums = np.zeros(len(keys), dtype=np.int64), np.zeros((len(keys), self.sums.shape[1]))
        np.add.at(n, code, self.n)
        np.add.at(sums, code, self.sums)
        return GroupSums(keys, n, sums)


@dataclass(frozen=True, eq=False)
class ConditionSums:
    """Sums of the cells of every condition, and of the controls of every context and batch.

    Attributes
    ----------
    perturbed
        Perturbed cells; a group is perturbation x context x dose x split.
    control
        Control cells; a group is context x batch x split.
    """

    perturbed: GroupSums
    control: GroupSums


@dataclass(frozen=True, eq=False)
class Reading:
    """What one reading of a screen tells.

    Attributes
    ----------
    scale
        Scale of all values.
    training
        Sums of the training cells.
    sums
        Sums of the cells of every condition.
    kept
        Rows that were asked for; ``None`` where there are none, or the matrix is in memory.
    """

    scale: Scale
    training: TrainingValues
    sums: ConditionSums
    kept: KeptRows | None


def read(
    rows: Rows,
    perturbed: pd.DataFrame,
    control: pd.DataFrame,
    *,
    train: Bools,
    keep: Ints | None = None,
) -> Reading:
    """Read a matrix once, block by block.

    Parameters
    ----------
    rows
        (n_obs, n_features) values.
    perturbed, control
        Codes of the perturbed and of the control cells. The index is the row of the cell, and cells
        that agree in all columns are a group.
    train
        (n_obs,) training cells.
    keep
        Rows to keep if the matrix is in a file or a dask array, in any order.
    """
    codes, keys = zip(*(grouped(**table) for table in (perturbed, control)), strict=True)
    n_first = len(keys[0])
    group = np.full(rows.shape[0], -1)
    group[perturbed.index] = codes[0]
    group[control.index] = codes[1] + n_first
    kept = None
    if keep is not None and not rows.in_memory:
        kept = np.zeros(len(group), dtype=bool)
        kept[keep] = True
    shape = (n_first + len(keys[1]), rows.shape[1])
    visit = partial(_visit, group, train, kept, working_dtype(rows.matrix.dtype))
    totals, values = walk(rows, visit, partial(_zeros, shape))
    sums, n = totals["sums"], np.bincount(group[group >= 0], minlength=shape[0])
    return Reading(
        scale=scale_of(values),
        training=values_of(totals, values),
        sums=ConditionSums(
            GroupSums(keys[0], n[:n_first], sums[:n_first]),
            GroupSums(keys[1], n[n_first:], sums[n_first:]),
        ),
        kept=None if kept is None else KeptRows(np.flatnonzero(kept), values["kept"]),
    )


def _zeros(shape: tuple[int, int]) -> Totals:
    return {"sums": np.zeros(shape), **no_values(shape[1:])}


def _visit(
    group: Ints,
    train: Bools,
    kept: Bools | None,
    dtype: np.dtype[Any],
    where: slice,
    block: Matrix,
    totals: Totals,
) -> Values:
    """Add a block to the sums, look at its values, and return the rows that are kept."""
    add_to_groups(totals["sums"], block, group[where])
    values = {**look_at(where, block, totals), **add_values(block, train[where], totals)}
    if kept is not None:
        rows = block[kept[where]]
        values["kept"] = rows.astype(dtype, copy=False)
    return values
