"""Sums of the cells of every condition, and the one pass over the matrix that makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from ._matrix import Held, Rows, add_to_groups
from ._scale import Look, Scale

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix
    from ._population import Population


@dataclass(frozen=True, eq=False)
class ConditionSums:
    """Sums of the cells of every condition.

    A condition of perturbed cells is a perturbation, context, dose and split. A condition of
    control cells is a context, batch and split.

    Attributes
    ----------
    condition
        (n_obs,) condition of every cell, -1 for cells without a label.
    first
        (C,) one cell of each condition.
    sums
        (C, n_features) sum of the values of its cells, float64.
    """

    condition: Ints
    first: Ints
    sums: Floats

    def by(self, group: Ints, n_groups: int) -> Floats:
        """Return the sums of larger groups of cells.

        Parameters
        ----------
        group
            (n_obs,) group of every cell, -1 for cells of none. All cells of a condition must be of
            one group.
        n_groups
            Number of groups.

        Returns
        -------
        (n_groups, n_features) sums.
        """
        found = np.zeros((n_groups, self.sums.shape[1]))
        group_of_condition = np.asarray(group)[self.first]
        for condition in np.flatnonzero(group_of_condition >= 0):
            found[group_of_condition[condition]] += self.sums[condition]
        return found


@dataclass(frozen=True, eq=False)
class Summary:
    """What is known of the values of a population without reading them again.

    Attributes
    ----------
    scale
        Scale of all values.
    nonnegative
        Whether no training cell holds a value below 0.
    sums
        Sums by condition.
    """

    scale: Scale
    nonnegative: bool
    sums: ConditionSums


def read_once(cells: Population, keep: Ints | None = None) -> Population:
    """Read every row of a population once, and return the population with what was read.

    Parameters
    ----------
    cells
        The population.
    keep
        Sorted rows whose values will be needed. Those of a file or a dask array are kept in
        memory, in the precision of the source; a matrix that is in memory is not copied.

    Returns
    -------
    The population with its summary. ``rows.take`` reads none of the rows in `keep` again.
    """
    rows, summary = _read(cells, keep)
    return replace(cells, rows=rows, summary=summary)


def condition_sums(cells: Population) -> ConditionSums:
    """Return the sums by condition of a population that was not read yet."""
    return _read(cells, None)[1].sums


def _read(cells: Population, keep: Ints | None) -> tuple[Rows, Summary]:
    rows = cells.rows
    condition, first = _conditions(cells)
    sums, look = np.zeros((len(first), rows.shape[1])), Look()
    train, lowest = cells.train | cells.train_control, np.inf
    kept = np.zeros(rows.shape[0], dtype=bool)
    if keep is not None and not rows.in_memory:
        kept[keep] = True
    parts: list[Matrix] = []
    for at, block in rows.blocks():
        look.add(block)
        add_to_groups(sums, block, condition[at])
        if look.minimum < 0 and train[at].any():
            lowest = min(lowest, float(block[train[at]].min()))
        if kept[at].any():
            parts.append(_as_stored(block[kept[at]], rows))
    if parts:
        is_sparse = sparse.issparse(parts[0])
        values = sparse.vstack(parts, format="csr") if is_sparse else np.vstack(parts)
        rows = replace(rows, held=Held(np.flatnonzero(kept), values))
    return rows, Summary(look.scale, lowest >= 0, ConditionSums(condition, first, sums))


def _conditions(cells: Population) -> tuple[Ints, Ints]:
    """Return the condition of every cell (n_obs,), -1 without a label, and one cell of each."""
    control = cells.labels.is_control
    at = np.flatnonzero(control | cells.perturbed)
    frame = pd.DataFrame(
        {
            "perturbation": np.where(control, -1, cells.labels.code)[at],
            "context": cells.context[at],
            "batch": np.where(control, cells.batch, 0)[at],
            "dose": np.where(control, np.nan, cells.dose)[at],
            "split": cells.split[at],
        }
    )
    condition = np.full(len(control), -1, dtype=np.int64)
    condition[at] = frame.groupby(list(frame), dropna=False, sort=False).ngroup()
    return condition, at[~frame.duplicated().to_numpy()]


def _as_stored(block: Matrix, rows: Rows) -> Matrix:
    """Return values in the precision of their source: blocks of dense ones are float64."""
    dtype = rows.source.dtype
    return block.astype(dtype) if np.issubdtype(dtype, np.floating) else block
