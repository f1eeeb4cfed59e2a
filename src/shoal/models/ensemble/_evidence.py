"""What inner folds say: responses that members predicted without having seen them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ...core._codes import grouped, members
from ...core._inner_folds import TEST, asks_alike, inner_folds, kind_of_split
from ...core._order import stable_order
from ...metrics._probability import shift_pvalues
from ..base._kinds import NEW_CONTEXT, Measured
from ..base._mean_responses import MOST
from ..base._requests import by_condition, request_like
from ..baselines._deltas import measured_of
from ..baselines._noise import spread_of
from ..space._fit_cells import axes_of_training, training_block
from ._answers import Left, answers
from ._cells import InnerCells, compared
from ._network_folds import network_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population
    from ...core._split_request import Request
    from ._files import Finished
    from ._members import Member

N_COMPS = 50  # principal axes of training cells, along which responses are compared
N_FOLDS = 4  # where there are as many units
LEAST_CELLS = 3  # conditions of fewer cells, or wells, say too little


@dataclass(frozen=True, eq=False)
class Evidence:
    """C conditions that were left out of training once, and what K members predicted of them.

    Attributes
    ----------
    members
        Names of the members.
    names
        Perturbation of each condition.
    kind
        Kind of question that each was in its fold.
    unit
        What each was left out with: its perturbation, or its context where that was new.
    fold
        (C,) fold.
    real
        (C, p) measured responses along principal axes of the training cells.
    noise
        (C,) variance of the sampling noise of these, summed over the axes, if all training cells
        vary around one mean: by which conditions of few cells count less.
    p_value
        (C,) p-value that the condition does not respond.
    predicted
        (C, K, p) predicted responses; NaN where a member could not answer.
    genes, measured
        (C, K, d) and (C, d) predicted and measured responses of all features, in single precision.
    cell
        (d,) variance of a training cell around the mean of its condition.
    n, control
        (C,) cells, and variance of the sampling noise of the controls in units of that of a cell.
    refused
        Members that could not be trained or that failed, and why.
    unlike
        Why no weights can be fitted on these conditions; ``""`` if they can.
    asked
        (C,) whether networks were asked too: they are not trained on all folds.
    cells
        Cells of the conditions, as members made them; ``None`` if none were kept.
    """

    members: tuple[str, ...]
    names: tuple[str, ...]
    kind: tuple[str, ...]
    unit: tuple[str, ...]
    fold: Ints
    real: Floats
    noise: Floats
    p_value: Floats
    predicted: Floats
    genes: NDArray[np.float32]
    measured: NDArray[np.float32]
    cell: Floats
    n: Ints
    control: Floats
    refused: dict[str, str]
    asked: Bools
    unlike: str = ""
    cells: InnerCells | None = None

    def without(self, name: str) -> Self:
        """Return what the other members predicted."""
        cells = None if self.cells is None else self.cells.without(name)
        others = [i for i, member in enumerate(self.members) if member != name]
        kept = tuple(self.members[i] for i in others)
        arrays = {"predicted": self.predicted[:, others], "genes": self.genes[:, others]}
        return replace(self, members=kept, cells=cells, **arrays)


def folds_of(
    cells: Population, *, kind: Request | None, n_folds: int | None, seed: int
) -> tuple[tuple[Ints, ...], str]:
    """Return the (n_obs,) sides of every cell in each inner fold, or why there are none.

    Parameters
    ----------
    cells
        The screen.
    kind
        What is left out; what the split of the screen holds out if ``None``.
    n_folds
        Number of folds; 4 if ``None``, or as many as there are units.
    seed
        Deals the units.

    Raises
    ------
    ValueError
        If a number of folds is asked for and cannot be made.
    """
    kind = kind_of_split(cells) if kind is None else kind
    if kind is None:
        return (), (
            "nothing says what questions it will be asked: call sh.pp.split(adata, by=...) first, "
            "or pass config={'by': 'perturbation'}, say"
        )
    n_measured = len(Measured.of(cells))
    if n_measured < N_FOLDS:
        conditions = "condition" if n_measured == 1 else "conditions"
        return (), f"training has {n_measured} {conditions}, and inner folds take {N_FOLDS}"
    try:
        folds = inner_folds(cells, n_folds, seed=seed, kind=kind, most=N_FOLDS)
        if len(folds) < 2:
            return (), f"training has too few units of by={kind.by!r} to leave some out"
        able = tuple(side for side in folds if _tells(cells, side))
        if len(able) < 2:
            msg = (
                f"hardly any condition that training could leave out has {LEAST_CELLS} cells, "
                "which say what its response is"
            )
            raise ValueError(msg)
    except ValueError as err:
        if n_folds is not None:
            raise
        return (), str(err)
    return able, ""


def unlike(cells: Population, kind: Request | None) -> str:
    """Return why inner folds are too unlike the test to fit weights on them; ``""`` if not."""
    kind = kind_of_split(cells) if kind is None else kind
    if kind is None or asks_alike(cells, kind):
        return ""
    return (
        "the test asks beyond the levels of training, which has too few to leave as many out of "
        "some perturbations"
    )


def _tells(cells: Population, side: Ints) -> bool:
    """Whether some condition that a fold leaves out has enough cells."""
    out = np.flatnonzero(cells.perturbed & (side == TEST))
    condition, _ = grouped(
        perturbation=cells.labels.code[out], context=cells.context[out], dose=cells.dose[out]
    )
    return bool((np.bincount(condition) >= LEAST_CELLS).any())


def evidence_of(
    cells: Population,
    candidates: Sequence[Member],
    folds: Sequence[Ints],
    *,
    embedding: str | pd.DataFrame | None,
    seed: int,
    finished: Finished,
    unlike: str = "",
    whole: bool = False,
    on_folds: int | None = None,
    n_jobs: int = 1,
    desc: str = "ensemble: inner folds",
) -> Evidence:
    """Train the members on the folds, and predict what these leave out.

    Parameters
    ----------
    cells
        The screen.
    candidates
        Models to train.
    folds
        Sides of every cell in each fold.
    embedding
        Vectors of the perturbations.
    seed
        Seed of all trainings and predictions.
    finished
        What an interrupted training has finished; is added to.
    unlike
        Why no weights can be fitted on these folds.
    whole
        Whether cells are kept of members that change more than means.
    on_folds
        Least number of folds on which networks are trained, of those of use, see `network_folds`;
        all folds if ``None``.
    n_jobs
        Processes at a time, see `answers`.
    desc
        What the progress bar says.
    """
    rng = np.random.default_rng([seed, 0])
    axes = axes_of_training(cells, N_COMPS, rng)
    train = np.flatnonzero(cells.train | cells.train_control)
    variance = float((training_block(cells.rows, train, rng) @ axes).var(axis=0).sum())
    cell, spread = spread_of(cells, axes)
    left = [_left(cells.with_split(side), axes, seed, whole=whole) for side in folds]
    kinds, units = _questions(left, cells)
    fold = np.repeat(np.arange(len(left)), [len(one.names) for one in left])
    trains = np.ones(len(left), dtype=bool)
    if on_folds is not None:
        trains = network_folds(fold, kinds, units, fitted=not unlike, least=on_folds)
    left = [replace(one, networks=bool(own)) for one, own in zip(left, trains, strict=True)]
    table, refused = answers(
        left,
        candidates,
        embedding=embedding,
        seed=seed,
        finished=finished,
        n_jobs=n_jobs,
        desc=desc,
    )
    able = [member.name for member in candidates if member.name not in refused]
    genes = np.full((len(fold), len(able), len(cells.features)), np.nan, dtype=np.float32)
    for (i, name), own in table.items():
        if name in able:
            genes[fold == i, able.index(name)] = own.responses
    carry = [member.name for member in candidates if member.carries and member.name in able]
    made = {name: tuple(table.get((i, name)) for i in range(len(left))) for name in carry}
    real = np.concatenate([one.real for one in left])
    factor = np.concatenate([1 / one.n + one.control for one in left])
    return Evidence(
        members=tuple(able),
        names=tuple(name for one in left for name in one.names),
        kind=tuple(kinds),
        unit=tuple(units),
        fold=fold,
        real=real,
        noise=variance / np.concatenate([one.n for one in left]),
        p_value=shift_pvalues(real, spread, factor),
        predicted=genes.astype(np.float64) @ axes,
        genes=genes,
        measured=np.concatenate([one.measured for one in left]),
        cell=cell,
        n=np.concatenate([one.n for one in left]),
        control=np.concatenate([one.control for one in left]),
        refused=refused,
        asked=trains[fold],
        unlike=unlike,
        cells=InnerCells(tuple(left), made) if whole else None,
    )


def _questions(left: Sequence[Left], cells: Population) -> tuple[list[str], list[str]]:
    """Return the kind of question that each condition was in its fold, and its unit."""
    kinds, units = [], []
    for one in left:
        measured = Measured.of(one.cells)
        for name, context, dose in zip(one.names, one.contexts, one.doses, strict=True):
            kinds.append(measured.kind(name, context, float(dose), cells.screen))
            units.append(context if kinds[-1] == NEW_CONTEXT else name)
    return kinds, units


def _left(cells: Population, axes: Floats, seed: int, *, whole: bool) -> Left:
    """Measure the conditions that a fold leaves out, and draw cells that are predicted of them."""
    out = cells.perturbed & (cells.split == TEST)
    deltas = measured_of(cells, out)
    at = np.flatnonzero(out)
    condition = np.full(len(out), -1)
    condition[at], _ = grouped(
        perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
    )
    enough = np.flatnonzero(deltas.n >= LEAST_CELLS)
    rng, order = np.random.default_rng([seed, 1]), stable_order(cells.adata)
    order = order[out[order] & np.isin(condition[order], enough)]
    chosen = [order[own] for own in members(condition[order])]
    few = [own if len(own) <= MOST else rng.choice(own, MOST, replace=False) for own in chosen]
    rows = by_condition(cells, np.concatenate([np.empty(0, dtype=np.int64), *few]))
    source, _ = cells.controls.draw(cells.context[rows], cells.batch[rows], rng)
    request = request_like(cells, rows, source)
    population = request.populations()
    contexts = np.array([*cells.contexts, ""])
    return Left(
        cells=cells,
        names=tuple(str(deltas.names[i]) for i in deltas.perturbation[enough]),
        contexts=tuple(contexts[deltas.context[enough]].tolist()),
        doses=deltas.dose[enough],
        n=deltas.n[enough],
        control=(deltas.matched**2 @ deltas.n_matched)[enough],
        measured=deltas.delta[enough].astype(np.float32),
        real=deltas.delta[enough] @ axes,
        request=request,
        population=population,
        rows=rows,
        shown=compared(population) if whole else np.empty(0, dtype=np.int64),
        axes=axes,
    )
