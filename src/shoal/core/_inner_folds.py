"""Training conditions that are left out for a choice: such as the split of the screen holds out.

Whatever is chosen, settings or a share or a baseline, is chosen on conditions that play the part of
the test within training. The planner of :func:`shoal.pp.split` draws them: a split by context gives
whole contexts, one by combination gives combinations whose parts are as known as those of the test,
and so on. Where the test lies in a part of the table, such as the last days, so do they
(``_asked.py``). Of the test only the record of the split is read, and no cell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._keys import SPLIT
from .._logging import logger
from ._asked import Asked
from ._slots import params_of
from ._split_plan import ASIDE, able_units, allot
from ._split_request import Request
from ._split_units import BY, make_items

if TYPE_CHECKING:
    from .._typing import Bools, Ints
    from ._population import Population
    from ._split_units import Items

SHARE = 0.2  # of the units of training, where one part is left out
FOLDS = 3  # where nobody says how many, and there are as many units
TRAIN, TEST, NONE = 0, 2, -1  # in Population.split


def kind_of_split(cells: Population) -> Request | None:
    """Return what the split of a screen holds out, as a request for a fifth of it.

    ``None`` if there is no ``obs["split"]``, or :func:`shoal.pp.split` did not record it.
    """
    params = params_of(cells.adata, SPLIT)
    if SPLIT not in cells.adata.obs:
        return None
    by, n_seen = str(params.get("by", "")), params.get("parts_seen", "")
    if by not in BY:
        return None
    return kind_named(
        by,
        parts_seen=None if n_seen in ("", None) else int(n_seen),
        zero_shot=bool(params.get("zero_shot", False)),
    )


def kind_named(by: str, *, parts_seen: int | None = None, zero_shot: bool = False) -> Request:
    """Return a request for a fifth of what `by` names; the arguments are those of `pp.split`."""
    return Request(
        by,
        test=SHARE,
        val=0,
        n_folds=None,
        fold=None,
        parts_seen=parts_seen,
        zero_shot=zero_shot,
    )


def training_items(cells: Population, kind: Request) -> tuple[Items, list[str]]:
    """Return the conditions of the training cells, and which units of them can be left out.

    Of doses these are the ones between other training doses of the perturbation.
    """
    inside = cells.train | cells.labels.is_control
    labelled = replace(cells.labels, code=np.where(inside, cells.labels.code, -1))
    items = make_items(cells.adata, cells.screen, labelled, kind.by)
    units = able_units(items, kind)
    if kind.by == "dose":
        between = _between(items)
        units = [unit for unit in units if unit in between]
    return items, units


def asks_alike(cells: Population, kind: Request) -> bool:
    """Return whether training can be asked what the test asks, knowing about as much.

    ``False`` where all perturbations are asked for later days, say, of which training has too few
    to leave as many out as the test does.
    """
    items, _ = training_items(cells, kind)
    asked = Asked.of(cells, items)
    return asked is None or asked.is_alike(items)


def without_units(
    cells: Population,
    kind: Request,
    items: Items,
    units: list[str],
    rng: np.random.Generator,
) -> Ints:
    """Return the (n_obs,) side of every cell, with some training conditions left out.

    Parameters
    ----------
    cells
        The screen.
    kind
        What is left out: a share or a fold of the units.
    items, units
        Conditions of training, and the units to choose from, as `training_items` returns them.
    rng
        Chooses.

    Returns
    -------
    Sides as in ``Population.split``: 0 training, 2 left out. Cells of the test are on no side (-1).
    So are training and validation cells that would show what is left out. The other cells of
    ``"val"`` stay 1.

    Raises
    ------
    ValueError
        If nothing can be left out, or nothing would stay in training.
    """
    return _of_cells(cells, items, allot(items, cells.screen, kind, rng, among=units))


def _of_cells(cells: Population, items: Items, sides: list[str]) -> Ints:
    """Return the (n_obs,) side of every cell, from those of the items."""
    lookup = np.array([{"train": TRAIN, ASIDE: NONE}.get(s, TEST) for s in sides] + [NONE])
    split = np.where(cells.split == TEST, NONE, cells.split)
    split[cells.val & _showing(cells, items, sides)] = NONE
    return np.where(cells.train, lookup[items.code], split)


def inner_folds(
    cells: Population,
    n_folds: int | None = None,
    *,
    seed: int,
    kind: Request | None = None,
    most: int = FOLDS,
) -> tuple[Ints, ...]:
    """Return the (n_obs,) side of every cell in each fold, see `without_units`.

    All units of training are dealt into the folds. With one fold, a fifth of them is left out.
    Where the test asks beyond the levels that training has of a perturbation (later days, higher
    doses), or for most of some contexts, the folds do so too, and there may be fewer of them.

    Parameters
    ----------
    cells
        The screen.
    n_folds
        Number of folds. ``None`` for `most`, or as many as there are units.
    seed
        Seed that deals the units. The order of the cells does not matter.
    kind
        What is left out; what the split of the screen holds out if ``None``.
    most
        Number of folds where `n_folds` does not say it.

    Raises
    ------
    ValueError
        If nothing says what the split of the screen holds out, or training has too few units.
    """
    kind = kind_of_split(cells) if kind is None else kind
    if kind is None:
        msg = (
            "inner folds leave out training conditions of the kind that the split holds out, and "
            f"nothing says which kind that is: obs[{SPLIT!r}] was not written by sh.pp.split. Call "
            "sh.pp.split(adata, by=...) first"
        )
        raise ValueError(msg)
    items, units = training_items(cells, kind)
    several = most if n_folds is None else n_folds
    alike, way = asked_folds(cells, items, units, several, np.random.default_rng(seed))
    if len(alike) >= min(several, 2):
        if way:
            where = "beyond" if way > 0 else "below"
            logger.info(
                "inner folds leave out levels %s those of training, as the test does", where
            )
        return alike
    if kind.by == "dose" and len(units) < (
        n_folds or 1
    ):  # none between others: any that can be spared
        units = able_units(items, kind)
    if n_folds is None:
        n_folds = min(most, max(len(units), 1))
    if len(units) < n_folds:
        fix = f"ask for inner={len(units)}" if units else "hold out less for the test"
        msg = (
            f"inner={n_folds} folds need as many units of by={kind.by!r} that can leave the "
            f"training cells, and there are {len(units)}: {fix}"
        )
        raise ValueError(msg)
    kinds = [replace(kind, test=min(max(SHARE, 1 / len(units)), 0.99))]
    if n_folds > 1:
        kinds = [replace(kind, test=None, n_folds=n_folds, fold=fold) for fold in range(n_folds)]
    try:
        return tuple(
            without_units(cells, one, items, units, np.random.default_rng(seed)) for one in kinds
        )
    except ValueError as err:
        msg = f"inner={n_folds} folds cannot be made within the training cells: {err}"
        raise ValueError(msg) from err


def asked_folds(
    cells: Population, items: Items, units: list[str], n_folds: int, rng: np.random.Generator
) -> tuple[tuple[Ints, ...], int]:
    """Return the (n_obs,) sides in folds that ask where in its table the test asks.

    Later days of a perturbation, say, or most of a context.

    Parameters
    ----------
    cells
        The screen.
    items, units
        Conditions of training, and the units to choose from, as `training_items` returns them.
    n_folds
        Number of folds; there may be fewer, and none where entries at random ask the same.
    rng
        Deals.

    Returns
    -------
    The sides, and 1 or -1 where these folds leave out levels beyond or below those of training.
    """
    asked = Asked.of(cells, items)
    if asked is None:
        return (), 0
    found = asked.sides(items, units, n_folds, rng)
    return tuple(_of_cells(cells, items, sides) for sides in found), asked.way


def _between(items: Items) -> set[str]:
    """Return the names of the doses between other doses of the perturbation."""
    doses: dict[str, list[float]] = {}
    for name, level in zip(items.perturbation, items.level, strict=True):
        doses.setdefault(name, []).append(float(level))
    return {
        unit
        for unit, name, level in zip(items.names, items.perturbation, items.level, strict=True)
        if min(doses[name]) < float(level) < max(doses[name])
    }


def _showing(cells: Population, items: Items, sides: list[str]) -> Bools:
    """Return (n_obs,) cells of perturbations, or in contexts, that have left training as a whole.

    A combination shows all of its parts.
    """
    stays = [side == "train" for side in sides]
    known = {p for own, stay in zip(items.parts, stays, strict=True) if stay for p in own}
    gone = {p for own in items.parts for p in own} - known
    shows = [not gone.isdisjoint(cells.screen.parts(name)) for name in cells.names]
    found: Bools = np.array([*shows, False, False])[cells.labels.code]
    if items.by != "context":
        return found
    kept = {level for level, stay in zip(items.level, stays, strict=True) if stay}
    lost = set(items.level) - kept
    where = np.array([*(name in lost for name in cells.contexts), False])
    return found | where[cells.context]
