"""What members answer on inner folds: trained one after another, or several at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._logging import logger, progress, quiet, reason
from ..._settings import settings
from ..base._arrays import compact
from ..base._mean_responses import MOST, made
from ..base._registry import model_class, registered
from ..base._requests import enlarged
from ._members import seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints, Matrix
    from ...core._population import Population
    from ..base._requests import PredictionRequest
    from ._files import Finished
    from ._members import Member


@dataclass(frozen=True, eq=False)
class Left:
    """The conditions that one fold leaves out, and the cells that are predicted of them.

    `rows` are the measured cells of the request. Of the `shown` of them whole cells are compared,
    along the `axes`. `networks` says whether networks are trained on the fold too.
    """

    cells: Population
    names: tuple[str, ...]
    contexts: tuple[str, ...]
    doses: Floats
    n: Ints
    control: Floats
    real: Floats
    measured: NDArray[np.float32]
    request: PredictionRequest
    population: Ints
    rows: Ints
    shown: Ints
    axes: Floats
    networks: bool = True

    def asks(self, member: Member) -> bool:
        """Whether a member is trained on the fold."""
        return self.networks or not member.is_network


@dataclass(frozen=True, eq=False)
class Answer:
    """What a member answers to the conditions that a fold leaves out.

    Attributes
    ----------
    responses
        (C, d) mean responses; NaN where it cannot answer.
    cells
        (n, d) finished cells of the shown rows, dense or CSR; none of a member that only adds to
        cells.
    finished
        (C, d) mean responses of its finished cells, of 256 rows or more; NaN where none are shown.
    """

    responses: NDArray[np.float32]
    cells: Matrix
    finished: NDArray[np.float32]


def answers(
    left: Sequence[Left],
    candidates: Sequence[Member],
    *,
    embedding: str | pd.DataFrame | None,
    seed: int,
    finished: Finished,
    n_jobs: int,
    desc: str,
) -> tuple[dict[tuple[int, str], Answer], dict[str, str]]:
    """Train the members on all folds that ask them, and predict what these leave out.

    Parameters
    ----------
    left
        What each fold leaves out.
    candidates
        Models to train.
    embedding
        Vectors of the perturbations.
    seed
        Seed of all trainings and predictions.
    finished
        What an interrupted training has finished; is added to.
    n_jobs
        Processes at a time. The answers do not depend on it.
    desc
        What the progress bar says.

    Returns
    -------
    Fold and name of a member -> its answer, and the members that could not be trained on some fold,
    or that failed, and why.

    Raises
    ------
    ValueError
        If what was finished is of another training.
    """
    table: dict[tuple[int, str], Answer] = {}
    failed: dict[tuple[int, str], str] = {}
    given = {"embedding": embedding, "seed": seed}
    several = (
        _here(left, candidates, finished, **given)
        if n_jobs == 1
        else _elsewhere(left, candidates, finished, n_jobs=n_jobs, **given)
    )
    pairs = _pairs(left, candidates)
    finished.read((fold, member, left[fold].real) for fold, member in pairs)
    for fold, member, found in progress(several, total=len(pairs), desc=desc):
        if isinstance(found, str):
            if member.name not in {name for _, name in failed}:
                logger.warning("%r is left out: %s", member.name, found)
            failed[fold, member.name] = found
        elif found is not None:
            table[fold, member.name] = found
    refused: dict[str, str] = {}
    for fold in range(len(left)):
        for member in candidates:
            if (fold, member.name) in failed:
                refused.setdefault(member.name, failed[fold, member.name])
    return table, refused


def _pairs(left: Sequence[Left], candidates: Sequence[Member]) -> list[tuple[int, Member]]:
    """Return the folds, and the members that are trained on each."""
    return [(i, member) for i, own in enumerate(left) for member in candidates if own.asks(member)]


Found = tuple[int, "Member", "Answer | str | None"]  # text: why there is none


def _here(
    left: Sequence[Left],
    candidates: Sequence[Member],
    finished: Finished,
    **given: Any,
) -> Iterator[Found]:
    """Yield the answers one after another; a member that failed is not asked again."""
    failed: set[str] = set()
    for fold, member in _pairs(left, candidates):
        if member.name in failed:
            yield fold, member, None
            continue
        found: Answer | str | None = _kept(finished, fold, member)
        if found is None:
            found = _trained(member, left[fold], fold, **given)
            found = _keep(finished, fold, member, left[fold], found)
        if isinstance(found, str):
            failed.add(member.name)
        yield fold, member, found


def _elsewhere(
    left: Sequence[Left],
    candidates: Sequence[Member],
    finished: Finished,
    *,
    n_jobs: int,
    **given: Any,
) -> Iterator[Found]:
    """Yield the answers of several processes, as they come."""
    from joblib import Parallel, delayed

    waiting = []
    for fold, member in _pairs(left, candidates):
        found = _kept(finished, fold, member)
        if found is None:
            waiting.append((fold, member))
        else:
            yield fold, member, found

    def task(number: int) -> Any:
        fold, member = waiting[number]
        own = left[fold]
        model = model_class(member.name) if registered(member.name) else member.model
        return delayed(_apart)(number, replace(member, model=model), own, fold, **given)

    pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    for number, found in pool(task(number) for number in range(len(waiting))):
        fold, member = waiting[number]
        yield fold, member, _keep(finished, fold, member, left[fold], found)


def _kept(finished: Finished, fold: int, member: Member) -> Answer | None:
    """Return what was finished before; ``None`` if nothing was."""
    found = finished.get(fold, member)
    return None if found is None else Answer(**found)


def _keep(
    finished: Finished, fold: int, member: Member, own: Left, found: Answer | str
) -> Answer | str:
    """Keep an answer, if it is one, and return it."""
    if not isinstance(found, str):
        finished.put(fold, member, own.real, vars(found))
    return found


def _apart(number: int, *parts: Any, **given: Any) -> tuple[int, Answer | str]:
    """Return the number of a task and its answer; this process shows no progress."""
    settings.progress = False
    return number, _trained(*parts, **given)


def _trained(
    member: Member,
    left: Left,
    fold: int,
    *,
    embedding: str | pd.DataFrame | None,
    seed: int,
) -> Answer | str:
    """Return what a member answers after one fold, or why it does not."""
    train_seed, draw = (seed_of(member.name, seed, fold, i) for i in (0, 1))
    try:
        with quiet():
            model = member.fit(left.cells, embedding=embedding, seed=train_seed)
            asked = left.request, left.cells, left.population
            said = made(model, *asked, draw).responses(*asked).astype(np.float32)
            shows = member.carries and len(left.shown)
            return Answer(said, *(_shown(model, left, draw) if shows else (said[:0], said[:0])))
    except Exception as err:  # noqa: BLE001 (others go on, and it is said which one it was)
        return reason(err)


def _shown(model: Any, left: Left, seed: int) -> tuple[Matrix, Floats]:
    """Return finished cells of the shown rows, and the mean responses of these conditions."""
    conditions = np.unique(left.population[left.shown])
    rows = np.flatnonzero(np.isin(left.population, conditions))
    code = np.searchsorted(conditions, left.population[rows])
    part, rng = left.request.take(rows), np.random.default_rng(seed)
    whole, codes, own = enlarged(part, left.cells, code, MOST, rng)
    found = made(model, whole, left.cells, codes, seed, most=None, finished=True)
    means = np.full(left.measured.shape, np.nan, dtype=np.float32)
    means[conditions] = found.responses(whole, left.cells, codes)
    cells = found.of_rows(len(whole))[own[np.searchsorted(rows, left.shown)]]
    return compact(cells), means
