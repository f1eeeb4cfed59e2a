"""Choice of what is held out: units are taken one by one, and what must stay in training stays."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np


class Taker(Protocol):
    """Keeps account of what has been taken out of training."""

    def can(self, unit: str) -> bool:
        """Say whether a unit may be taken."""

    def take(self, unit: str) -> bool:
        """Take a unit if that is allowed, and say whether it was."""

    def load(self, unit: str) -> int:
        """Return how much of the unit's kind has been taken."""

    def why(self, unit: str) -> str:
        """Say why a unit cannot be taken."""


class Keep:
    """A unit may be taken if each of its groups keeps another unit in training.

    Groups are perturbations and contexts.
    """

    def __init__(self, groups: Mapping[str, tuple[str, ...]]) -> None:
        self.groups = groups
        self.left = Counter(g for own in groups.values() for g in own)
        self.taken: Counter[str] = Counter()

    def can(self, unit: str) -> bool:
        """Say whether all groups of a unit keep another one."""
        return all(self.left[g] > 1 for g in self.groups[unit])

    def take(self, unit: str) -> bool:
        """Take a unit if all of its groups keep one."""
        if not self.can(unit):
            return False
        self.left.subtract(self.groups[unit])
        self.taken.update(self.groups[unit])
        return True

    def load(self, unit: str) -> int:
        """Return the number of units taken from its groups."""
        return sum(self.taken[g] for g in self.groups[unit])

    def why(self, unit: str) -> str:
        """Name the groups that would be empty."""
        last = [g for g in self.groups[unit] if self.left[g] == 1]
        return f"no perturbed cell of {' or of '.join(last)} would stay in training"


class Parts:
    """A combination may be taken if exactly `n_seen` of its parts can be seen in training.

    None stands for all parts. A part is seen if it was measured alone and stays in training. The
    other parts are hidden: every condition with one of them leaves training. So a part cannot be
    seen for one held-out combination and hidden for another.
    """

    def __init__(self, parts: Mapping[str, tuple[str, ...]], n_seen: int | None) -> None:
        self.parts, self.n_seen = parts, n_seen
        self.alone = {own[0] for own in parts.values() if len(own) == 1}
        self.cost = Counter(p for own in parts.values() for p in own)
        self.hidden: set[str] = set()
        self.shown: set[str] = set()
        self.n_taken = 0

    def can(self, unit: str) -> bool:
        """Say whether there is a way to show some parts and hide the others."""
        return bool(self._ways(unit))

    def take(self, unit: str) -> bool:
        """Hide the parts that cost the fewest further perturbations, if there is a way."""
        ways = self._ways(unit)
        if not ways:
            return False
        own = set(self.parts[unit])
        seen = min(ways, key=lambda way: sum(self.cost[p] for p in own - way - self.hidden))
        self.shown |= seen
        self.hidden |= own - seen
        self.n_taken += 1
        return True

    def _ways(self, unit: str) -> list[set[str]]:
        """Return the sets of parts that training could see."""
        own = self.parts[unit]
        n_seen = len(own) if self.n_seen is None else self.n_seen
        ways = [set(seen) for seen in combinations(own, n_seen)]
        return [
            seen
            for seen in ways
            if seen <= self.alone
            and seen.isdisjoint(self.hidden)
            and (set(own) - seen).isdisjoint(self.shown)
        ]

    def load(self, unit: str) -> int:
        """Return the number of combinations taken."""
        return self.n_taken

    def why(self, unit: str) -> str:
        """Say which parts were measured alone, and what other held-out combinations decide."""
        own = self.parts[unit]
        alone = [p for p in own if p in self.alone]
        needed = "every part" if self.n_seen is None else f"{self.n_seen} of its {len(own)} parts"
        clash = [p for p in own if p in self.hidden | self.shown]
        others = (
            f"; other held-out combinations already decide about {', '.join(clash)}"
            if clash
            else ""
        )
        return (
            f"{needed} should be seen alone in training, "
            f"where it has {', '.join(alone) or 'none of them'}{others}"
        )


def shuffled(units: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return the units in random order."""
    return [units[i] for i in rng.permutation(len(units))]


def draw(units: Sequence[str], n: int, taker: Taker, rng: np.random.Generator) -> list[str]:
    """Take at most `n` of the units in random order; those that must stay are passed over."""
    taken: list[str] = []
    for unit in shuffled(units, rng):
        if len(taken) < n and taker.take(unit):
            taken.append(unit)
    return taken


def deal(
    units: Sequence[str], takers: Sequence[Taker], rng: np.random.Generator
) -> list[list[str]]:
    """Deal the units out among folds, each to the least loaded fold that can take it."""
    folds: list[list[str]] = [[] for _ in takers]
    for unit in shuffled(units, rng):
        for f in sorted(range(len(takers)), key=lambda f: (takers[f].load(unit), len(folds[f]))):
            if takers[f].take(unit):
                folds[f].append(unit)
                break
    return folds


def take_named(
    requested: Sequence[Sequence[str]], taker: Taker, *, name: str
) -> tuple[list[str], list[str]]:
    """Take all units that names stand for.

    Parameters
    ----------
    requested
        For each name the units that it stands for.
    taker
        Account of what is taken.
    name
        Name of the argument, for messages.

    Returns
    -------
    The units that are taken, and those that must stay although a name stands for them and others.

    Raises
    ------
    ValueError
        If no unit of a name can be taken.
    """
    taken: list[str] = []
    left: list[str] = []
    for alike in requested:
        allowed = [unit for unit in alike if taker.take(unit)]
        if not allowed:
            msg = f"{name}: {alike[0]!r} cannot be held out: {taker.why(alike[0])}"
            raise ValueError(msg)
        taken += allowed
        gone = frozenset(allowed)
        left += [unit for unit in alike if unit not in gone]
    return taken, left
