"""Counterfactuals: measured cells carried back to their start, and forth to another condition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ...core._codes import recode
from ...core._slots import free_name
from ..base._arrays import stacked
from ..base._assembly import SOURCE
from ..base._generation import in_blocks
from ..base._requests import (
    request_like,
    requested_context,
    requested_dose,
    requested_names,
    require_vectors,
)
from ..base._sets import encoded_conditions, run_in_sets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from ...core._population import Population
    from ..base._config import Guidance
    from ..base._preset_model import PresetModel
    from ..base._requests import PredictionRequest
    from ..base._sets import RequestedSets
    from ..base._vocabulary import Vocabulary


@dataclass(frozen=True)
class Goal:
    """The condition that cells are carried to.

    Attributes
    ----------
    name
        Perturbation; ``None`` is the way back alone.
    context, dose
        Context and dose; ``None`` keeps those of each cell.
    """

    name: str | None
    context: str | None
    dose: float | None

    def encoded_condition(
        self,
        request: PredictionRequest,
        sets: RequestedSets,
        cells: Population,
        vocabulary: Vocabulary,
    ) -> dict[str, Tensor]:
        """Return the goal for some sets of measured cells, as a network takes it.

        The control mean is that of the cells' own context: the response is another, the cell is not
        moved.
        """
        dose = request.dose if self.dose is None else np.full(len(request), self.dose)
        code = np.zeros(len(request), dtype=np.int64)
        there = replace(request, names=(self.name,), perturbation=code, dose=dose)
        device, rows = sets.batch_index.device, sets.rows[:, 0]
        condition = encoded_conditions(there, rows, cells, vocabulary, device=device)
        if self.context is not None:
            seen = vocabulary.perturbed_contexts
            known = recode(np.zeros(1, dtype=np.int64), (self.context,), seen)
            condition["context"].fill_(int(known[0]))
            place = vocabulary.placed([self.context])
            if place is not None:
                condition["context_vector"][:] = torch.from_numpy(place[0]).to(device)
        return {**condition, "centre": sets.condition["centre"]}


def counterfactual(
    model: PresetModel,
    adata: AnnData,
    perturbations: str | Sequence[str],
    *,
    context: str | None = None,
    dose: float | None = None,
    n_steps: int = 50,
    sampler: str = "heun",
    guidance: Guidance | None = None,
) -> AnnData:
    """Carry measured cells back to where they began, and forth under another perturbation.

    What the components leave out of a cell stays as it was measured. It is an assumption that the
    way of the flow is the way of the cell. No unpaired data can test it.

    Parameters
    ----------
    adata
        Screen with perturbed cells. Its control cells, if there are some, say where the controls of
        a context lie. They are not carried; `transport` does that.
    perturbations
        Names to put each cell under. A combination joins single ones. The name of the control means
        the way back alone: the cell without its perturbation.
    context
        Context in which the other perturbations act; that of each cell if ``None``. Only the
        response is that of the context: the way between the controls of two contexts is not known.
    dose
        Dose of the other perturbations; that of each cell if ``None``.
    n_steps, sampler
        Number of steps and method with which the flow is followed, each way.
    guidance
        As in `predict`, on both ways.

    Returns
    -------
    AnnData
        One row per perturbed cell of `adata` and name, in the order of the names and within them of
        `adata`. ``obs`` has the columns of the screen with the new condition; ``source``, the name
        of the measured cell; and its measured condition in columns that begin with ``source_``.

    Raises
    ------
    KeyError
        If a perturbation, of the cells or of the request, has no vector, there is no such context,
        or features of training are missing.
    ValueError
        If the model is not trained, no cell is perturbed, the flow has no way back
        (``sampler="sde"``, or a network that is given the mean of the controls), or it begins at
        noise and the way back alone is requested.
    """
    model._check_trained()
    model._check_options({} if guidance is None else {"guidance": guidance})
    cells = model._population(adata)
    request = measured_cells(cells)
    model._refuse([request.names[code] for code in np.unique(request.perturbation)], cells)
    goals = _goals(model, perturbations, context, dose)
    options = {"n_steps": n_steps, "sampler": sampler, "guidance": guidance}
    order = np.argsort(request.source)
    values = [
        in_blocks(
            lambda part, goal=goal: _carried(model, part, cells, goal, options),
            request,
            cell_shape=model.vocabulary.cell_shape,
        )[order]
        for goal in goals
    ]
    request = request.take(order)
    names = [goal.name or cells.screen.control[0] for goal in goals]
    asked = under_names(request, names)
    made = model._as_adata(model._as_given(stacked(values), asked, cells), asked, cells)
    add_origin(made, request, cells, goals)
    return made


def measured_cells(cells: Population) -> PredictionRequest:
    """Return the perturbed cells, sorted by condition, each its own source.

    Raises
    ------
    ValueError
        If there are none.
    """
    rows = np.flatnonzero(cells.perturbed)
    if not len(rows):
        key = cells.screen.perturbation_key
        msg = (
            f"no cell of this AnnData is perturbed, by obs[{key!r}]; model.transport puts controls "
            "under a perturbation"
        )
        raise ValueError(msg)
    keys = (cells.batch, cells.dose, cells.context, cells.labels.code)
    rows = rows[np.lexsort([key[rows] for key in keys])]
    return request_like(cells, rows, rows)


def under_names(request: PredictionRequest, names: Sequence[str]) -> PredictionRequest:
    """Return the same cells once under each name."""
    again = request.take(np.tile(np.arange(len(request)), len(names)))
    codes = np.repeat(np.arange(len(names)), len(request))
    return replace(again, names=tuple(names), perturbation=codes)


def add_origin(
    made: AnnData, request: PredictionRequest, cells: Population, goals: Sequence[Goal]
) -> None:
    """Write the new context and dose of carried cells, and their measured condition.

    Parameters
    ----------
    made
        Carried cells, goal after goal. Its ``obs`` is changed.
    request
        The measured cells.
    cells
        Population whose codes the request uses.
    goals
        Where the cells were carried.
    """
    screen, n = cells.screen, len(request)
    back = np.repeat([goal.name is None for goal in goals], n)
    columns = [key for key in (screen.context_key, screen.dose_key) if key is not None]
    for key in columns:
        made.obs[free_name(f"{SOURCE}_{key}", made.obs)] = made.obs[key]
    origin = np.array(request.names, dtype=object)[np.tile(request.perturbation, len(goals))]
    name = free_name(f"{SOURCE}_{screen.perturbation_key}", made.obs)
    made.obs[name] = pd.Categorical(origin)
    if screen.context_key is not None and goals[0].context is not None:
        mine = made.obs[screen.context_key].astype(object)
        made.obs[screen.context_key] = pd.Categorical(mine.where(back, goals[0].context))
    if screen.dose_key is not None:
        same = np.tile(request.dose, len(goals))
        dose = same if goals[0].dose is None else np.full(len(back), goals[0].dose)
        made.obs[screen.dose_key] = np.where(back, np.nan, dose)


def _goals(
    model: PresetModel, perturbations: str | Sequence[str], context: str | None, dose: float | None
) -> list[Goal]:
    """Check what cells are to be put under, as `predict` does."""
    screen, begin = model.vocabulary.screen, model.module.config.interpolant
    single = isinstance(perturbations, str) or not np.iterable(perturbations)
    several = [perturbations] if single else list(perturbations)
    names = list(dict.fromkeys(screen.canonical(str(name)) for name in several))
    others = [name for name in names if name != screen.control[0]]
    if others or not names:
        model._refuse(requested_names(others, model.cells, model.vocabulary))
    if len(others) < len(names) and begin.noisy_at_sampling:
        msg = (
            f"this flow begins at path_start={begin.path_start!r}, so its way back does not end at "
            "a control cell; ask for a perturbation, or train a flow with path_start='control'"
        )
        raise ValueError(msg)
    if context is not None:
        requested_context(context, model.cells)
        require_vectors(model.vocabulary, [context])
    if dose is not None:
        dose = requested_dose(dose, model.cells)
    return [Goal(None if name == screen.control[0] else name, context, dose) for name in names]


def _carried(
    model: PresetModel,
    request: PredictionRequest,
    cells: Population,
    goal: Goal,
    options: dict[str, Any],
) -> NDArray[np.float32]:
    """Return (n, n_features) measured cells, carried to a goal."""
    start = cells.values(request.source)

    def network(x: Tensor, sets: RequestedSets) -> tuple[Tensor]:
        here = (sets.condition, sets.batch_index)
        if goal.name is None:
            return (model.module.invert(x, *here, **options),)
        there = goal.encoded_condition(request, sets, cells, model.vocabulary)
        return (model.module.counterfactual(x, here[0], there, here[1], **options),)

    (z,) = run_in_sets(network, model.space.encode(start), model._sets(request, cells))
    values = model.space.decode(z.numpy(), start)
    return values.clip(min=0) if model.vocabulary.nonnegative else values
