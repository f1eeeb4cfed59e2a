"""Counts of cells, looked at value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .._validate import some
from ._matrix import as_rows
from ._scale import look
from ._scale_check import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.sparse import csr_matrix

    from .._typing import Ints
    from ._population import Population


def counts_of(
    cells: Population,
    rows: Ints,
    genes: Sequence[str],
    *,
    most: int,
    fix: str,
    what: str = "a file of counts",
) -> csr_matrix:
    """Return the counts of some cells, int32 CSR (n_cells, n_genes), after a look at every value.

    Parameters
    ----------
    cells
        Population that holds them.
    rows
        (n_cells,) sorted rows.
    genes
        Genes to read, in the order of the result.
    most
        Counts that one cell may have.
    fix
        What to do about values that are no counts.
    what
        What needs the counts, for messages.

    Raises
    ------
    KeyError
        If a gene is not there.
    ValueError
        If a value is no count, or a cell has more than `most` of them.
    """
    place = {name: i for i, name in enumerate(cells.features)}
    lost = [gene for gene in genes if gene not in place]
    slot = cells.rows.slot
    if lost:
        msg = (
            f"{len(lost)} of {len(genes)} genes are not in {slot}: {some(lost)}. No value is made "
            "up for them: predict a screen that has all of them"
        )
        raise KeyError(msg)
    columns = None if tuple(genes) == cells.features else np.array([place[one] for one in genes])
    chosen = as_rows(cells.rows.matrix, columns, slot=slot)
    names, parts = cells.adata.obs_names, []
    for start in range(0, len(rows), chosen.step):
        at = rows[start : start + chosen.step]
        block = sparse.csr_matrix(chosen.take(at))
        require(
            look(as_rows(block, slot=slot)),
            slot=slot,
            what=what,
            accept=("counts", "empty"),
            cells=names[at],
            fixes=dict.fromkeys(("log", "linear", "signed"), fix),
        )
        total = np.asarray(block.sum(axis=1)).ravel()
        if total.max() > most:
            msg = (
                f"cell {names[at[total.argmax()]]!r} has {total.max():,.0f} counts in {slot}, and "
                f"there may be at most {most:,}: are these counts of cells?"
            )
            raise ValueError(msg)
        parts.append(block.astype(np.int32))
    return sparse.vstack(parts, format="csr")
