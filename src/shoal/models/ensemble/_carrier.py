"""Whose cells carry the mean response: those of the controls, or of a member that changes more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..base._mean_responses import MOST, Made, made
from ..base._requests import enlarged
from ..post._postprocessing import Moved
from ._cells import MIXED, RECENTRED
from ._rules import LEAST_UNITS
from ._stack import gain_of
from ._weights import TOGETHER, Question

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ..base._requests import PredictionRequest
    from ..post._postprocessing import Postprocessing
    from ._evidence import Evidence

CONTROL = "control cells"
SHARE = {RECENTRED: 1.0, MIXED: 0.5}  # of the cells that are the member's
# what another carrier must be nearer by, as several are tried: standard errors, and a share of the
# distance of control cells, which are plainer and made in a moment
ERRORS, NEARER = 2.0, 0.02
NOTHING = (np.nan, np.nan, np.nan)  # energy, gain and its error where nothing is compared
COLUMNS = ("kind", "carrier", "way", "energy", "gain", "standard_error", "chosen")


def carriers_of(
    evidence: Evidence | None,
    members: Sequence[str],
    kinds: Sequence[str],
    *,
    networks: Collection[str] = (),
    post: Postprocessing,
    seed: int,
) -> pd.DataFrame:
    """Return whose cells carry the mean response, for each kind of question.

    Control cells do, unless the cells of a member were nearer to the measured ones of inner
    conditions, by more than two standard errors over at least 8 units, and by 2 %. Weights are
    those of the other folds. All are compared on the same conditions, those that networks were
    asked if there are any. Where a member has no cells of one of them, control cells take their
    place. A member that has cells of fewer than 8 units is not compared.

    Parameters
    ----------
    evidence
        What inner folds say; ``None`` where there were none.
    members
        Names of the members, those of `evidence` in its order.
    kinds
        Kinds of question.
    networks
        Members that are networks.
    post
        What finishes cells that were moved.
    seed
        Seed of what it draws.

    Returns
    -------
    A row for control cells, and for every other carrier that was tried. Columns: ``kind``,
    ``carrier``, ``way`` (``"recentred"`` or ``"mixed"``), ``energy`` (mean energy distance to the
    measured cells of inner conditions), ``gain`` over control cells, its ``standard_error``, and
    whether it was ``chosen``. The numbers are NaN where nothing is compared.
    """
    rows: list[tuple[Any, ...]] = []
    for kind in kinds:
        found = [] if evidence is None else _tried(evidence, members, kind, networks, post, seed)
        found = found or [(CONTROL, "", *NOTHING, True)]
        rows += [(kind, *one) for one in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _tried(
    evidence: Evidence,
    members: Sequence[str],
    kind: str,
    networks: Collection[str],
    post: Postprocessing,
    seed: int,
) -> list[tuple[Any, ...]]:
    """Return the rows of one kind of question; none where nothing can be chosen."""
    own = np.flatnonzero(np.array(evidence.kind) == kind)
    if evidence.cells is None or not evidence.cells.made or not len(own):
        return []
    question = Question(evidence, own, members, kind, networks)
    _, each, note = question.answer()
    if note:  # by rule, or a copy
        return []
    asked = question.asked
    response = question.summed(evidence.genes[own], each)[asked]
    at, energy = evidence.cells.energies(own[asked], response, post=post, seed=seed)
    unit = np.unique(question.unit[asked][at], return_inverse=True)[1]
    if unit.max(initial=-1) + 1 < LEAST_UNITS:
        return []
    several = [(CONTROL, ""), *((name, way) for name in evidence.cells.made for way in SHARE)]
    there = np.isfinite(energy)
    can = np.array([len(np.unique(unit[own])) >= LEAST_UNITS for own in there.T])
    each = np.where(there, energy, energy[:, :1])
    gains = [gain_of(each[:, 0] - one, unit) for one in each.T]
    mean = np.where(can, each.mean(axis=0), np.inf)
    best = int(mean.argmin())
    if not gains[best].mean > max(ERRORS * gains[best].error, NEARER * mean[0]):
        best = 0
    told = zip(mean, gains, can, strict=True)
    said = [(float(m), own.mean, own.error) if ok else NOTHING for m, own, ok in told]
    return [(*several[i], *numbers, i == best) for i, numbers in enumerate(said)]


def others_of(carriers: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return kind of question, name and way of the carriers that are no control cells."""
    chosen = carriers[carriers["chosen"] & (carriers["carrier"] != CONTROL)]
    return list(chosen[["kind", "carrier", "way"]].itertuples(index=False, name=None))


def with_cells(weights: pd.DataFrame, carriers: pd.DataFrame) -> pd.DataFrame:
    """Return the weights with a column ``cells``: the share of the cells that are a member's."""
    share = {(kind, name): SHARE[way] for kind, name, way in others_of(carriers)}
    share |= {(kind, TOGETHER): SHARE[way] for kind, _, way in others_of(carriers)}
    asked = zip(weights["kind"], weights["member"], strict=True)
    return weights.assign(cells=[share.get(one, 0.0) for one in asked])


def cells_of(
    model: Any,
    way: str,
    request: PredictionRequest,
    cells: Population,
    population: Ints,
    control: Floats,
    *,
    post: Postprocessing,
    rng: np.random.Generator,
) -> Floats:
    """Return the finished cells of a member in one of both ways.

    Parameters
    ----------
    model
        The member.
    way
        ``"recentred"``: its cells are moved to the mean of each population. ``"mixed"``: they are
        as they are, and half of them stay away.
    request
        Cells, sorted by condition.
    cells
        Their population.
    population
        (n,) code of the population of every cell: 0, 1, 2, ...
    control
        (n, n_features) finished control cells with the mean response.
    post
        What finishes cells that were moved.
    rng
        What the member draws, and which cells stay away.

    Returns
    -------
    (n, n_features) cells; NaN where the member cannot make any, or they stay away.
    """
    seed = int(rng.integers(2**31))
    least = 1 if way == MIXED else MOST
    whole, codes, own = enlarged(request, cells, population, least, rng)
    found = made(model, whole, cells, codes, seed, most=None, finished=True)
    values = found.of_rows(len(whole))[own]
    if way == MIXED:
        values[rng.random(len(request)) >= SHARE[MIXED]] = np.nan
        return values
    start = cells.values(request.source)
    response = Made(np.arange(len(request)), control).responses(request, cells, population)
    # by means over more cells: few cells around their own mean would be too near to it
    values += (response - found.responses(whole, cells, codes))[population]
    there = np.flatnonzero(np.isfinite(values).all(axis=1))
    moved = Moved(values[there], start[there])
    values[there] = post(moved, population[there], rng)
    return values
