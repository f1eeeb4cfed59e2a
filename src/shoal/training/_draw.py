"""Distinct random members of many groups at once, without a loop over the groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Bools, Ints

ROOMY = 4  # a group this many times larger than what is drawn from it is sampled by rejection


def distinct(size: Ints, count: Ints, rng: np.random.Generator) -> tuple[Ints, Bools]:
    """Draw from groups of members 0 to ``size - 1`` without replacement, all groups at once.

    Parameters
    ----------
    size
        (G,) members of each group, at least 1.
    count
        (G,) number to draw from each. Where a group has fewer members, all of them come once in
        random order, and then again in the same order.
    rng
        Generator.

    Returns
    -------
    member
        (sum of counts,) drawn members, group after group, each group in random order.
    again
        (sum of counts,) bool, which of them repeat an earlier one of their group.
    """
    group = np.repeat(np.arange(len(size)), count)
    rank = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    member = np.empty(len(group), dtype=np.int64)
    roomy = (size >= ROOMY * count)[group]
    _reject(member, np.flatnonzero(roomy), group, size, rng)
    tight = np.flatnonzero(~roomy)
    if len(tight):
        own = np.flatnonzero(size < ROOMY * count)
        order, start = _shuffles(size[own], rng)
        at = np.searchsorted(own, group[tight])
        member[tight] = order[start[at] + rank[tight] % size[group[tight]]]
    return member, rank >= size[group]


def _reject(member: Ints, slots: Ints, group: Ints, size: Ints, rng: np.random.Generator) -> None:
    """Fill the slots by uniform draws, and draw anew where two slots of a group are the same.

    All members are treated alike, so that every subset is equally likely.
    """
    key, width = group[slots], int(size.max(initial=1))
    again = np.arange(len(slots))
    while len(again):
        member[slots[again]] = rng.integers(size[key[again]])
        value = key * width + member[slots]
        order = np.argsort(value, kind="stable")
        same = np.diff(value[order]) == 0
        again = order[1:][same]


def _shuffles(size: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return the members of all groups, each group shuffled, and where each group starts."""
    group = np.repeat(np.arange(len(size)), size)
    start = np.cumsum(size) - size
    order = np.argsort(group + rng.random(len(group)), kind="stable")
    return order - start[group], start
