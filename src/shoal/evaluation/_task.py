"""The task of an evaluation: held-out conditions, and the real cells they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from .._validate import some
from ..core._controls import shuffled
from ..core._gene_names import GeneNames, gene_names, tell_symbols
from ..core._matrix import as_rows
from ..core._population import Population, check_scale, read_once
from ..core._storage import working_dtype
from ..core._targets import no_target
from ..metrics._cells import Cells
from ..metrics._comparison import Populations, Truth
from ..metrics._mean_ranks import enough
from ..metrics._means import members
from ._axes import axes_of, axis_cells, read_by_axes
from ._baselines import read_by_baselines
from ._condition_means import ConditionMeans
from ._conditions import (
    condition_names,
    described,
    draw_from_others,
    hold_out,
    rows_by_name,
    scored_cells,
    sides_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Bools, Ints, Matrix
    from ..core._matrix import Rows
    from ._conditions import HeldOut

CONTROLS = 2_000  # most control cells of a context that populations and genes are compared with


@dataclass(frozen=True, eq=False)
class EvaluationTask:
    """What is predicted, and what the predictions are compared with.

    Attributes
    ----------
    cells
        The screen.
    truth
        The real cells: the second half of every condition, or all of them.
    predicted
        Rows of each condition whose predictions are scored: its first half, or all of them.
    real
        Rows of each condition that predictions are compared with.
    conditions
        Index condition; columns perturbation, context, dose, split, n_real, n_predicted.
    skipped
        Conditions that are not scored, and why.
    halves
        Whether the conditions are cut in two halves.
    controls
        Rows of the real control cells of each context that predictions are compared with.
    others
        Rows of cells of other perturbations, for each condition: its negative control. Empty
        without halves.
    copies
        Rows of control cells of the same contexts and batches, for each condition.
    means
        Mean cells of all conditions of the screen.
    codes
        (P,) numbers of the conditions among all of the screen.
    seed
        Seed of everything that is drawn.
    draw
        Number of the draw of halves and controls, from 0.
    """

    cells: Population
    truth: Truth
    predicted: tuple[Ints, ...]
    real: tuple[Ints, ...]
    conditions: pd.DataFrame
    skipped: dict[str, str]
    halves: bool
    controls: tuple[Ints, ...]
    others: tuple[Ints, ...]
    copies: tuple[Ints, ...]
    means: ConditionMeans
    codes: Ints
    seed: int
    draw: int = 0

    def populations(self, rows: Ints, values: Matrix) -> Populations:
        """Return predicted cells as populations.

        Parameters
        ----------
        rows
            (n,) sorted rows that were predicted, all of `predicted` among them.
        values
            (n, n_features) their predictions, dense or CSR.
        """
        places = tuple(np.searchsorted(rows, own) for own in self.predicted)
        return Populations(self.truth, Cells(values, places))


def take(rows: Rows, index: Sequence[Ints]) -> Sequence[Matrix]:
    """Return populations at some rows, in any order and with repeats.

    Rows that are in memory are not copied. Others are read from the file.
    """
    if rows.in_memory and rows.matrix.dtype == working_dtype(rows.matrix.dtype):
        matrix, columns = rows.matrix, rows.columns
        source = matrix if columns is None else as_rows(matrix[:, columns]).matrix
        return Cells(source, tuple(index))
    if rows.kept is not None:
        places = [rows.kept.places(own) for own in index]
        known = tuple(place for place in places if place is not None)
        if len(known) == len(places):
            return Cells(rows.kept.values, known)
    unique = [np.unique(own, return_inverse=True) for own in index]
    return tuple(rows.take(own)[back] for own, back in unique)


def evaluation_tasks(
    cells: Population,
    *,
    split: str | None,
    halves: bool,
    n_comps: int,
    min_cells: int,
    seed: int,
    n_draws: int = 1,
    baselines: Sequence[str] = (),
    without: Mapping[str, str] = MappingProxyType({}),
) -> tuple[EvaluationTask, ...]:
    """Choose the conditions that are scored, and read what they are compared with.

    All cells are chosen before any value is looked at. Then the matrix is read once. The tasks have
    the same conditions, means and axes; halves and controls are drawn anew for each.

    Parameters
    ----------
    cells
        The screen.
    split
        Value of ``obs["split"]`` that is scored, ``None`` for all perturbed cells.
    halves
        Whether conditions are cut in two halves. Without, as other packages have it: all cells of
        a condition are predicted and real, all control cells count, and only a gene that has the
        very name of a perturbation is its target.
    n_comps
        Principal components.
    min_cells
        Cells below which a condition is skipped.
    seed
        Seed of everything that is drawn.
    n_draws
        Number of tasks. The first one is the same whatever their number.
    baselines
        Names of baselines that will be fitted. The cells that they keep are read with the others.
    without
        Conditions that have no prediction, and why. Nobody is scored on them.

    Raises
    ------
    ValueError
        If nothing can be scored, the real values are raw counts, not logged, missing or all zero,
        or the training cells do not vary.
    """
    scored, by_name = scored_cells(cells, split), rows_by_name(cells)
    training = (
        cells.train if (cells.split == 2).any() else cells.perturbed & ~scored
    ) | cells.train_control
    if not training.any():  # all is held out, the controls too: these are never scored
        training = cells.labels.is_control
    known = ConditionMeans(cells, training)
    names = condition_names(cells, known.keys)
    streams = [_streams(seed, at) for at in range(n_draws)]
    draws = [
        _draw(
            cells,
            known,
            names,
            by_name,
            candidates=by_name[scored[by_name]],
            min_cells=min_cells,
            halves=halves,
            without=without,
            streams=three,
        )
        for three in streams
    ]
    axis_rows = axis_cells(
        by_name[training[by_name]], seed=seed, rng=streams[0][0] if halves else None
    )
    wanted = [own for one in draws for own in one.rows]
    wanted += [read_by_axes(axis_rows, seed=seed), read_by_baselines(cells, baselines)]
    cells = read_once(cells, np.concatenate(wanted))
    check_scale(cells, layer=cells.layer, use_rep=None, what="an evaluation")

    means = ConditionMeans(cells, training)
    axes, bandwidth = axes_of(cells.rows, axis_rows, n_comps=n_comps, seed=seed)
    codes, group = draws[0].held.codes, draws[0].group
    perturbation, context = (
        known.keys[name].to_numpy()[codes] for name in ("perturbation", "context")
    )
    mask = _counting_genes(cells, perturbation, with_parts=halves)
    if halves:
        _tell_small_panel(mask, [(*cells.contexts, "")[where] for where in context])
    first = Truth(
        names=tuple(names[code] for code in codes),
        owner=np.unique(perturbation, return_inverse=True)[1],
        group=group,
        cells=(),
        controls=(),
        reference=np.stack([means.reference(code) for code in codes]),
        mask=mask,
        axes=axes,
        bandwidth=bandwidth,
        parts=means.parts(codes),
    )
    return tuple(
        EvaluationTask(
            cells=cells,
            truth=replace(
                first,
                cells=take(cells.rows, one.held.real),
                controls=take(cells.rows, [np.sort(own) for own in one.controls]),
            ),
            predicted=one.held.predicted,
            real=one.held.real,
            conditions=_table(cells, known, one.held, first.names),
            skipped=one.held.skipped,
            halves=halves,
            controls=one.controls,
            others=one.others,
            copies=one.copies,
            means=means,
            codes=codes,
            seed=seed,
            draw=at,
        )
        for at, one in enumerate(draws)
    )


def rows_predicted(tasks: Sequence[EvaluationTask]) -> Ints:
    """Return the sorted rows whose predictions are scored in any of some tasks."""
    return np.unique(np.concatenate([own for task in tasks for own in task.predicted]))


@dataclass(frozen=True)
class _Draw:
    """Rows that are drawn for one task: halves, controls and the negative control."""

    held: HeldOut
    group: Ints
    controls: tuple[Ints, ...]
    others: tuple[Ints, ...]
    copies: tuple[Ints, ...]

    @property
    def rows(self) -> list[Ints]:
        """All rows whose values are needed."""
        held = self.held
        return [*held.predicted, *held.real, *self.controls, *self.others, *self.copies]


def _streams(seed: int, at: int) -> list[np.random.Generator]:
    """Return the generators of a draw: of halves and controls, others, and control copies."""
    more = [at] if at else []
    return [np.random.default_rng([seed, i, *more]) for i in range(3)]


def _draw(
    cells: Population,
    known: ConditionMeans,
    names: Sequence[str],
    by_name: Ints,
    *,
    candidates: Ints,
    min_cells: int,
    halves: bool,
    without: Mapping[str, str],
    streams: Sequence[np.random.Generator],
) -> _Draw:
    """Draw the rows of one task."""
    rng, of_others, of_copies = streams
    held = hold_out(
        known.condition,
        names,
        candidates=candidates,
        min_cells=min_cells,
        halves=halves,
        rng=rng,
        without=without,
    )
    perturbation, context = (
        known.keys[name].to_numpy()[held.codes] for name in ("perturbation", "context")
    )
    contexts, group = np.unique(context, return_inverse=True)
    controls = [known.controls_of(int(where)) for where in contexts]
    if halves:
        controls = [shuffled(own, min(len(own), CONTROLS), rng)[0] for own in controls]
    others: tuple[Ints, ...] = ()
    if halves:
        others = draw_from_others(
            cells,
            by_name,
            perturbation=perturbation,
            context=context,
            sizes=[len(own) for own in held.predicted],
            fallback=[controls[here] for here in group],
            rng=of_others,
        )
    copies = _control_copies(cells, held.predicted, of_copies)
    return _Draw(held, group, tuple(controls), others, copies)


def _control_copies(
    cells: Population, predicted: Sequence[Ints], rng: np.random.Generator
) -> tuple[Ints, ...]:
    """Draw control cells of the same contexts and batches, as many as are predicted."""
    draw = cells.controls.draw
    return tuple(draw(cells.context[own], cells.batch[own], rng)[0] for own in predicted)


def _counting_genes(cells: Population, perturbation: Ints, *, with_parts: bool) -> Bools:
    """Return (P, n_features) which genes count: all but the targets of the perturbation."""
    column, names = {name: i for i, name in enumerate(cells.features)}, cells.names
    mask = np.ones((len(perturbation), len(column)), dtype=bool)
    own = [names[code] for code in perturbation]
    genes = GeneNames(cells.features, cells.features)
    if with_parts:
        genes = gene_names(cells.adata, cells.screen)
    for row, name in enumerate(own):
        parts = cells.screen.parts(name)
        targets = parts if with_parts or len(parts) == 1 else ()
        mask[row, [column[gene] for gene in genes.of(targets)]] = False
    if with_parts and mask.all():
        logger.warning(
            "metrics leave out the genes that are perturbed, and here none is known: %s",
            no_target(genes, sorted(set(own))),
        )
    elif with_parts:
        lost = sorted({name for name in own if not genes.of(cells.screen.parts(name))})
        if lost:
            logger.info(
                "metrics leave out the genes that are perturbed; of the perturbations, %d are no "
                "gene of the data: %s",
                *(len(lost), some(lost)),
            )
    tell_symbols(genes)
    return mask


def _tell_small_panel(mask: Bools, context: Sequence[str]) -> None:
    """Say in which contexts the targets of the panel are too many to be left out of ranks."""
    left = {}
    for rows in members(np.asarray(context), len(mask)):
        genes = np.asarray(mask[rows].all(axis=0))
        if len(rows) > 1 and not enough(genes):
            left[context[rows[0]]] = int(genes.sum())
    if left:
        logger.warning(
            "the targets of all perturbations that are compared leave %s of %d genes: ranks among "
            "conditions (pds, nir, centroid_accuracy) leave out a perturbation's own target alone, "
            "and can be won by what is predicted for the targets of the others. Read other "
            "families of metrics, or measure more genes",
            ", ".join(f"{n} ({where})" if where else str(n) for where, n in left.items()),
            mask.shape[1],
        )


def _table(
    cells: Population, known: ConditionMeans, held: HeldOut, names: Sequence[str]
) -> pd.DataFrame:
    """Return the table of the conditions."""
    table = described(cells, known.keys.iloc[held.codes]).assign(
        split=sides_in_words(cells, known.condition, held.codes),
        n_real=[len(own) for own in held.real],
        n_predicted=[len(own) for own in held.predicted],
    )
    return table.set_axis(pd.Index(names, name="condition"))
