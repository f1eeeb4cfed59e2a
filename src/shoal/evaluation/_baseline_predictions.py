"""Baselines, fitted on the cells of a task, and what they predict for its conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import COPY
from .._logging import progress
from ..models.base._fitting import fit_baseline
from ._reference import NEXT
from ._same_cells import fingerprint, same
from ._task import rows_predicted, take

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from .._typing import Floats
    from ..metrics._comparison import Populations
    from ._task import EvaluationTask


@dataclass(frozen=True)
class BaselinePrediction:
    """What a baseline predicts for the conditions of a task.

    Attributes
    ----------
    name
        Name of the baseline.
    made
        Its cells in each of the tasks, or the reason why there are none.
    transductive
        Whether its embedding has seen held-out cells.
    same_as
        The contender before it that predicts the same cells. Empty if there is none.
    """

    name: str
    made: tuple[Populations, ...] | str
    transductive: bool = False
    same_as: str = ""


def baseline_predictions(
    tasks: Sequence[EvaluationTask],
    baselines: Sequence[str],
    *,
    embedding: str | pd.DataFrame | None,
    context_embedding: str | pd.DataFrame | None = None,
    reference: str = "",
) -> Iterator[BaselinePrediction]:
    """Fit baselines one at a time, and predict the conditions of some tasks.

    Each is fitted once and predicts the cells of all tasks at once.

    All start from the same control cells, so that baselines which are the same rule on this screen
    predict the same cells. One that leaves every cell as it was is the control copy.

    Parameters
    ----------
    tasks
        Draws of one task.
    baselines
        Names of the baselines.
    embedding, context_embedding
        Vectors of the perturbations and of the contexts, for the baselines that use them.
    reference
        Name of the baseline that is the reference. If it predicts nothing, the one that stands in
        for it is fitted too.

    Yields
    ------
    What each baseline predicts, or why it predicts nothing.
    """
    seen: dict[str, tuple[bool, Floats]] = {}
    task, asked = tasks[0], rows_predicted(tasks)
    subset = np.isin(np.arange(task.cells.rows.shape[0]), asked)
    waiting = list(baselines)
    for name in progress(waiting, desc="baselines"):
        try:
            model = fit_baseline(
                task.cells,
                name,
                embedding=embedding,
                context_embedding=context_embedding,
                rng=task.seed,
            )
            rows, values, source = model.twins(task.cells, subset=subset, rng=task.seed)
        except (KeyError, ValueError) as err:
            yield BaselinePrediction(name, str(err.args[0]))
            if name == reference:
                reference = NEXT.get(name, COPY)
                waiting += [reference] if reference not in (*waiting, COPY) else []
            continue
        made = tuple(one.populations(rows, values) for one in tasks)
        transductive = model.vocabulary.transductive
        starts = [source[np.searchsorted(rows, own)] for own in task.predicted]
        start = fingerprint(take(task.cells.rows, starts))
        found = transductive, fingerprint(made[0].cells)
        like = [
            one
            for one, (seen_held_out, own) in {COPY: (False, start), **seen}.items()
            if seen_held_out == transductive and same(own, found[1])
        ]
        if not like:
            seen[name] = found
        yield BaselinePrediction(name, made, transductive, next(iter(like), ""))
