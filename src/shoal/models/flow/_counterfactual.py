"""Counterfactuals as their user sees them: which cells are carried, where to, and what stands beside them in obs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...core._codes import recode
from ..base._predictor import SOURCE, Wanted
from ..base._sets import asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from torch import Tensor

    from ..._typing import Ints
    from ...core._population import Population
    from ..base._vocabulary import Vocabulary


@dataclass(frozen=True)
class Goal:
    """What cells are put under; ``None`` is the way back alone for `name`, and what each cell has for the others."""

    name: str | None
    context: str | None
    dose: float | None

    def told(
        self,
        own: Wanted,
        rows: Ints,
        cells: Population,
        vocabulary: Vocabulary,
        like: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return what a network is told of the goal of some rows, which are told `like` of what they have.

        The centre is that of the cell's own context: the response is another, the cell is not moved.
        """
        dose = own.dose if self.dose is None else np.full(len(own), self.dose)
        there = replace(
            own, names=(self.name,), perturbation=np.zeros(len(own), dtype=np.int64), dose=dose
        )
        told = asked(there, rows, cells, vocabulary, device=like["context"].device)
        if self.context is not None:
            told["context"].fill_(
                int(recode(np.zeros(1, dtype=np.int64), (self.context,), vocabulary.contexts)[0])
            )
        return {**told, "centre": like["centre"]}


def measured(cells: Population) -> Wanted:
    """Return the perturbed cells, sorted by condition, each its own source.

    Raises
    ------
    ValueError
        If there are none.
    """
    rows = np.flatnonzero(cells.perturbed)
    if not len(rows):
        key = cells.screen.perturbation_key
        msg = f"no cell of this AnnData is perturbed, by obs[{key!r}]; model.transport puts controls under a perturbation"
        raise ValueError(msg)
    rows = rows[
        np.lexsort(
            (cells.batch[rows], cells.dose[rows], cells.context[rows], cells.labels.code[rows])
        )
    ]
    return Wanted(
        names=tuple(cells.names),
        perturbation=cells.labels.code[rows],
        context=cells.context[rows],
        batch=cells.batch[rows],
        dose=cells.dose[rows],
        source=rows,
    )


def under(own: Wanted, names: Sequence[str]) -> Wanted:
    """Return the same cells once under each name."""
    again = own.take(np.tile(np.arange(len(own)), len(names)))
    return replace(
        again, names=tuple(names), perturbation=np.repeat(np.arange(len(names)), len(own))
    )


def add_origin(made: AnnData, own: Wanted, cells: Population, goals: Sequence[Goal]) -> None:
    """Write the new context and dose of cells, and under ``source_`` the condition that they were measured in."""
    screen, n = cells.screen, len(own)
    back = np.repeat([goal.name is None for goal in goals], n)
    columns = [key for key in (screen.context_key, screen.dose_key) if key is not None]
    for key in columns:
        made.obs[f"{SOURCE}_{key}"] = made.obs[key]
    origin = np.array(own.names, dtype=object)[np.tile(own.perturbation, len(goals))]
    made.obs[f"{SOURCE}_{screen.perturbation_key}"] = pd.Categorical(origin)
    if screen.context_key is not None and goals[0].context is not None:
        mine = made.obs[screen.context_key].astype(object)
        made.obs[screen.context_key] = pd.Categorical(mine.where(back, goals[0].context))
    if screen.dose_key is not None:
        dose = (
            np.tile(own.dose, len(goals))
            if goals[0].dose is None
            else np.full(len(back), goals[0].dose)
        )
        made.obs[screen.dose_key] = np.where(back, np.nan, dose)
