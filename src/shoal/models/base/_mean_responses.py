"""The mean responses that a model predicts: what its cells differ from their controls by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core._codes import members
from ...metrics._cells import densify
from ..post._postprocessing import Moved
from ._registry import kind_of

if TYPE_CHECKING:
    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population
    from ._requests import PredictionRequest

FEWEST, MOST = 64, 256  # cells that a mean response is taken over


def able(model: Any, request: PredictionRequest, cells: Population) -> Bools:
    """Return (n_names,) which perturbations of a request a model can predict in all its contexts.

    A context that it cannot predict makes it unable to answer the whole request.
    """
    contexts = [cells.contexts[i] if i >= 0 else "" for i in np.unique(request.context)]
    if model._reasons_of_contexts(contexts):
        return np.zeros(len(request.names), dtype=bool)
    asked = np.unique(request.perturbation)
    lost = model.cannot_predict([request.names[i] for i in asked], adata=cells)
    found = np.zeros(len(request.names), dtype=bool)
    found[asked] = [request.names[i] not in lost for i in asked]
    return found


def sample(population: Ints) -> Ints:
    """Return the rows over which mean responses are taken, from 64 to 256 of each population.

    Rows of a small population repeat, so that what a member draws at random averages out. Those of
    a large one are spread evenly.

    Parameters
    ----------
    population
        (n,) code of the population of every row.
    """
    several = []
    for rows in members(population):
        n = min(max(len(rows), FEWEST), MOST)
        few = len(rows) > n
        several.append(rows[(np.arange(n) * len(rows)) // n] if few else np.resize(rows, n))
    return np.sort(np.concatenate(several))


def responses(
    model: Any, request: PredictionRequest, cells: Population, population: Ints, seed: int
) -> Floats:
    """Return the mean response that a model predicts for every population of a request.

    Parameters
    ----------
    model
        A trained model. What a baseline adds is taken before values are cut at 0, that of a network
        from its finished cells. An ensemble knows its mean responses.
    request
        Cells, sorted by condition.
    cells
        Their population.
    population
        (n,) code of the population of every cell: 0, 1, 2, ...
    seed
        Seed of what the model draws.

    Returns
    -------
    (n_populations, n_features) mean of the predicted cells minus that of their control cells; NaN
    where the model cannot predict the perturbation.

    Raises
    ------
    ValueError
        If the model predicts NaN or infinite values.
    """
    if kind_of(type(model)) == "ensemble":
        own: Floats = model._responses(request, cells, population, seed)
        return own
    rows = sample(population)
    can = able(model, request, cells)[request.perturbation[rows]]
    found = np.full((int(population.max()) + 1, len(cells.features)), np.nan)
    rows = rows[can]
    if not len(rows):
        return found
    part, rng = request.take(rows), np.random.default_rng(seed)
    if kind_of(type(model)) == "baseline":
        made = model._generate(part, cells, rng)
        made = densify(made.values if isinstance(made, Moved) else made)
    else:
        made = densify(model._finished(part, cells, rng, {}))
    start = cells.values(part.source)
    for own in members(population[rows]):
        mean = made[own].mean(axis=0, dtype=np.float64) - start[own].mean(axis=0, dtype=np.float64)
        found[population[rows[own[0]]]] = mean
        if not np.isfinite(mean).all():
            msg = f"predicts NaN or infinite values for {part.names[part.perturbation[own[0]]]!r}"
            raise ValueError(msg)
    return found
