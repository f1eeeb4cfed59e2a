"""How much every member counts, for each kind of question: a table from the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..base._calibration import Errors
from ..base._kinds import NEW_CONTEXT
from ._rules import LAST, LEAST_UNITS, RULES
from ._stack import Gain, gain, stacked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..._typing import Bools, Floats, Ints
    from ._evidence import Evidence

SHARES = (0.5, 0.0, 1.0)  # of the networks that are tried; the first is the rule
TOGETHER = "all members"
COLUMNS = ("kind", "member", "weight", "error", "n_conditions", "n_units", "note")


def rule_of(kind: str, there: Collection[str]) -> str:
    """Return the member that answers a kind of question by rule, among those that there are."""
    return next((name for name in (*RULES[kind], LAST) if name in there), "")


def errors_of(
    evidence: Evidence, halves: Mapping[str, str], *, networks: Collection[str] = ()
) -> dict[str, Errors]:
    """Return the errors of the answers of each kind that was tried, with weights of other folds.

    Conditions count of which the answer is known, see `Question.known`.

    Parameters
    ----------
    evidence
        What inner folds say.
    halves
        Kind -> member of which half of the cells are, as they are.
    networks
        Members that are networks.
    """
    found = {}
    for kind in dict.fromkeys(evidence.kind):
        own = np.flatnonzero(np.array(evidence.kind) == kind)
        question = Question(evidence, own, evidence.members, kind, networks)
        _, each, _ = question.answer()
        known = question.known(each)
        if kind in halves:
            whose = np.array(evidence.members) == halves[kind]
            both = (each + whose) / 2
            known = question.known(both)
            each = np.where(question.there[:, whose], both, each)
        made = question.summed(evidence.genes[own], each)
        found[kind] = errors_of_kind(evidence, own[known], made[known])
    return found


def errors_of_kind(evidence: Evidence, own: Ints, predicted: Floats) -> Errors:
    """Return the errors of (C, d) predicted responses of some conditions of the evidence."""
    return Errors.of(
        predicted,
        evidence.measured[own].astype(np.float64),
        unit=np.array(evidence.unit)[own],
        cell=evidence.cell,
        n=evidence.n[own],
        control=evidence.control[own],
        p_value=evidence.p_value[own],
    )


def table_of(
    evidence: Evidence | None,
    members: Sequence[str],
    kinds: Sequence[str],
    *,
    networks: Collection[str] = (),
) -> pd.DataFrame:
    """Return the weights of all members for all kinds of question.

    Parameters
    ----------
    evidence
        What inner folds say; ``None`` where there were none.
    members
        Names of the members that could be trained, those of `evidence` in its order.
    kinds
        Kinds of question.
    networks
        Members that are networks.

    Returns
    -------
    Columns: ``kind``, ``member``, ``weight``, ``error``, ``n_conditions``, ``n_units``, ``note``.
    The error is the squared distance of the predicted to the measured responses of the inner
    conditions, over that of a copy: of those that networks were asked, if any were. The row of
    ``"all members"`` has that of the whole, with weights of the other folds, and the sum of the
    weights.
    """
    parts = []
    for kind in kinds:
        own = [] if evidence is None else np.flatnonzero(np.array(evidence.kind) == kind)
        if evidence is not None and len(own):
            rows = Question(evidence, own, members, kind, networks).rows()
        else:
            rule = rule_of(kind, members)
            rows = [(name, float(name == rule), np.nan, 0, 0, "rule") for name in members]
            rows.append((TOGETHER, 1.0, np.nan, 0, 0, "rule"))
        parts += [(kind, *row) for row in rows]
    return pd.DataFrame(parts, columns=list(COLUMNS))


class Question:
    """The inner conditions of one kind of question, and the weights that they call for.

    Parameters
    ----------
    evidence
        What inner folds say.
    own
        Its conditions of the kind.
    members
        Names of the K members.
    kind
        The kind.
    networks
        Members that are networks.
    """

    def __init__(
        self,
        evidence: Evidence,
        own: Ints,
        members: Sequence[str],
        kind: str,
        networks: Collection[str],
    ) -> None:
        given = evidence.predicted[own]
        there = np.isfinite(given)
        self.members, self.kind, self.unlike = tuple(members), kind, evidence.unlike
        self.real, self.fold = evidence.real[own], evidence.fold[own]
        self.unit = np.unique(np.array(evidence.unit)[own], return_inverse=True)[1]
        self.answers: Bools = there.all(axis=2).any(axis=0)
        rule = rule_of(kind, [n for n, can in zip(members, self.answers, strict=True) if can])
        self.rule = np.array([float(name == rule) for name in members])
        self.there: Bools = there.all(axis=2)
        instead = np.nan_to_num(np.einsum("k,ckp->cp", self.rule, np.nan_to_num(given)))
        self.predicted = np.where(there, given, instead[:, None])
        self.network = np.isin(members, list(networks)) & self.answers
        self.asked: Bools = evidence.asked[own] | ~self.network.any()
        noise = evidence.noise[own]
        signal = max(float(((self.real**2).sum(axis=1) - noise).mean()), 0.0)
        self.count = (signal + np.median(noise)) / (signal + noise)

    @property
    def n_units(self) -> int:
        """Units that were left out."""
        return len(np.unique(self.unit))

    def known(self, each: Floats) -> Bools:
        """Return the (C,) conditions of which the answer with some (C, K) weights is known.

        Those are not that networks would have a part in and were not asked.
        """
        return self.asked | (each[:, self.network].sum(axis=1) == 0)

    def by_rule(self) -> Floats:
        """Return the (K,) weights by rule: half of one member and half of the networks.

        In a new context networks have no part by rule. Nor have they where they did harm: few units
        do not tell what is better by a little, but they tell of a training that went wrong.
        """
        if not self.network.any() or self.kind == NEW_CONTEXT:
            return self.rule
        both = self.blend(self.rule, SHARES[0])
        return self.rule if self.harmed(both) else both

    def harmed(self, weights: Floats) -> bool:
        """Return whether the rule alone was nearer than some weights, by one standard error."""
        own = self.asked
        alone, beside = self.made(self.rule)[own], self.made(weights)[own]
        gained = gain(alone, self.real[own], self.unit[own], weight=self.count[own], beside=beside)
        return gained.mean > gained.error

    def baselines(self, rows: Bools) -> Floats:
        """Return the (K,) weights that some conditions call for, without networks."""
        found = np.zeros(len(self.members))
        simple = np.flatnonzero(self.answers & ~self.network)
        found[simple] = stacked(
            self.predicted[rows][:, simple],
            self.real[rows],
            self.rule[simple],
            unit=self.unit[rows],
            weight=self.count[rows],
        )
        return found

    def share(self, rows: Bools) -> float:
        """Return the share of the networks that some conditions call for; 0 if they were not asked.

        Baselines answer with the weights of other folds: with weights that were fitted on the same
        conditions they would look too good beside networks, which have not seen these.
        """
        told = rows & self.asked
        if not (self.network.any() and told.any()):
            return 0.0
        alone = np.zeros_like(self.real)
        for fold in np.unique(self.fold[told]):
            here = self.fold == fold
            others = rows & ~here
            alone[here] = self.made(self.baselines(others if others.any() else rows))[here]
        network = self.made(self.blend(np.zeros(len(self.members)), 1.0))

        def error(share: float) -> float:
            made = (1 - share) * alone + share * network
            return float(self.count[told] @ ((self.real - made) ** 2).sum(axis=1)[told])

        return min(SHARES, key=error)

    def blend(self, baselines: Floats, share: float) -> Floats:
        """Return the (K,) weights of baselines with a share of the networks, alike for each."""
        return (1 - share) * baselines + share * self.network / max(self.network.sum(), 1)

    def made(self, weights: Floats) -> Floats:
        """Return the (C, p) responses that some weights predict."""
        return np.asarray(np.einsum("ckp,k->cp", self.predicted, weights))

    def summed(self, genes: Floats, each: Floats) -> Floats:
        """Return the (C, d) sums of (C, K, d) responses with weights (C, K) for each condition.

        What a member cannot answer, the rule does.
        """
        lost = (each * ~self.there).sum(axis=1)
        each = each * self.there + lost[:, None] * self.rule
        return np.array([w @ np.nan_to_num(own) for w, own in zip(each, genes, strict=True)])

    def answer(self) -> tuple[Floats, Floats, str]:
        """Return the weights, those of the other folds for every condition, and why.

        Returns
        -------
        weights
            (K,) weights of the members.
        each
            (C, K) weights that do not know the condition.
        note
            ``"rule"`` or ``"copy"`` and why; ``""`` if the weights were fitted.
        """
        weights = self.by_rule()
        each = np.tile(weights, (len(self.real), 1))
        if self.unlike:
            return weights, each, f"rule: {self.unlike}"
        if self.n_units < LEAST_UNITS:
            note = f"rule: {self.n_units} units, and weights take {LEAST_UNITS}"
            lost = self.network.any() and self.kind != NEW_CONTEXT and not weights @ self.network
            return weights, each, f"{note}; networks were worse" if lost else note
        alone = np.tile(self.rule, (len(self.real), 1))
        for fold in np.unique(self.fold):
            here = self.fold == fold
            if not here.all():
                alone[here] = self.baselines(~here)
                each[here] = self.blend(alone[here][0], self.share(~here))
        every, gained = self.fold >= 0, self.gained(each)
        if gained.mean > gained.error:
            return self.blend(self.baselines(every), self.share(every)), each, ""
        plain = self.gained(alone)  # of all conditions, which may tell where fewer do not
        if plain.mean > plain.error:
            return self.baselines(every), alone, ""
        note = f"copy: gain {gained.mean:.3g}, standard error {gained.error:.3g}"
        return np.zeros(len(weights)), np.zeros_like(each), note

    def gained(self, each: Floats) -> Gain:
        """Return the gain over a copy, where the answer with some (C, K) weights is known."""
        own = self.known(each)
        made = np.einsum("ckp,ck->cp", self.predicted, each)[own]
        return gain(made, self.real[own], self.unit[own], weight=self.count[own])

    def rows(self) -> list[tuple[str, float, float, int, int, str]]:
        """Return the rows of the table, without the kind."""
        weights, others, note = self.answer()
        told = int(self.asked.sum()), len(np.unique(self.unit[self.asked])), note
        each = [self.error(self.made(one)) for one in np.eye(len(self.members))]
        errors = np.where(self.answers, each, np.nan)
        found = [
            (name, float(weight), float(error), *told)
            for name, weight, error in zip(self.members, weights, errors, strict=True)
        ]
        made = np.einsum("ckp,ck->cp", self.predicted, others)
        return [*found, (TOGETHER, float(weights.sum()), self.error(made), *told)]

    def error(self, made: Floats) -> float:
        """Return the squared error of (C, p) responses, of what all were asked, over a copy's."""
        real, count = self.real[self.asked], self.count[self.asked]
        squares = count @ ((real - made[self.asked]) ** 2).sum(axis=1)
        return float(squares / (count @ (real**2).sum(axis=1)))
