"""Sums of the cells of every condition and of the control cells, from one reading of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._codes import grouped
from ._matrix import add_to_groups

if TYPE_CHECKING:
    import pandas as pd

    from .._typing import Floats, Ints
    from ._matrix import Rows


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
    """What one reading of a screen gives.

    Attributes
    ----------
    perturbed
        Perturbed cells; a group is perturbation x context x dose x split.
    control
        Control cells; a group is context x batch x split.
    """

    perturbed: GroupSums
    control: GroupSums


def condition_sums(rows: Rows, perturbed: pd.DataFrame, control: pd.DataFrame) -> ConditionSums:
    """Read a matrix once and sum its cells by group.

    Parameters
    ----------
    rows
        (n_obs, n_features) values.
    perturbed, control
        Codes of the perturbed and of the control cells; the index is the row of the cell, and
        cells that agree in all columns are a group.
    """
    codes, keys = zip(*(grouped(**table) for table in (perturbed, control)), strict=True)
    n_first = len(keys[0])
    group = np.full(rows.shape[0], -1)
    group[perturbed.index] = codes[0]
    group[control.index] = codes[1] + n_first
    sums = np.zeros((n_first + len(keys[1]), rows.shape[1]))
    for where, block in rows.blocks():
        add_to_groups(sums, block, group[where])
    n = np.bincount(group[group >= 0], minlength=len(sums))
    return ConditionSums(
        GroupSums(keys[0], n[:n_first], sums[:n_first]),
        GroupSums(keys[1], n[n_first:], sums[n_first:]),
    )
