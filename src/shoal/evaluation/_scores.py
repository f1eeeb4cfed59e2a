"""The scores of all predictions of a task: values, what the metrics can tell, and skill."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import CONTROLS, COPY, NEGATIVE, POSITIVE, PREDICTION
from ..metrics._calibration import bds, best_baseline, discriminates, drf, loss, paired
from ..metrics._registry import score
from ..metrics._score import overall, shortfall
from ..metrics._skill import Estimate, skill
from ._controls import collapsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._typing import Floats
    from ..metrics._comparison import Populations
    from ..metrics._registry import Metric, Scored
    from ._task import EvaluationTask

SCREEN = "(screen)"  # the condition of metrics that are one number for the screen


class Scores:
    """Values of all predictions of a task, metric by metric.

    A prediction is one row of the table of scores: the prediction that is evaluated, a control or a
    baseline. A baseline or the control copy is a *rival* of the others.

    Parameters
    ----------
    task
        What is predicted.
    metrics
        Metrics by name.
    seed
        Seed of the bootstrap of the skill.

    Attributes
    ----------
    scored
        Prediction -> metric -> its values.
    refused
        Predictions that do not exist, and why.
    transductive
        Predictions whose embedding has seen held-out cells.
    same
        Prediction -> others that are the same cells, which are scored in its row.
    """

    def __init__(self, task: EvaluationTask, metrics: Mapping[str, Metric], *, seed: int) -> None:
        self.task, self.metrics, self._seed = task, metrics, seed
        self.scored: dict[str, dict[str, Scored]] = {}
        self.refused: dict[str, str] = {}
        self.transductive: set[str] = set()
        self.same: dict[str, list[str]] = {}
        self._estimates: dict[tuple[str, str], Estimate] = {}
        self._behind: dict[str, Floats] = {}
        self._tells: dict[str, bool] = {}

    @cached_property
    def _collapsed(self) -> Populations:
        return collapsed(self.task)

    def add(self, name: str, made: Populations, *, transductive: bool = False) -> None:
        """Compute all metrics of a prediction.

        Parameters
        ----------
        name
            Its name.
        made
            Its cells.
        transductive
            Whether the embedding of its model has seen held-out cells.
        """
        if transductive:
            self.transductive.add(name)
        if name in CONTROLS:
            self._tells.clear()
        self._behind.pop(name, None)
        self.scored[name] = {
            metric: score(record, self.task.truth, made) for metric, record in self.metrics.items()
        }

    def refuse(self, name: str, reason: str) -> None:
        """Note a prediction that does not exist, and why."""
        self.refused[name] = reason

    def add_name(self, name: str, row: str) -> None:
        """Note a prediction that is the same cells as one that is scored.

        No number changes by leaving it out: skill and score are measured from the best rival, and
        none of them counts how many rivals there are.
        """
        self.same.setdefault(row, []).append(name)

    def in_words(self) -> list[str]:
        """Return which predictions are the same cells, one text for each row."""
        return [" = ".join([row, *others]) for row, others in self.same.items()]

    def conditions_of(self, metric: str) -> tuple[str, ...]:
        """Return the conditions that a metric has values of, or the whole screen as one."""
        per_condition = self.metrics[metric].per == "condition"
        return self.task.truth.names if per_condition else (SCREEN,)

    def mean(self, name: str, metric: str) -> float:
        """Return the mean value of a prediction; NaN if it has none, or was not scored."""
        return mean_of(self.scored[name][metric].values) if name in self.scored else float("nan")

    # -- losses ----------------------------------------------------------------------------------

    def loss(self, name: str, metric: str) -> Floats:
        """Return the losses of a prediction by condition.

        Where a prediction has no value and the positive control has one, its loss is that of
        knowing nothing: the larger one of the negative control and of the control copy. Otherwise
        a prediction could leave out what it is bad at, as a constant one has no correlation.
        """
        own = self._loss(name, metric)
        if name in (POSITIVE, NEGATIVE) or POSITIVE not in self.scored:
            return own
        nothing = np.fmax(self._loss(self.negative_of(metric), metric), self._loss(COPY, metric))
        return np.where(np.isnan(own) & ~np.isnan(self._loss(POSITIVE, metric)), nothing, own)

    def _loss(self, name: str, metric: str) -> Floats:
        """Return the losses, NaN if it was not scored, or if no value of the metric is best."""
        record = self.metrics[metric]
        if name not in self.scored or not np.isfinite(record.perfect):
            return np.full(len(self.conditions_of(metric)), np.nan)
        values = self.scored[name][metric].values
        return loss(values, record.direction, perfect=record.perfect)

    def negative_of(self, metric: str) -> str:
        """Return the name of the negative control of a metric."""
        return COPY if self.metrics[metric].negative == "control" else NEGATIVE

    # -- calibration -----------------------------------------------------------------------------

    @property
    def rivals(self) -> list[str]:
        """Names of the baselines and of the control copy."""
        return [name for name in self.scored if name not in (PREDICTION, POSITIVE, NEGATIVE)]

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return the dynamic range fraction and the bound discrimination score of a metric."""
        pair = self._loss(POSITIVE, metric), self._loss(self.negative_of(metric), metric)
        return drf(*pair), bds(*pair)

    def tells(self, metric: str) -> bool:
        """Return whether a metric discriminates on these data.

        A metric of populations must also prefer the cells of the positive control to their mean.
        """
        if metric not in self._tells:
            discriminating = bool(discriminates(*self.range_of(metric)))
            self._tells[metric] = discriminating and not self._fooled(metric)
        return self._tells[metric]

    def _fooled(self, metric: str) -> bool:
        """Return whether a metric of populations prefers the mean of the positive control."""
        record = self.metrics[metric]
        if record.family != "population":
            return False
        values = score(record, self.task.truth, self._collapsed).values
        lost = loss(values, record.direction, perfect=record.perfect)
        one, other = paired(lost, self._loss(POSITIVE, metric))
        return bool(one.size and one.mean() <= other.mean())

    def best_of(self, metric: str) -> str:
        """Return the best rival of a metric, or ``""``."""
        if not self.rivals:
            return ""
        at = best_baseline(np.stack([self.loss(name, metric) for name in self.rivals]))
        return "" if at is None else self.rivals[at]

    def skill(self, name: str, metric: str) -> Estimate:
        """Return the skill of a prediction against the best rival."""
        if (name, metric) not in self._estimates:
            self._estimates[name, metric] = self._skill(name, metric, self.best_of(metric))
        return self._estimates[name, metric]

    def _skill(self, name: str, metric: str, best: str) -> Estimate:
        if not best:
            return Estimate(np.nan, np.nan, np.nan, 0, "no baseline has a value")
        per_condition = self.metrics[metric].per == "condition"
        return skill(
            self.loss(name, metric),
            self.loss(best, metric),
            positive_control=self._loss(POSITIVE, metric),
            owner=self.task.truth.owner if per_condition else np.zeros(1, dtype=np.int64),
            rng=self._seed,
        )

    # -- over all metrics ------------------------------------------------------------------------

    def mean_skill(self, name: str) -> float:
        """Return the score over the metrics that discriminate.

        It is 0 for the best rival, 1 for a second experiment, and NaN if no metric discriminates.
        """
        best = self.best()
        return overall(self._shortfalls(name), self._shortfalls(best)) if best else float("nan")

    def best(self) -> str:
        """Return the rival that stays least behind a second experiment.

        ``""`` if no metric discriminates.
        """
        behind = {name: self._shortfalls(name) for name in self.rivals}
        known = {
            name: float(np.nanmean(values))
            for name, values in behind.items()
            if np.isfinite(values).any()
        }
        return min(known, key=lambda name: known[name], default="")

    def _shortfalls(self, name: str) -> Floats:
        """Return (M,) shortfalls on the metrics that discriminate."""
        if name not in self._behind:
            behind = [
                shortfall(
                    self.loss(name, metric),
                    positive_control=self._loss(POSITIVE, metric),
                    negative_control=self._loss(self.negative_of(metric), metric),
                )
                for metric in self.metrics
                if self.tells(metric)
            ]
            self._behind[name] = np.array(behind, dtype=np.float64)
        return self._behind[name]


def mean_of(values: Floats) -> float:
    """Return the mean of the values that are not missing; NaN if all are."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else float("nan")
