"""Baselines, fitted on the cells of a task, and what they predict for its conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._logging import progress
from ..models.base._fitting import fit_baseline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from ..metrics._comparison import Populations
    from ._task import EvaluationTask


def baseline_predictions(
    task: EvaluationTask, baselines: Sequence[str], *, embedding: str | pd.DataFrame | None
) -> Iterator[tuple[str, Populations | str, bool]]:
    """Fit baselines one at a time, and predict the conditions of a task.

    Parameters
    ----------
    task
        The task.
    baselines
        Names of the baselines.
    embedding
        Vectors of the perturbations, for the baselines that use them.

    Yields
    ------
    Name, its predictions or the reason why there are none, and whether it is transductive.
    """
    for name in progress(list(baselines), desc="baselines"):
        try:
            model = fit_baseline(task.cells, name, embedding=embedding, rng=task.seed)
            rows, values, _ = model.twins(task.cells, subset=task.is_predicted, rng=task.seed)
        except (KeyError, ValueError) as err:
            yield name, str(err.args[0]), False
            continue
        yield name, task.populations(rows, values), model.vocabulary.transductive
