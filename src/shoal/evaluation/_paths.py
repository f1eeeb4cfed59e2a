"""Where predicted cells start and what truly becomes of these, known in simulated screens only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core._codes import places
from ..core._matrix import as_rows
from ..metrics._cells import stored
from ._checks import far_apart, whole_numbers
from ._task import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .._typing import Ints
    from ..metrics._comparison import Paths
    from ._task import EvaluationTask

BEFORE = "counterfactual"  # layer: every cell as it would be without its perturbation


def names_at(names: pd.Series | None, several: Sequence[Ints]) -> list[list[str]] | None:
    """Return the names at some rows of a column, for each condition; ``None`` without a column."""
    if names is None:
        return None
    text = names.astype(str).to_numpy()
    return [text[rows].tolist() for rows in several]


def paths_of(task: EvaluationTask, source: Sequence[Sequence[str]] | None) -> Paths | str:
    """Return the cells that predicted ones start from, and what truly became of these.

    Parameters
    ----------
    task
        The task.
    source
        For each condition, the names of the cells of the screen that its predicted cells start
        from; ``None`` if the prediction does not say.

    Returns
    -------
    Cells before and after the perturbation, for each condition; or the reason why they are not
    known.
    """
    adata, means = task.cells.adata, task.means
    if BEFORE not in adata.layers:
        return (
            f"nobody knows what becomes of a single cell: there is no layers[{BEFORE!r}], which "
            "only simulated screens have"
        )
    if source is None:
        return "the prediction does not say which cell each of its cells starts from"
    if adata.obs_names.duplicated().any():
        return (
            "names of cells come more than once, so that they do not say where a predicted cell "
            "starts from"
        )
    rows = [places(adata.obs_names, names) for names in source]
    if any(
        (own < 0).any() or (means.condition[own] != code).any()
        for own, code in zip(rows, task.codes, strict=True)
    ):
        return (
            "predicted cells start from control cells, of which nobody knows what they would have "
            f"become; start from layers[{BEFORE!r}] of the perturbed cells (model.transport)"
        )
    before, after = take(as_rows(adata.layers[BEFORE]), rows), take(task.cells.rows, rows)
    sizes = [
        float(np.mean([abs(float(cells.mean())) for cells in stored(several)]))
        for several in (before, after)
    ]
    if far_apart(*sizes) or whole_numbers(before) != whole_numbers(after):
        return (
            f"layers[{BEFORE!r}] is not on the scale of the real cells: normalise it as these were"
        )
    return before, after
