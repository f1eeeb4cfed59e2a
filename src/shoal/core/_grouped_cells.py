"""The cells of a screen by stratum and perturbation, with their sums, from one walk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._block_sums import group_sum, row_squares
from ._matrix import Rows, as_rows
from ._scale import look_at, scale_of
from ._walk import walk

if TYPE_CHECKING:
    import pandas as pd

    from .._typing import Floats, Ints, Matrix
    from ._scale import Scale
    from ._walk import Totals, Values


@dataclass(frozen=True)
class GroupedCells:
    """The cells of a screen by stratum and perturbation; the controls come last.

    Attributes
    ----------
    rows
        (n_obs, d) matrix.
    members
        Row numbers of each stratum and group, ``members[s][g]``, sorted unless they were put in
        another order.
    counts
        (S, G + 1) cells.
    sums, squares
        (S, G + 1, d) sums of rows and (S, G + 1) sums of their squared norms, after a shift common
        to all.
    scale
        Scale of all values.
    """

    rows: Rows
    members: list[list[Ints]]
    counts: Ints
    sums: Floats
    squares: Floats
    scale: Scale

    def cells(self, stratum: int, group: int) -> Matrix:
        """Return the rows of one population."""
        return self.rows.take(self.members[stratum][group])

    def weights(self, n: Ints, m: Ints, least: int) -> Floats:
        """Return n m / (n + m), the weight of a stratum; 0 where one has too few cells."""
        enough = (n >= least) & (m >= least)
        return np.where(enough, n * m / np.maximum(n + m, 1), 0.0)

    def control_weights(self, least: int) -> Floats:
        """Return the (S, G) weights of the comparisons with the controls."""
        return self.weights(self.counts[:, :-1], self.counts[:, -1:], least)

    def in_memory(self) -> GroupedCells:
        """Return the same with the matrix read into memory (as it is: sparse stays sparse)."""
        if self.rows.in_memory:
            return self
        read = as_rows(self.rows.take(np.arange(self.rows.shape[0])))
        return replace(self, rows=read)

    def in_order(self, order: Ints) -> GroupedCells:
        """Return the same, in memory, with the cells of every population in this order of rows.

        Whatever draws cells at random then draws the same ones from a shuffled screen, see
        :func:`shoal.core._order.stable_order`.
        """
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        members = [[own[np.argsort(rank[own])] for own in groups] for groups in self.members]
        return replace(self.in_memory(), members=members)


def gather(
    rows: Rows, group: Ints, n_groups: int, stratum: Ints, n_strata: int, names: pd.Index
) -> GroupedCells:
    """Walk once through the matrix and sum it up by stratum and group.

    Parameters
    ----------
    rows
        (n_obs, d) matrix.
    group
        (n_obs,) perturbation, `n_groups` for controls, -1 for cells that are left out.
    n_groups
        Number of perturbations.
    stratum
        (n_obs,) stratum.
    n_strata
        Number of strata.
    names
        (n_obs,) names of the cells, for messages.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    n_codes = n_strata * (n_groups + 1)
    code = np.where(group >= 0, stratum * (n_groups + 1) + group, -1)
    # what is far from 0 loses digits, and the distances do not see a shift
    first = rows.take(np.zeros(1, dtype=np.int64))
    offset = None if sparse.issparse(first) else np.where(np.isfinite(first[0]), first[0], 0.0)

    def visit(where: slice, block: Matrix, totals: Totals) -> Values:
        values = dict(look_at(where, block, totals))
        if offset is not None:
            block = block - offset
        totals["sums"] += group_sum(block, code[where], n_codes)
        return values | {"squares": row_squares(block)}

    totals, values = walk(rows, visit, lambda: {"sums": np.zeros((n_codes, rows.shape[1]))})
    sums, squares = totals["sums"], values["squares"]
    used = code >= 0
    bad = np.flatnonzero(used & ~np.isfinite(squares))
    if len(bad):
        msg = (
            f"{rows.slot} holds NaN or infinite values in {len(bad)} of {int(used.sum())} cells, "
            f"such as {str(names[bad[0]])!r}; drop or fill them"
        )
        raise ValueError(msg)
    counts = np.bincount(code[used], minlength=n_codes)
    square = np.bincount(code[used], weights=squares[used], minlength=n_codes).astype(np.float64)
    order = np.argsort(code, kind="stable")[len(code) - int(used.sum()) :]
    members = np.split(order, np.cumsum(counts)[:-1])
    width = n_groups + 1
    return GroupedCells(
        rows,
        [members[s * width : (s + 1) * width] for s in range(n_strata)],
        counts.reshape(n_strata, width),
        sums.reshape(n_strata, width, -1),
        square.reshape(n_strata, width),
        scale_of(values),
    )
