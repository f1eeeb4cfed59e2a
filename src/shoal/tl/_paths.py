"""Where single predicted cells start and what truly becomes of these, which is known in simulated screens only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core._matrix import as_rows
from ..metrics._cells import stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..evaluation._task import Exam
    from ..metrics._comparison import Paths

BEFORE = "counterfactual"  # layer: every cell as it would have been without its perturbation (ds.simulate)


def paths_of(exam: Exam, source: Sequence[Sequence[str]] | None) -> Paths | str:
    """Return the cells that predicted ones start from, and what truly became of these; or why that is not known.

    Parameters
    ----------
    exam
        The exam.
    source
        Names of the cells of the screen that the predicted cells of each condition start from; ``None`` if not told.
    """
    from ..evaluation._predictions import far_apart, whole_numbers
    from ..evaluation._task import take

    adata, means = exam.cells.adata, exam.means
    if BEFORE not in adata.layers:
        return f"nobody knows what becomes of a single cell: there is no layers[{BEFORE!r}], which only simulated screens have"
    if source is None:
        return "the prediction does not say which cell each of its cells starts from"
    if not adata.obs_names.is_unique:
        return "names of cells come more than once, so that they do not say where a predicted cell starts from"
    rows = [adata.obs_names.get_indexer(list(names)) for names in source]
    if any(
        (own < 0).any() or (means.condition[own] != code).any()
        for own, code in zip(rows, exam.codes, strict=True)
    ):
        return (
            "predicted cells start from control cells, of which nobody knows what they would have become; start from "
            f"layers[{BEFORE!r}] of the perturbed cells (model.transport)"
        )
    before, became = take(as_rows(adata.layers[BEFORE]), rows), take(exam.cells.rows, rows)
    sizes = [
        np.mean([abs(float(cells.mean())) for cells in stored(several)])
        for several in (before, became)
    ]
    if far_apart(*sizes) or whole_numbers(before) != whole_numbers(became):
        return (
            f"layers[{BEFORE!r}] is not on the scale of the real cells: normalise it as these were"
        )
    return before, became
