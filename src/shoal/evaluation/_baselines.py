"""Baselines that are fitted on the training cells and scored beside a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._keys import SPLIT
from .._logging import logger, progress
from .._validate import one_of
from ..models.base._fitting import fit_baseline
from ..models.base._registry import names, registered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from anndata import AnnData

    from ..metrics._comparison import Populations
    from ._task import EvaluationTask

CONTROL = "control"  # the baseline that is the control copy of every evaluation


def baseline_names(adata: AnnData, baselines: str | Sequence[str] | None) -> list[str]:
    """Return the names of the baselines to fit.

    Parameters
    ----------
    adata
        The screen. Without ``obs["split"]`` there are no training cells, and no baselines.
    baselines
        Names, ``"auto"`` for all of shoal, ``None`` for none.

    Raises
    ------
    ValueError
        If a name is not known.
    """
    if baselines is None:
        return []
    if SPLIT not in adata.obs:
        logger.info(
            "no baselines: they are fitted on training cells, and there is no obs['split'] "
            "(sh.pp.split)"
        )
        return []
    known = names("baseline")
    if isinstance(baselines, str) and baselines == "auto":
        return [name for name in known if name != CONTROL and not registered(name)]
    several = [baselines] if isinstance(baselines, str) else list(baselines)
    for name in several:
        one_of(name, known, name="baselines")
    return [name for name in several if name != CONTROL]


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
