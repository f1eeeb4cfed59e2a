"""Predicted log-normalised cells as integer counts, with the libraries of their control cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..._logging import logger
from ...core._codes import grouped, members
from ...core._order import stable_order
from ..post._counts import as_counts
from ..post._spread import CountSums, dispersions
from ._depth_changes import DepthChanges, depth_changes
from ._libraries import Libraries, normalised

if TYPE_CHECKING:
    from ..._typing import Bools, Floats, Ints, Matrix
    from ...core._population import Population
    from ._requests import PredictionRequest
    from ._vocabulary import Vocabulary

MOST_CELLS = 300  # of a population, from which its spread and its library size are learned
MOST_GROUPS = 64  # populations from which spread is learned
TOGETHER = 20_000  # cells that are made counts together


@dataclass(frozen=True, eq=False)
class CountLaw:
    """What training cells say about counts.

    Attributes
    ----------
    dispersion
        (n_features,) dispersion of every gene.
    changes
        Changes of library size.
    """

    dispersion: Floats
    changes: DepthChanges


def learn_law(cells: Population, vocabulary: Vocabulary, *, trained: bool) -> CountLaw:
    """Learn spread and library sizes from training cells.

    At most 300 cells are read of a population: one perturbation, context and dose, or the controls
    of one context and batch.

    Parameters
    ----------
    cells
        The screen.
    vocabulary
        What the model knows. Perturbations and contexts that it was not trained on are left out.
    trained
        Whether perturbed cells may be read. If not, control cells alone are.

    Raises
    ------
    ValueError
        If there are no library sizes, or they do not fit the values.
    """
    libraries = Libraries.of(cells)
    control, perturbed = _usable(cells, vocabulary, trained=trained)
    rows = _sampled(cells, control, perturbed)
    is_perturbed = perturbed[rows]
    population = grouped(
        perturbation=np.where(is_perturbed, cells.labels.code[rows], -1),
        context=cells.context[rows],
        dose=np.where(is_perturbed, cells.dose[rows], np.nan),
    )[0]
    unit, sums = _read(libraries, rows, _spread_over(population))
    return CountLaw(dispersions(sums), depth_changes(cells, rows, unit, is_perturbed))


def _usable(cells: Population, vocabulary: Vocabulary, *, trained: bool) -> tuple[Bools, Bools]:
    """Return (n_obs,) which controls and which perturbed cells spread is learned from."""
    control = cells.train_control if cells.train_control.any() else cells.labels.is_control
    if not trained:
        return control, np.zeros(len(control), dtype=bool)
    familiar = np.append(vocabulary.familiar(cells.names), False)
    contexts = np.append([name in vocabulary.contexts for name in cells.contexts], False)
    return control, cells.train & familiar[cells.labels.code] & contexts[cells.context]


def _sampled(cells: Population, control: Bools, perturbed: Bools) -> Ints:
    """Return sorted rows, at most `MOST_CELLS` of each population, evenly spaced by name."""
    order = stable_order(cells.adata)
    chosen = []
    for mask, columns in (
        (control, {"context": cells.context, "batch": cells.batch}),
        (
            perturbed,
            {"code": cells.labels.code, "context": cells.context, "dose": cells.dose},
        ),
    ):
        rows = order[mask[order]]
        for at in members(grouped(**{name: own[rows] for name, own in columns.items()})[0]):
            few = np.linspace(0, len(at) - 1, min(len(at), MOST_CELLS)).astype(np.int64)
            chosen.append(rows[at[few]])
    return np.sort(np.concatenate(chosen))


def _spread_over(population: Ints) -> Ints:
    """Return (n,) the populations that spread is learned from, numbered; -1 for the others.

    These are the largest; of those of equal size the first.
    """
    size = np.bincount(population)
    largest = np.argsort(-size, kind="stable")[:MOST_GROUPS]
    number = np.full(len(size), -1)
    number[np.sort(largest)] = np.arange(len(largest))
    return number[population]


def _read(libraries: Libraries, rows: Ints, population: Ints) -> tuple[Floats, CountSums]:
    """Return the unit of every cell, and sums of the counts of the populations."""
    k, d = int(population.max(initial=-1)) + 1, libraries.cells.rows.shape[1]
    counts, squares, by_library = (np.zeros((k, d)) for _ in range(3))
    unit = np.empty(len(rows))
    step = max(libraries.cells.rows.batch, 256)
    for start in range(0, len(rows), step):
        here = slice(start, start + step)
        measured = libraries.measured(rows[here])
        unit[here] = measured.unit
        at = np.flatnonzero(population[here] >= 0)
        own = measured.counts[at].astype(np.float64)
        one = (np.ones(len(at)), (population[here][at], np.arange(len(at))))
        place = sparse.csr_matrix(one, shape=(k, len(at)))
        counts += (place @ own).toarray()
        squares += (place @ own.multiply(own).tocsr()).toarray()
        by_library += (place @ sparse.diags(measured.unit[at]) @ own).toarray()
    told = population >= 0
    own_units, of = unit[told], population[told]
    sums = CountSums(
        n=np.bincount(of, minlength=k),
        counts=counts,
        squares=squares,
        by_library=by_library,
        library=np.bincount(of, own_units, k),
        library_squares=np.bincount(of, own_units**2, k),
    )
    return unit, sums


@dataclass(frozen=True, eq=False)
class Counting:
    """Makes counts of the values that answer one request.

    Attributes
    ----------
    request
        The request.
    cells
        Population of the cells that it starts from.
    law
        Spread, and changes of library size.
    unit
        (n,) molecules in one unit of the normalised values of each predicted cell.
    """

    request: PredictionRequest
    cells: Population
    law: CountLaw
    unit: Floats

    @classmethod
    def of(cls, request: PredictionRequest, cells: Population, law: CountLaw) -> Counting:
        """Read the library sizes of the cells that a request starts from.

        Raises
        ------
        ValueError
            If there are none, or they do not fit the values.
        """
        source, back = np.unique(request.source, return_inverse=True)
        unit = Libraries.of(cells).measured(source).unit[back]
        if len(unit) and not (unit > 0).any():
            msg = "no cell that predictions start from has any counts: there are no library sizes"
            raise ValueError(msg)
        change = law.changes.of(request.names, request.perturbation, request.dose)
        return cls(request, cells, law, unit * np.exp(change))

    def __call__(self, values: Matrix, rng: np.random.Generator) -> sparse.csr_matrix:
        """Return int32 counts; the sum of a gene in a population is right to one molecule.

        Parameters
        ----------
        values
            (n, n_features) predicted log-normalised values.
        rng
            Generator.
        """
        lowest = float(values.min()) if min(values.shape) else 0.0
        if lowest < -1e-6:
            msg = (
                f"the model predicts values below 0 ({lowest:.3g}), which stand for no counts: "
                "predict without counts=True"
            )
            raise ValueError(msg)
        parts, places = [], []
        for own in members(self.request.populations()):
            n_parts = -(-len(own) // TOGETHER)
            for rows in np.array_split(own, n_parts):
                rates = sparse.csr_matrix(normalised(values[rows], self.cells))
                unit = self.unit[rows]
                rates.data = np.maximum(rates.data, 0) * np.repeat(unit, np.diff(rates.indptr))
                made = as_counts(rates, library=unit, dispersion=self.law.dispersion, rng=rng)
                parts.append(made)
                places.append(rows)
        if not parts:
            return sparse.csr_matrix(values.shape, dtype=np.int32)
        return sparse.vstack(parts, format="csr")[np.argsort(np.concatenate(places))]


def tell_unlearned(why: str) -> None:
    """Log that the spread of counts comes from control cells alone, and why."""
    logger.warning(
        "the model was %s: its counts have the spread of the control cells that it is given, and "
        "perturbations do not change library sizes",
        why,
    )
