"""Training conditions to leave out in a trial: such as the split of the screen holds out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._keys import SPLIT
from ...core._codes import grouped, members
from ._embedding import ONE_HOT
from ._learning import names_of_training
from ._response_share import LEAST_UNITS

if TYPE_CHECKING:
    from ..._typing import Bools
    from ...core._population import Population
    from ._vocabulary import Vocabulary

SHARE = 0.2  # of the units of training
MOST = 1 / 3  # with more left out, a trial says little of the training
VAL, NONE = 1, -1  # in Population.split


def with_inner(
    cells: Population, vocabulary: Vocabulary, rng: np.random.Generator
) -> Population | None:
    """Return the cells with a fifth of what the screen's split holds out moved to ``"val"``.

    A split by context gives whole contexts, one by perturbation gives single perturbations and all
    that hold them, one by dose gives doses between others, and so on. At least three are taken, or
    one context, and at most a third of all.

    Parameters
    ----------
    cells
        Screen without conditions of ``"val"``.
    vocabulary
        Names that the model knows.
    rng
        Chooses the conditions.

    Returns
    -------
    The population, or ``None`` where no such conditions are to be had: there is no split for test,
    ``sh.pp.split`` did not write it, it holds out cells of conditions that are trained on, training
    has too few units, or the model cannot tell unseen perturbations apart.
    """
    unit = _units(cells, vocabulary)
    if unit is None:
        return None
    own = np.unique(unit[cells.train & (unit >= 0)])
    least = 1 if _held_out_by(cells) == "context" else LEAST_UNITS
    number = max(round(SHARE * len(own)), least)
    if number > len(own) * MOST:
        return None
    chosen = rng.choice(own, number, replace=False)
    held = cells.train & _holds(cells, unit, chosen)
    rest = cells.with_split(np.where(held, NONE, cells.split))
    inner = held & _tellable(rest, vocabulary)
    if not (inner.any() and rest.train.any()):
        return None
    return rest.with_split(np.where(inner, VAL, rest.split))


def _tellable(cells: Population, vocabulary: Vocabulary) -> Bools:
    """Return (n_obs,) which cells are of perturbations that a model of `cells` can tell apart."""
    if vocabulary.embedding != ONE_HOT:
        return np.ones(len(cells.split), dtype=bool)
    trained = set(names_of_training(cells)["trained"])
    able = np.array([trained.issuperset(cells.screen.parts(n)) for n in cells.names] + [False])
    return able[cells.labels.code]


def _units(cells: Population, vocabulary: Vocabulary) -> Any:
    """Return (n_obs,) the unit of every cell, -1 for none; ``None`` if there are no units."""
    by, codes = _held_out_by(cells), cells.labels.code
    if by == "context":
        return cells.context
    if by in ("perturbation_context", "dose"):
        level = cells.context if by == "perturbation_context" else cells.dose
        able = cells.perturbed if by == "perturbation_context" else _between(cells)
        return np.where(able, grouped(perturbation=codes, level=level)[0], -1)
    several = np.array([len(cells.screen.parts(name)) > 1 for name in cells.names] + [False])
    if by == "combination":
        return np.where(several[codes], codes, -1)
    if by == "perturbation" and vocabulary.embedding != ONE_HOT:
        return np.where(cells.perturbed & ~several[codes], codes, -1)
    return None


def _between(cells: Population) -> Bools:
    """Return (n_obs,) which cells have a dose between other training doses of the perturbation."""
    inside = np.zeros(len(cells.dose), dtype=bool)
    rows = np.flatnonzero(cells.train)
    for own in members(cells.labels.code[rows]):
        dose = cells.dose[rows[own]]
        inside[rows[own]] = (dose > np.nanmin(dose)) & (dose < np.nanmax(dose))
    return inside


def _holds(cells: Population, unit: Any, chosen: Any) -> Bools:
    """Return (n_obs,) which cells are of the chosen units, or of perturbations that hold them."""
    inside = np.isin(unit, chosen)
    if _held_out_by(cells) != "perturbation":
        return inside
    parts = [set(cells.screen.parts(name)) for name in cells.names]
    held = set().union(*(parts[code] for code in chosen))
    hold = np.array([bool(held & own) for own in parts] + [False])
    return inside | hold[cells.labels.code]


def _held_out_by(cells: Population) -> str:
    """Return what the split of the screen holds out; an empty text if that is not known."""
    record = cells.adata.uns.get(SPLIT)
    if not (cells.split == 2).any() or not isinstance(record, dict):
        return ""
    return str(dict(record.get("params", {})).get("by", ""))
