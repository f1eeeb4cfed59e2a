"""Training conditions to leave out in a trial: such as the split of the screen holds out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...core._inner_folds import (
    SHARE,
    TEST,
    asked_folds,
    kind_of_split,
    training_items,
    without_units,
)
from ._embedding import ONE_HOT
from ._learning import names_of_training
from ._response_share import LEAST_UNITS

if TYPE_CHECKING:
    from ..._typing import Bools, Ints
    from ...core._population import Population
    from ...core._split_units import Items
    from ._vocabulary import Vocabulary

MOST = 1 / 3  # with more left out, a trial says little of the training
VAL, NONE = 1, -1  # in Population.split


def with_inner(
    cells: Population, vocabulary: Vocabulary, rng: np.random.Generator
) -> Population | None:
    """Return the cells with a fifth of what the screen's split holds out moved to ``"val"``.

    At least three units are taken, or one context, and at most a third of all. Where the test asks
    for later days, or for most of a context, so do they, if that leaves out no more than a third.

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
    kind = kind_of_split(cells)
    if kind is None or kind.by == "guide" or not (cells.split == TEST).any():
        return None
    if kind.by == "perturbation" and vocabulary.embedding == ONE_HOT:
        return None
    items, units = training_items(cells, kind)
    n, least = len(items.units), 1 if kind.by == "context" else LEAST_UNITS
    number = max(round(SHARE * n), least)
    if number > n * MOST or number >= len(units):
        return None
    side = _asked_alike(cells, items, units, rng)
    if side is None:
        try:
            side = without_units(cells, replace(kind, test=number / len(units)), items, units, rng)
        except ValueError:  # nothing would stay in training
            return None
    held = side == TEST
    rest = cells.with_split(np.where(cells.train, np.where(held, NONE, side), cells.split))
    inner = held & _tellable(rest, vocabulary)
    if not (inner.any() and rest.train.any()):
        return None
    return rest.with_split(np.where(inner, VAL, rest.split))


def _asked_alike(
    cells: Population, items: Items, units: list[str], rng: np.random.Generator
) -> Ints | None:
    """Return the side of every cell, where conditions at random ask another question than the test.

    ``None`` where they ask the same, or where too many or too few conditions would be left out.
    """
    least = 1 if items.by == "context" else LEAST_UNITS
    for n_folds in (1, 2):  # a fifth of what can be asked, or half of it
        for side in asked_folds(cells, items, units, n_folds, rng)[0][:1]:
            n_out = len(np.unique(items.code[cells.train & (side == TEST)]))
            if least <= n_out <= MOST * len(items.names):
                return side
    return None


def _tellable(cells: Population, vocabulary: Vocabulary) -> Bools:
    """Return (n_obs,) which cells are of perturbations that a model of `cells` can tell apart."""
    if vocabulary.embedding != ONE_HOT:
        return np.ones(len(cells.split), dtype=bool)
    trained = set(names_of_training(cells)["trained"])
    able = np.array([trained.issuperset(cells.screen.parts(n)) for n in cells.names] + [False])
    return able[cells.labels.code]
