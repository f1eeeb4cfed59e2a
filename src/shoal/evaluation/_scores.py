"""The marks of an exam: values of all contenders, what the metrics can tell, skill, and the tables that say so."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._contenders import CONTROLS, COPY, NEGATIVE, POSITIVE, PREDICTION, STRATA
from ..metrics._calibration import bds, best_baseline, ceiling, discriminates, drf, loss, paired
from ..metrics._registry import score
from ..metrics._score import overall, shortfall
from ..metrics._skill import Estimate, skill

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._typing import Floats
    from ..metrics._comparison import Populations
    from ..metrics._registry import Metric, Scored
    from ._task import Exam

SCREEN = "(screen)"  # the condition of metrics that are one number
ALPHA = 0.05


class Marks:
    """Values of contenders, metric by metric.

    Parameters
    ----------
    exam
        What was asked.
    suite
        Metrics by name.
    seed
        Of the bootstrap.
    """

    def __init__(self, exam: Exam, suite: Mapping[str, Metric], *, seed: int) -> None:
        self.exam, self.suite, self._seed = exam, suite, seed
        self.scored: dict[str, dict[str, Scored]] = {}
        self._transductive: set[str] = set()
        self._refused: dict[str, str] = {}
        self._estimates: dict[tuple[str, str], Estimate] = {}
        self._behind: dict[str, Floats] = {}
        self._tells: dict[str, bool] = {}

    @cached_property
    def _collapsed(self) -> Populations:
        return self.exam.collapsed()

    def add(self, contender: str, populations: Populations, *, transductive: bool = False) -> None:
        """Score a contender; it is `transductive` if something that it was told has seen held-out cells."""
        if transductive:
            self._transductive.add(contender)
        if contender in CONTROLS:
            self._tells.clear()
        self._behind.pop(contender, None)
        self.scored[contender] = {
            name: score(m, self.exam.truth, populations) for name, m in self.suite.items()
        }

    def refuse(self, contender: str, reason: str) -> None:
        """Note a contender that has no prediction."""
        self._refused[contender] = reason

    # -- losses ------------------------------------------------------------------------------------------------------

    def loss(self, contender: str, metric: str) -> Floats:
        """Return the losses of a contender; where it has no value and the positive control has one, it knows nothing.

        Otherwise a prediction could leave out what it is bad at: a constant one has no correlation.
        """
        own = self._loss(contender, metric)
        if contender in (POSITIVE, NEGATIVE) or POSITIVE not in self.scored:
            return own
        nothing = np.fmax(self._loss(self.negative_of(metric), metric), self._loss(COPY, metric))
        return np.where(np.isnan(own) & ~np.isnan(self._loss(POSITIVE, metric)), nothing, own)

    def _loss(self, contender: str, metric: str) -> Floats:
        """Return the losses of a contender: NaN if it was not scored, or if no value of the metric is best."""
        m = self.suite[metric]
        if contender not in self.scored or not np.isfinite(m.perfect):
            return np.full(len(self._names(metric)), np.nan)
        return loss(self.scored[contender][metric].values, m.direction, perfect=m.perfect)

    def negative_of(self, metric: str) -> str:
        """Return the contender that is the negative control of a metric."""
        return COPY if self.suite[metric].negative == "control" else NEGATIVE

    # -- calibration -------------------------------------------------------------------------------------------------

    @property
    def rivals(self) -> list[str]:
        """Baselines, and the control copy."""
        return [name for name in self.scored if name not in (PREDICTION, POSITIVE, NEGATIVE)]

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return DRF and BDS."""
        pair = self._loss(POSITIVE, metric), self._loss(self.negative_of(metric), metric)
        return drf(*pair), bds(*pair)

    def tells(self, metric: str) -> bool:
        """Whether a metric discriminates on these data, and, if it is one of populations, is not fooled by a collapsed one."""
        if metric not in self._tells:
            self._tells[metric] = bool(discriminates(*self.range_of(metric))) and not self._fooled(
                metric
            )
        return self._tells[metric]

    def _fooled(self, metric: str) -> bool:
        """Whether a metric of populations prefers the mean of the positive control, for every cell, to its cells."""
        m = self.suite[metric]
        if m.family != "population":
            return False
        collapsed = loss(
            score(m, self.exam.truth, self._collapsed).values, m.direction, perfect=m.perfect
        )
        one, other = paired(collapsed, self._loss(POSITIVE, metric))
        return bool(one.size and one.mean() <= other.mean())

    def best_of(self, metric: str) -> str:
        """Return the best rival of a metric, or ``""``."""
        if not self.rivals:
            return ""
        at = best_baseline(np.stack([self.loss(name, metric) for name in self.rivals]))
        return "" if at is None else self.rivals[at]

    def skill(self, contender: str, metric: str) -> Estimate:
        """Return the skill of a contender against the best rival."""
        if (contender, metric) not in self._estimates:
            best = self.best_of(metric)
            owner = (
                self.exam.truth.owner
                if self.suite[metric].per == "condition"
                else np.zeros(1, dtype=np.int64)
            )
            self._estimates[contender, metric] = (
                skill(
                    self.loss(contender, metric),
                    self.loss(best, metric),
                    positive_control=self._loss(POSITIVE, metric),
                    owner=owner,
                    rng=self._seed,
                )
                if best
                else Estimate(np.nan, np.nan, np.nan, 0, "no baseline has a value")
            )
        return self._estimates[contender, metric]

    def mean_skill(self, contender: str) -> float:
        """Return the score over the metrics that discriminate: 0 as the best rival, 1 as a second experiment; NaN if none does."""
        best = self.best()
        return (
            overall(self._shortfalls(contender), self._shortfalls(best)) if best else float("nan")
        )

    def best(self) -> str:
        """Return the rival that stays least behind a second experiment, or ``""`` if nothing discriminates."""
        behind = {name: self._shortfalls(name) for name in self.rivals}
        known = {
            name: float(np.nanmean(values))
            for name, values in behind.items()
            if np.isfinite(values).any()
        }
        return min(known, key=lambda name: known[name], default="")

    def _shortfalls(self, contender: str) -> Floats:
        """Return (M,) shortfalls on the metrics that discriminate and have a range."""
        if contender not in self._behind:
            found = [
                shortfall(
                    self.loss(contender, name),
                    positive_control=self._loss(POSITIVE, name),
                    negative_control=self._loss(self.negative_of(name), name),
                )
                for name in self.suite
                if self.tells(name)
            ]
            self._behind[contender] = np.array(found, dtype=np.float64)
        return self._behind[contender]

    def mean(self, contender: str, metric: str) -> float:
        """Return the mean value of a contender; NaN if it has none, or was not scored."""
        return (
            _mean(self.scored[contender][metric].values)
            if contender in self.scored
            else float("nan")
        )

    # -- tables ------------------------------------------------------------------------------------------------------

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of ``uns["evaluation"]``, by name."""
        conditions = self._conditions()
        scores = self._scores()
        per_condition = [name for name, m in self.suite.items() if m.per == "condition"]
        values = {name: self.scored[PREDICTION][name].values for name in per_condition}
        index = pd.Index(self.exam.truth.names, name="condition")
        return {
            "table": pd.DataFrame(values, index=index),
            "summary": pd.DataFrame(
                [self._line(n) for n in self.suite], index=pd.Index(self.suite, name="metric")
            ),
            "contenders": self._contenders(),
            "scores": scores,
            "strata": self._strata(scores, conditions),
            "missing": pd.DataFrame(
                list(self._missing()), columns=["contender", "condition", "metric", "reason"]
            ),
            "conditions": conditions,
        }

    def _line(self, name: str) -> dict[str, object]:
        """Return the row of a metric in the summary."""
        m, best, (part, order) = self.suite[name], self.best_of(name), self.range_of(name)
        found = self.skill(PREDICTION, name)
        values = self.scored[PREDICTION][name].values
        return {
            "family": m.family,
            "direction": m.direction,
            "perfect": m.perfect,
            "value": _mean(values),
            "positive": self.mean(POSITIVE, name),
            "negative": self.mean(self.negative_of(name), name),
            "negative_control": self.negative_of(name)
            if self.negative_of(name) in self.scored
            else "",
            "ceiling": _mean(ceiling(self.scored[POSITIVE][name].values))
            if m.correlation and POSITIVE in self.scored
            else np.nan,
            "drf": part,
            "bds": order,
            "discriminates": self.tells(name),
            "best_baseline": best,
            "best_value": _mean(self.scored[best][name].values) if best else np.nan,
            "skill": found.value,
            "skill_low": found.low,
            "skill_high": found.high,
            "n": int(np.isfinite(values).sum()),
            "n_missing": int(np.isnan(values).sum()),
        }

    def _contenders(self) -> pd.DataFrame:
        rows = {
            name: {
                "score": self.mean_skill(name),
                "transductive": name in self._transductive,
                **{m: _mean(s.values) for m, s in scored.items()},
            }
            for name, scored in self.scored.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("contender")

    def _names(self, metric: str) -> tuple[str, ...]:
        return self.exam.truth.names if self.suite[metric].per == "condition" else (SCREEN,)

    def _scores(self) -> pd.DataFrame:
        parts = [
            pd.DataFrame(
                {
                    "contender": who,
                    "condition": self._names(name),
                    "metric": name,
                    "value": found.values,
                }
            )
            for who, scored in self.scored.items()
            for name, found in scored.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def _missing(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield what is not there, and why."""
        for condition, reason in self.exam.skipped.items():
            yield "(all)", condition, "(all)", reason
        for who, reason in self._refused.items():
            yield who, "(all)", "(all)", reason
        for who, scored in self.scored.items():
            for name, found in scored.items():
                for at, reason in found.reasons.items():
                    yield who, self._names(name)[at], name, reason

    def _conditions(self) -> pd.DataFrame:
        """Return the conditions with size and coherence of the real effect."""
        real, truth = self.exam.truth.real, self.exam.truth
        table = self.exam.conditions.assign(
            magnitude=real.magnitude,
            coherence=real.coherence,
            n_de=((real.genes.fdr < ALPHA) & truth.mask).sum(axis=1).astype(np.int64),
        )
        for kind, column in (("effect", "magnitude"), ("coherence", "coherence")):
            rank = table[column].rank(method="first", pct=True, na_option="top").to_numpy()
            third = np.clip(np.ceil(3 * rank).astype(int) - 1, 0, 2)
            table[f"{kind}_stratum"] = np.array(STRATA[kind], dtype=object)[third]
        return table

    @staticmethod
    def _strata(scores: pd.DataFrame, conditions: pd.DataFrame) -> pd.DataFrame:
        parts = []
        for kind, levels in STRATA.items():
            stratum = scores["condition"].map(conditions[f"{kind}_stratum"])
            for level in levels:
                own = (
                    scores[stratum == level]
                    .groupby(["metric", "contender"], sort=False)["value"]
                    .agg(["mean", "count"])
                )
                parts.append(own.reset_index().assign(stratum=f"{kind} {level}"))
        return pd.concat(parts, ignore_index=True).rename(columns={"mean": "value", "count": "n"})


def _mean(values: Floats) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else float("nan")
