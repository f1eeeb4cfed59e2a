"""The baseline of reference, chosen on conditions that are no test conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core._inner_folds import inner_folds
from ..models.base._fitting import fit_baseline
from ._choice import Choice, best, check_inner, measured
from ._choice_notices import tell, tell_of_embedding
from ._inner_error import InnerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .._typing import Ints
    from ..core._population import Population


def reference_on_validation(
    cells: Population,
    baselines: Sequence[str],
    *,
    embedding: str | pd.DataFrame | None = None,
    context_embedding: str | pd.DataFrame | None = None,
    within: bool = False,
    inner: int | None = None,
    seed: int = 0,
) -> Choice:
    """Choose the baseline of reference on conditions that are no test conditions.

    These are the conditions of ``"val"``, which the baselines are not trained on. Without any, or
    if it is asked for, they are those of inner folds within training.

    Parameters
    ----------
    cells
        The screen.
    baselines
        Names of baselines.
    embedding, context_embedding
        Vectors of the perturbations and of the contexts, for the baselines that use them.
    within
        Whether to make folds within training even if there are conditions of ``"val"``.
    inner
        Number of these folds; 3 if ``None``, or as many as there are units.
    seed
        Seed of folds and predictions.

    Returns
    -------
    The choice, whose ``name`` is the baseline. One that cannot predict a condition is not chosen.

    Raises
    ------
    ValueError
        If there are too few conditions for the folds, or no baseline predicts them.
    """
    check_inner(inner)
    if cells.val.any() and not within:
        folds: tuple[Ints, ...] = (_validation(cells),)
    else:
        folds = inner_folds(cells, inner, seed=seed)
    tell_of_embedding(cells.adata, embedding)
    measure = InnerError(cells, folds, seed=seed)

    def fit(number: int, fold: int) -> Any:
        on = measure.folds[fold].cells
        return fit_baseline(
            on,
            baselines[number],
            embedding=embedding,
            context_embedding=context_embedding,
            rng=seed,
        )

    table = measured(measure, list(baselines), fit, desc="reference")
    number = best(table, "no baseline can be the reference")
    tell(table, f"reference: of {len(baselines)} baselines", len(folds))
    return Choice(str(table.index[number]), table=table)


def _validation(cells: Population) -> Ints:
    """Return the (n_obs,) sides that hold out the conditions of ``"val"``."""
    return np.select([cells.split == 2, cells.val], [-1, 2], cells.split)
