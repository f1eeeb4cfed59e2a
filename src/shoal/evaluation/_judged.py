"""Scores of contenders by name, from their losses: what an evaluation and a leaderboard share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import COPY, POSITIVE
from ..metrics._score import Judge, Judged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Bools, Floats, Ints

HARMFUL = ("energy", "de_wrong")  # metrics by which an invented response is seen


@dataclass(frozen=True, eq=False)
class Contenders:
    """Losses of contenders on the conditions and draws of one task.

    Attributes
    ----------
    losses
        Contender -> metric -> (P,) losses of the conditions, means over draws, and (D,) differences
        of the draws. A metric of the whole screen has one loss. `Scores.losses` has put the loss of
        knowing nothing in the place of a missing value.
    families
        Metric -> its family.
    tells
        Metric -> whether it can tell on these data.
    negative
        Metric -> name of its negative control.
    owner
        (P,) perturbation of each condition.
    silent
        (P,) conditions in which nothing is seen to respond.
    responds
        Whether anything responds.
    """

    losses: Mapping[str, Mapping[str, tuple[Floats, Floats]]]
    families: Mapping[str, str]
    tells: Mapping[str, bool]
    negative: Mapping[str, str]
    owner: Ints
    silent: Bools
    responds: bool

    @cached_property
    def names(self) -> list[str]:
        """Names of the contenders."""
        return list(self.losses)

    @cached_property
    def judge(self) -> Judge:
        """The losses as arrays."""
        n, metrics = len(self.owner), list(self.families)
        conditions = np.array(
            [
                [np.broadcast_to(own[metric][0], n) for metric in metrics]
                for own in self.losses.values()
            ],
            dtype=np.float64,
        )
        draws = np.array(
            [[own[metric][1] for metric in metrics] for own in self.losses.values()],
            dtype=np.float64,
        )
        at = {name: i for i, name in enumerate(self.names)}
        return Judge(
            conditions=conditions,
            draws=draws,
            owner=self.owner,
            family=tuple(self.families.values()),
            tells=np.array([self.tells[metric] for metric in metrics], dtype=bool),
            harmful=np.array([metric in HARMFUL for metric in metrics], dtype=bool),
            positive=at[POSITIVE],
            copy=at[COPY],
            negative=np.array([at[self.negative[metric]] for metric in metrics], dtype=np.int64),
            silent=self.silent,
            responds=self.responds,
        )

    def judged(self, reference: str, *, weights: tuple[Floats, Floats] | None = None) -> Judged:
        """Return the scores of all contenders against one of them; none if it is ``""``."""
        at = self.names.index(reference) if reference in self.names else None
        return self.judge.judge(at, weights=weights)

    def best(self, among: Sequence[str]) -> str:
        """Return which of some contenders achieves most; ``""`` if none is known."""
        at = self.judge.best_of(np.array([self.names.index(name) for name in among], dtype=int))
        return "" if at is None else self.names[at]
