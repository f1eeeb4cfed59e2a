"""What an evaluation in the manner of another package needs beside its metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import PREDICTION
from ..core._population import population
from ._checks import check_finite
from ._predictions import Beside, in_order
from ._task import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Matrix
    from ..metrics._comparison import Populations
    from ..metrics._external_suites import ExternalSuite
    from ._predictions import Apart
    from ._scores import Scores
    from ._task import EvaluationTask

MEAN = "cell-eval mean"


def with_controls(
    task: EvaluationTask, made: Populations, prediction: Beside | Apart
) -> Populations:
    """Return predicted populations together with the control cells of the same prediction.

    Raises
    ------
    ValueError
        If a control cell holds NaN, or a context has no predicted control cells.
    """
    if isinstance(prediction, Beside):
        controls = take(prediction.rows, [np.sort(own) for own in task.controls])
    else:
        controls = _controls_of(task, prediction.adata)
    check_finite(controls, "the prediction", names=["control"] * len(controls))
    return replace(made, controls=controls)


def _controls_of(task: EvaluationTask, cells: AnnData) -> Sequence[Matrix]:
    """Return the predicted control cells of each context."""
    screen = task.cells.screen
    given = population(cells, replace(screen, batch_key=None, guide_key=None))
    rows = np.flatnonzero(given.labels.is_control)
    names = np.array([*given.contexts, ""], dtype=object)[given.context[rows]]
    context_of = task.conditions["context"].to_numpy()
    chosen = []
    for group in range(len(task.truth.controls)):
        context = context_of[np.flatnonzero(task.truth.group == group)[0]]
        at = rows[names == context] if screen.context_key is not None else rows
        if not len(at):
            msg = (
                f"the prediction has no control cells{f' of {context}' if context else ''}, "
                f"labelled {' or '.join(map(repr, screen.control))} in its "
                f"obs[{given.screen.perturbation_key!r}], from which this suite measures predicted "
                "effects: add them, with anndata.concat"
            )
            raise ValueError(msg)
        chosen.append(at)
    return take(in_order(given.rows, cells, task.cells.features), chosen)


def score_of(suite: ExternalSuite, scores: Scores) -> float:
    """Return the overall score of the prediction as the package defines it.

    NaN if it defines none, or not all of its metrics were computed.
    """
    if suite.score is None or not set(scores.metrics) >= set(suite.metrics):
        return float("nan")
    user, base = (
        {name: scores.mean(who, name) for name in suite.metrics} for who in (PREDICTION, MEAN)
    )
    return suite.score(user, base)
