"""Where in its table a split asks: later days, higher doses, most of a cell line.

A split by context, dose or perturbation x context holds out entries of a table of perturbations and
levels. Entries at random are another question than all entries of the last day: a random entry has
neighbours on both sides. The record of :func:`shoal.pp.split` says which entries the test has, and
inner folds leave out such entries of training. No label of a test cell is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import SPLIT
from ._split_draw import Keep, shuffled
from ._split_plan import ASIDE
from ._split_units import BY

if TYPE_CHECKING:
    from ._population import Population
    from ._split_units import Items

MOST_OF = 0.5  # share of the conditions of a context that makes it a context to be filled in
MOST_OF_ALL = 0.75  # share of the perturbations that are asked beyond, or below, what is known
KNOWN = 3  # a third of the contexts, the first ones, is left out of no fold
SHARE = 0.2  # of the perturbations, where there is one fold
WELL = 2 / 3  # as many levels known as in the test make a question like it
TWO = 2  # perturbations, or contexts, that can be left out in turn
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Asked:
    """What the test asks of a table of perturbations and levels.

    Attributes
    ----------
    way
        1 if most perturbations are asked for beyond their largest level in training, -1 if below
        their smallest; 0 otherwise.
    rank
        Level -> its place in the order; empty where levels have none.
    known
        Number of levels of an asked perturbation that training has, in the mean.
    beside
        Number of conditions of an asked level that training has, in the mean.
    share
        Share of the conditions of the asked levels that is asked for.
    levels
        Levels that are asked for.
    """

    way: int
    rank: Mapping[str, float]
    known: float
    beside: float
    share: float
    levels: frozenset[str]

    @classmethod
    def of(cls, cells: Population, items: Items) -> Asked | None:
        """Return what the recorded split asks; ``None`` if no table is asked of, or nothing tells.

        Parameters
        ----------
        cells
            The screen.
        items
            Conditions of the training cells.
        """
        column = BY[items.by]
        record = cells.adata.uns.get(SPLIT)
        units = record.get("units") if isinstance(record, Mapping) else None
        if column in (None, "guide") or units is None or column not in units:
            return None
        if str(record.get("params", {}).get("by")) != items.by:
            return None
        units = units[units["split"].astype(str) == TEST]
        there = set(items.level)
        own: dict[str, set[str]] = {}
        for name, level in zip(items.perturbation, items.level, strict=True):
            own.setdefault(name, set()).add(level)
        wanted: dict[str, set[str]] = {}
        for name, level in zip(
            units["perturbation"].astype(str), units[column].astype(str), strict=True
        ):
            wanted.setdefault(name, set()).add(level)
        levels = frozenset(level for asked in wanted.values() for level in asked)
        if items.by == "context":
            pairs = [(set(levels), there)]
        else:
            pairs = [(asked, own[name]) for name, asked in wanted.items() if name in own]
        if not levels or not pairs:
            return None
        rank = _ranks(cells, there | levels, column)
        way = float(np.mean([_way(asked, known, rank) for asked, known in pairs]))
        beside = sum(level in levels for level in items.level)
        return cls(
            way=int(np.sign(way)) if abs(way) >= MOST_OF_ALL else 0,
            rank=rank,
            known=float(np.mean([len(known) for _, known in pairs])),
            beside=beside / len(levels),
            share=len(units) / (len(units) + beside),
            levels=levels,
        )

    def sides(
        self, items: Items, units: list[str], n_folds: int, rng: np.random.Generator
    ) -> list[list[str]]:
        """Return the sides of all items in each fold; none where entries at random ask the same.

        Parameters
        ----------
        items
            Conditions of the training cells.
        units
            Contexts that can be left out, where whole ones are asked for.
        n_folds
            Number of folds; there may be fewer.
        rng
            Deals.

        Returns
        -------
        For each fold ``"train"``, ``"test"`` or ``"aside"`` of every item.
        """
        if items.by == "context":
            found = self._whole_contexts(items, units, n_folds) if self.way else []
        elif self.way:
            found = self._beyond(items, n_folds, rng)
        elif items.by == "perturbation_context":
            found = self._filled(items, n_folds, rng)
        else:
            found = []
        return [own for own in found if TEST in own and TRAIN in own]

    def _whole_contexts(self, items: Items, units: list[str], n_folds: int) -> list[list[str]]:
        """Leave out contexts beyond those that stay; what lies beyond these is set aside."""
        order = sorted(set(items.level), key=lambda level: self.way * self.rank[level])
        later = [level for level in order[max(len(order) // KNOWN, 1) :] if level in units]
        found = []
        for out in np.array_split(later, min(n_folds, len(later))) if later else []:
            gone = order[order.index(str(out[0])) :]
            sides = [
                TRAIN if level not in gone else TEST if level in out else ASIDE
                for level in items.level
            ]
            both = list(zip(items.perturbation, sides, strict=True))
            known = {name for name, side in both if side == TRAIN}
            found.append([ASIDE if n not in known and s == TEST else s for n, s in both])
        return found[-1:] if n_folds == 1 else found

    def is_alike(self, items: Items) -> bool:
        """Return whether training can ask as much as the test does, knowing about as much.

        It cannot where the test asks for later days of all perturbations, of which training then
        has fewer days to leave some out.
        """
        wanted = WELL * self.known
        return not self.way or items.by == "context" or len(self._able(items, wanted)) >= TWO

    def _able(self, items: Items, least: float) -> dict[str, tuple[list[int], list[int]]]:
        """Return the items of perturbations that can stay, and those beyond these.

        As many stay as training has of what the test asks for, if there are more, and at least
        `least`.
        """
        own: dict[str, list[int]] = {}
        for i in sorted(
            range(len(items.level)), key=lambda i: self.way * self.rank[items.level[i]]
        ):
            own.setdefault(items.perturbation[i], []).append(i)
        n = max(round(self.known), 1)
        cut = {name: min(n, len(at) - 1) for name, at in own.items()}
        return {
            name: (at[: cut[name]], at[cut[name] :])
            for name, at in sorted(own.items())
            if cut[name] >= max(least, 1)  # at least one stays, however few are asked for
        }

    def _beyond(self, items: Items, n_folds: int, rng: np.random.Generator) -> list[list[str]]:
        """Leave out the last levels of some perturbations, so that about as many others stay."""
        able = self._able(items, WELL * self.known if self.is_alike(items) else 1)
        if len(able) < TWO:
            return []
        names, n = shuffled(list(able), rng), min(n_folds, len(able))
        later = {items.level[i] for _, out in able.values() for i in out}
        there = sum(level in later for level in items.level) / len(later)
        least = ceil(len(able) * (SHARE if n == 1 else 1 / n))
        size = least
        if items.by == "perturbation_context":
            size = min(max(round(there - self.beside), least), len(able))
        found = []
        for fold in range(n):
            first = fold * len(able) // n
            taker, sides = Keep(_groups(items)), [TRAIN] * len(items.level)
            for name in [*names, *names][first : first + size]:
                out = able[name][1]
                if all(taker.can(items.names[i]) for i in out):
                    for i in out:
                        taker.take(items.names[i])
                        sides[i] = TEST
            found.append(sides)
        return found

    def _filled(self, items: Items, n_folds: int, rng: np.random.Generator) -> list[list[str]]:
        """Leave out most conditions of some contexts that the test does not ask of."""
        free = sorted(set(items.level) - self.levels)
        if self.share < MOST_OF or len(free) < 2 or len(free) < len(self.levels):
            return []
        several = np.array_split(shuffled(free, rng), min(max(n_folds, 2), len(free)))
        found = []
        for contexts in several[:n_folds]:
            taker, sides = Keep(_groups(items)), [TRAIN] * len(items.level)
            for context in contexts:
                at = [i for i, level in enumerate(items.level) if level == context]
                for i in rng.permutation(at)[: max(round(self.share * len(at)), 1)]:
                    if taker.take(items.names[i]):
                        sides[i] = TEST
            found.append(sides)
        return found


def _groups(items: Items) -> dict[str, tuple[str, ...]]:
    """Return what keeps another entry in training: perturbations, and contexts if there are any."""
    by_context = items.by == "perturbation_context"
    return {
        unit: (f"perturbation {name}", f"context {level}")[: 1 + by_context]
        for unit, name, level in zip(items.names, items.perturbation, items.level, strict=True)
    }


def _way(asked: set[str], known: set[str], rank: Mapping[str, float]) -> int:
    """Return on which side of all known levels the asked ones lie; 0 if neither."""
    if not rank or not known:
        return 0
    own, others = [rank[level] for level in asked], [rank[level] for level in known]
    return int(min(own) > max(others)) - int(max(own) < min(others))


def _ranks(cells: Population, levels: set[str], column: str | None) -> dict[str, float]:
    """Return the order of levels: of numbers, and of the categories of an ordered column."""
    labels = cells.adata.obs[getattr(cells.screen, f"{column}_key")]
    if isinstance(labels.dtype, pd.CategoricalDtype) and labels.dtype.ordered:
        named = {str(name): float(i) for i, name in enumerate(labels.cat.categories)}
        return named if levels <= set(named) else {}
    try:
        return {level: float(level) for level in levels}
    except ValueError:
        return {}
