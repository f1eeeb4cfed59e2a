"""The populations of a request, put to the members of an ensemble."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base._mean_responses import responses
from ..baselines._baseline import Baseline
from ._carrier import SHARE, others_of
from ._cells import MIXED
from ._members import seed_of
from ._rules import LAST
from ._weights import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ...core._screen import Screen
    from ..base._kinds import Measured
    from ..base._requests import PredictionRequest


@dataclass(frozen=True, eq=False)
class Carried:
    """Populations of one kind of question whose cells are those of a member.

    Attributes
    ----------
    name, way
        The member, and which of its cells.
    asked
        Codes of the populations.
    rows
        Rows of the request.
    population
        Population of each row: 0, 1, 2, ..., as in `asked`.
    """

    name: str
    way: str
    asked: Ints
    rows: Ints
    population: Ints


@dataclass(frozen=True, eq=False)
class Asked:
    """What members answer to a request together.

    Attributes
    ----------
    members
        The trained members.
    weights, carriers
        Tables of the ensemble.
    measured, screen
        What training measured, by which populations are kinds of question.
    request
        Cells, sorted by condition.
    cells
        Their population.
    population
        (n,) code of the population of every cell: 0, 1, 2, ...
    seed
        Seed of what the members draw.
    """

    members: Mapping[str, Any]
    weights: pd.DataFrame
    carriers: pd.DataFrame
    measured: Measured
    screen: Screen
    request: PredictionRequest
    cells: Population
    population: Ints
    seed: int

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kind of question that every population is."""
        request, contexts = self.request, [*self.cells.contexts, ""]
        return tuple(
            self.measured.kind(
                request.names[request.perturbation[i]],
                contexts[request.context[i]],
                float(request.dose[i]),
                self.screen,
            )
            for i in np.unique(self.population, return_index=True)[1]
        )

    @cached_property
    def parts(self) -> frozenset[str]:
        """Single perturbations that are asked for."""
        names = [self.request.names[i] for i in np.unique(self.request.perturbation)]
        return frozenset(part for name in names for part in self.screen.parts(name))

    def answer(self, name: str, asked: Ints) -> Floats:
        """Return the mean responses that a member predicts for some populations."""
        rows = np.flatnonzero(np.isin(self.population, asked))
        part, code = self.request.take(rows), np.searchsorted(asked, self.population[rows])
        return responses(self.told(name), part, self.cells, code, seed_of(name, self.seed))

    def told(self, name: str) -> Any:
        """Return a member that was told of all perturbations that are asked for.

        Of those that nobody has run some members know nothing but the name: they answer with the
        mean response, say, and do not refuse it, as they would alone.
        """
        member = self.members[name]
        if not isinstance(member, Baseline) or self.parts <= member.vocabulary.known:
            return member
        heard = tuple(sorted(self.parts.union(member.vocabulary.named)))
        member = copy.copy(member)
        member.vocabulary = replace(member.vocabulary, screen=self.screen, named=heard)
        return member

    def summed(self) -> Floats:
        """Return the (n_populations, n_features) weighted sums of what members answer."""
        found = np.zeros((len(self.kinds), len(self.cells.features)))

        def add(name: str, weight: Floats) -> Floats:
            """Add what a member answers, and return the weight that stays unanswered."""
            asked = np.flatnonzero(weight)
            if not len(asked):
                return weight
            if name not in self.members:
                msg = (
                    f"{self._unanswered(asked)}. {LAST!r}, which answers any, was left out of "
                    "training; model.refused says why"
                )
                raise ValueError(msg)
            own = self.answer(name, asked)
            can = np.isfinite(own).all(axis=1)
            found[asked[can]] += weight[asked[can], None] * own[can]
            rest = weight.copy()
            rest[asked[can]] = 0.0
            return rest

        weight = self.weights.reindex(self.kinds)
        lost = np.zeros(len(self.kinds))
        for name in self.members:
            lost += add(name, weight[name].to_numpy())
        rules = np.array([rule_of(kind, self.members) for kind in self.kinds])
        for name in np.unique(rules):
            here = rules == name
            lost[here] = add(str(name), np.where(here, lost, 0.0))[here]
        never = np.flatnonzero(add(LAST, lost))
        if len(never):
            raise ValueError(self._unanswered(never))
        return found

    def _unanswered(self, asked: Ints) -> str:
        """Return that nobody can answer for some populations."""
        kinds = ", ".join(dict.fromkeys(self.kinds[i] for i in asked))
        return f"no member can answer questions of the kind: {kinds}"

    def responses(self) -> Floats:
        """Return the (n_populations, n_features) mean responses of all cells together."""
        found = self.summed()
        for own in self.carried():
            if own.way == MIXED:
                theirs = self.answer(own.name, own.asked)
                can = np.isfinite(theirs).all(axis=1)
                found[own.asked[can]] += SHARE[MIXED] * (theirs[can] - found[own.asked[can]])
        return found

    def carried(self) -> Iterator[Carried]:
        """Yield the populations whose cells are not all control cells."""
        for kind, name, way in others_of(self.carriers):
            asked = np.flatnonzero(np.array(self.kinds) == kind)
            rows = np.flatnonzero(np.isin(self.population, asked))
            if len(rows):
                place = np.searchsorted(asked, self.population[rows])
                yield Carried(name, way, asked, rows, place)
