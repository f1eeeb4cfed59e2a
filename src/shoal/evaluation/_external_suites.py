"""What `evaluate` does in the way of another package: predicted control cells, its baseline and its score."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import PREDICTION
from ..core._matrix import as_rows
from ..core._population import population
from ._predictions import check_finite, in_order
from ._task import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Matrix
    from ..metrics._comparison import Populations
    from ..metrics._external_suites import ExternalSuite
    from ._scores import Marks
    from ._task import Exam

MEAN = "cell-eval mean"


def with_controls(
    exam: Exam, guess: Populations, adata: AnnData, layer: str | None, pred: AnnData | None
) -> Populations:
    """Return predicted populations with the control cells of the same table: of the layer, or of the other AnnData.

    Raises
    ------
    ValueError
        If a control cell holds NaN, or a context has no predicted controls.
    """
    if pred is None:
        found = take(as_rows(adata.layers[layer]), [np.sort(own) for own in exam.controls])
    else:
        found = _controls_of(exam, pred)
    check_finite(found, "the control cells of the prediction")
    return replace(guess, controls=found)


def _controls_of(exam: Exam, pred: AnnData) -> Sequence[Matrix]:
    own = population(pred, replace(exam.cells.screen, batch_key=None, guide_key=None))
    rows = np.sort(own.controls.cells)
    names = np.array([*own.contexts, ""], dtype=object)[own.context[rows]]
    found = []
    for group in range(len(exam.truth.controls)):
        context = exam.conditions["context"].to_numpy()[
            np.flatnonzero(exam.truth.group == group)[0]
        ]
        at = rows[names == context] if exam.cells.screen.context_key is not None else rows
        if not len(at):
            msg = f"pred has no control cells of {context}, from which this preset measures predicted effects; add them"
            raise ValueError(msg)
        found.append(at)
    return take(in_order(own.rows, pred, exam.cells.features), found)


def score_of(preset: ExternalSuite, marks: Marks) -> float:
    """Return the overall score of the prediction as the peer defines it; NaN if it does not."""
    if preset.score is None or not set(marks.suite) >= set(preset.metrics):
        return float("nan")
    user, base = (
        {name: marks.mean(who, name) for name in preset.metrics} for who in (PREDICTION, MEAN)
    )
    return preset.score(user, base)
