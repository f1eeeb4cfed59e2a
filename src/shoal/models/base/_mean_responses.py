"""Cells that a model makes of populations, and what their means differ from controls by."""

from __future__ import annotations

from dataclasses import dataclass
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


def sample(population: Ints, *, most: int | None = MOST) -> Ints:
    """Return the rows over which mean responses are taken, from 64 to 256 of each population.

    Rows of a small population repeat, so that what a member draws at random averages out. Those of
    a large one are spread evenly.

    Parameters
    ----------
    population
        (n,) code of the population of every row.
    most
        Most rows of a population; ``None`` for all rows, each once.
    """
    several = []
    for rows in members(population):
        n = len(rows) if most is None else max(min(len(rows), most), FEWEST)
        few = len(rows) > n
        several.append(rows[(np.arange(n) * len(rows)) // n] if few else np.resize(rows, n))
    return np.sort(np.concatenate(several))


@dataclass(frozen=True, eq=False)
class Made:
    """Cells that a model made of some rows of a request.

    Attributes
    ----------
    rows
        (m,) the rows, sorted; those of a small population more than once.
    values
        (m, n_features) cells. Those of a baseline are as they are before values are cut at 0,
        unless they are finished, as those of a network are.
    """

    rows: Ints
    values: Floats

    def responses(self, request: PredictionRequest, cells: Population, population: Ints) -> Floats:
        """Return the (n_populations, n_features) means of the cells minus those of their controls.

        They are NaN where no cell was made.

        Raises
        ------
        ValueError
            If a cell has NaN or infinite values.
        """
        found = np.full((int(population.max()) + 1, len(cells.features)), np.nan)
        if not len(self.rows):
            return found
        part, made = request.take(self.rows), self.values
        start = cells.values(part.source)
        for own in members(population[self.rows]):
            mean = made[own].mean(axis=0, dtype=np.float64)
            mean -= start[own].mean(axis=0, dtype=np.float64)
            found[population[self.rows[own[0]]]] = mean
            if not np.isfinite(mean).all():
                name = part.names[part.perturbation[own[0]]]
                msg = f"predicts NaN or infinite values for {name!r}"
                raise ValueError(msg)
        return found

    def of_rows(self, n: int) -> Floats:
        """Return one cell for each of n rows, (n, n_features); NaN where none was made."""
        rows, first = np.unique(self.rows, return_index=True)
        found = np.full((n, self.values.shape[1]), np.nan, dtype=self.values.dtype)
        found[rows] = self.values[first]
        return found


def made(
    model: Any,
    request: PredictionRequest,
    cells: Population,
    population: Ints,
    seed: int,
    *,
    most: int | None = MOST,
    finished: bool = False,
) -> Made:
    """Return cells that a model makes of every population of a request that it can predict.

    Parameters
    ----------
    model
        A trained model, no ensemble.
    request
        Cells, sorted by condition.
    cells
        Their population.
    population
        (n,) code of the population of every cell: 0, 1, 2, ...
    seed
        Seed of what the model draws.
    most
        Most cells of a population; ``None`` for one for each row.
    finished
        Whether the cells of a baseline are finished too.
    """
    rows = sample(population, most=most)
    rows = rows[able(model, request, cells)[request.perturbation[rows]]]
    if not len(rows):
        return Made(rows, np.empty((0, len(cells.features)), dtype=np.float32))
    part, rng = request.take(rows), np.random.default_rng(seed)
    if kind_of(type(model)) == "baseline" and not finished:
        own = model._generate(part, cells, rng)
        return Made(rows, densify(own.values if isinstance(own, Moved) else own))
    return Made(rows, densify(model._finished(part, cells, rng, {})))


def responses(
    model: Any, request: PredictionRequest, cells: Population, population: Ints, seed: int
) -> Floats:
    """Return the mean response that a model predicts for every population of a request.

    Parameters
    ----------
    model
        A trained model. An ensemble knows its mean responses, and those of others are taken over
        cells that they make.
    request, cells, population, seed
        As for `made`.

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
    return made(model, request, cells, population, seed).responses(request, cells, population)
