"""The scores of all predictions of a task: values, what the metrics can tell, and skill."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import CONTROLS, COPY, NEGATIVE, POSITIVE, PREDICTION
from ..metrics._calibration import bds, best_baseline, discriminates, drf, loss, paired
from ..metrics._registry import Scored, score
from ..metrics._skill import Estimate, skill
from ._controls import collapsed
from ._judged import Contenders
from ._responds import Responses, responses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._typing import Floats
    from ..metrics._comparison import Populations
    from ..metrics._registry import Metric
    from ._baseline_predictions import BaselinePrediction
    from ._task import EvaluationTask

SCREEN = "(screen)"  # the condition of metrics that are one number for the screen


@dataclass(frozen=True)
class Drawn:
    """Values of one metric in all draws.

    Attributes
    ----------
    draws
        (D, P) values, NaN where there is none; (D, 1) for a metric of the whole screen.
    reasons
        Why there is no value in some draw, by position of the condition.
    """

    draws: Floats
    reasons: dict[int, str]

    @cached_property
    def values(self) -> Floats:
        """(P,) means over the draws that have a value."""
        return mean_over_draws(self.draws)


class Scores:
    """Values of all predictions of a task, metric by metric.

    A prediction is one row of the table of scores: the prediction that is evaluated, a control or a
    baseline. A baseline or the control copy is a *rival* of the others.

    Parameters
    ----------
    tasks
        Draws of what is predicted.
    metrics
        Metrics by name.
    seed
        Seed of the bootstrap.

    Attributes
    ----------
    task
        The first of the tasks: conditions are the same in all.
    scored
        Prediction -> metric -> its values.
    refused
        Predictions that do not exist, and why.
    transductive
        Predictions whose embedding has seen held-out cells.
    same
        Prediction -> others that are the same cells, which are scored in its row.
    reference
        Row that skill and score are measured from; ``""`` if there is none.
    """

    def __init__(
        self, tasks: Sequence[EvaluationTask], metrics: Mapping[str, Metric], *, seed: int
    ) -> None:
        self.tasks, self.task, self.metrics, self.seed = tuple(tasks), tasks[0], metrics, seed
        self.scored: dict[str, dict[str, Drawn]] = {}
        self.refused: dict[str, str] = {}
        self.transductive: set[str] = set()
        self.same: dict[str, list[str]] = {}
        self.reference = COPY
        self._estimates: dict[tuple[str, str], Estimate] = {}
        self._tells: dict[str, bool] = {}

    def add(self, name: str, made: Sequence[Populations], *, transductive: bool = False) -> None:
        """Compute all metrics of a prediction.

        Parameters
        ----------
        name
            Its name.
        made
            Its cells in each of the draws.
        transductive
            Whether the embedding of its model has seen held-out cells.
        """
        if transductive:
            self.transductive.add(name)
        if name in CONTROLS:
            self._tells.clear()
        self.scored[name] = self._values(made)

    def _values(
        self, made: Sequence[Populations], only: Sequence[str] | None = None
    ) -> dict[str, Drawn]:
        """Return the values of some metrics, draw by draw."""
        names = list(self.metrics if only is None else only)
        found: dict[str, list[Scored]] = {name: [] for name in names}
        for task, cells in zip(self.tasks, made, strict=True):
            for name in names:
                found[name].append(score(self.metrics[name], task.truth, cells))
        return {name: _drawn(several) for name, several in found.items()}

    def enter(self, found: BaselinePrediction) -> None:
        """Score a baseline, or note that it does not exist or is the same cells as another row."""
        if isinstance(found.made, str):
            self.refused[found.name] = found.made
        elif found.same_as:
            self.same.setdefault(found.same_as, []).append(found.name)
        else:
            self.add(found.name, found.made, transductive=found.transductive)

    def in_words(self) -> list[str]:
        """Return which predictions are the same cells, one text for each row."""
        return [" = ".join([row, *others]) for row, others in self.same.items()]

    def row_of(self) -> dict[str, str]:
        """Return the name of a rival -> the row in which its cells are scored."""
        further = {name: row for row, several in self.same.items() for name in several}
        return {name: name for name in self.rivals} | further

    def conditions_of(self, metric: str) -> tuple[str, ...]:
        """Return the conditions that a metric has values of, or the whole screen as one."""
        per_condition = self.metrics[metric].per == "condition"
        return self.task.truth.names if per_condition else (SCREEN,)

    def mean(self, name: str, metric: str) -> float:
        """Return the mean value of a prediction; NaN if it has none, or was not scored."""
        return mean_of(self.scored[name][metric].values) if name in self.scored else float("nan")

    # -- losses ----------------------------------------------------------------------------------

    def losses(self, name: str, metric: str) -> Floats:
        """Return (D, P) losses of a prediction; that of knowing nothing where it has no value.

        Where a prediction has no value and the positive control has one, its loss is the worst of
        three: that of the negative control, that of the control copy and, where higher values are
        better, that of the value 0. This holds for the two controls too. Otherwise a prediction
        could leave out what it is bad at, as a constant one has no correlation.
        """
        own = self._losses(name, metric)
        if name == POSITIVE or POSITIVE not in self.scored:
            return own
        record = self.metrics[metric]
        nothing = np.fmax(
            self._losses(self.negative_of(metric), metric), self._losses(COPY, metric)
        )
        if record.direction == "higher":
            nothing = np.fmax(nothing, record.perfect)
        return np.where(np.isnan(own) & ~np.isnan(self._losses(POSITIVE, metric)), nothing, own)

    def loss(self, name: str, metric: str) -> Floats:
        """Return (P,) losses of a prediction, means over draws."""
        return mean_over_draws(self.losses(name, metric))

    def _losses(self, name: str, metric: str) -> Floats:
        """Return the losses, NaN if it was not scored, or if no value of the metric is best."""
        record = self.metrics[metric]
        if name not in self.scored or not np.isfinite(record.perfect):
            return np.full((len(self.tasks), len(self.conditions_of(metric))), np.nan)
        return loss(self.scored[name][metric].draws, record.direction, perfect=record.perfect)

    def negative_of(self, metric: str) -> str:
        """Return the name of the negative control of a metric."""
        return COPY if self.metrics[metric].negative == "control" else NEGATIVE

    # -- calibration -----------------------------------------------------------------------------

    @property
    def rivals(self) -> list[str]:
        """Names of the baselines and of the control copy."""
        return [name for name in self.scored if name not in (PREDICTION, POSITIVE, NEGATIVE)]

    def range_of(self, metric: str) -> tuple[float, float]:
        """Return the dynamic range fraction and the bound discrimination score of a metric.

        A metric of the whole screen has one number in each draw, and they are over the draws.
        """
        pair = [self.losses(name, metric) for name in (POSITIVE, self.negative_of(metric))]
        one, other = (
            mean_over_draws(own) if own.shape[1] > 1 or len(own) == 1 else own[:, 0] for own in pair
        )
        return drf(one, other), bds(one, other)

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
        if self.metrics[metric].family != "population":
            return False
        record, found = self.metrics[metric], self._collapsed[metric]
        lost = mean_over_draws(loss(found.draws, record.direction, perfect=record.perfect))
        one, other = paired(lost, self.loss(POSITIVE, metric))
        return bool(one.size and one.mean() <= other.mean())

    @cached_property
    def _collapsed(self) -> dict[str, Drawn]:
        """Values of the metrics of populations for the mean of the positive control."""
        names = [name for name, record in self.metrics.items() if record.family == "population"]
        return self._values([collapsed(task) for task in self.tasks], names)

    def best_of(self, metric: str) -> str:
        """Return the best rival of a metric, of those that have a value; or ``""``."""
        if not self.rivals:
            return ""
        own = [mean_over_draws(self._losses(name, metric)) for name in self.rivals]
        at = best_baseline(np.stack(own))
        return "" if at is None else self.rivals[at]

    def skill(self, name: str, metric: str) -> Estimate:
        """Return the skill of a prediction against the reference."""
        if (name, metric) not in self._estimates:
            self._estimates[name, metric] = self._skill(name, metric)
        return self._estimates[name, metric]

    def _skill(self, name: str, metric: str) -> Estimate:
        if not self.reference:
            return Estimate(np.nan, np.nan, np.nan, 0, "no reference could be made")
        per_condition = self.metrics[metric].per == "condition"
        return skill(
            self.loss(name, metric),
            self.loss(self.reference, metric),
            positive_control=self.loss(POSITIVE, metric),
            owner=self.task.truth.owner if per_condition else np.zeros(1, dtype=np.int64),
            rng=self.seed,
        )

    # -- over all metrics ------------------------------------------------------------------------

    @cached_property
    def responses(self) -> Responses:
        """Whether any condition differs from the controls, and which do not."""
        return responses(self.task)

    def contenders(self) -> Contenders:
        """Return the losses of all rows, from which scores are made."""
        names = list(self.scored)
        return Contenders(
            losses={
                name: {
                    metric: by_condition_and_draw(self.losses(name, metric))
                    for metric in self.metrics
                }
                for name in names
            },
            families={name: record.family for name, record in self.metrics.items()},
            tells={name: self.tells(name) for name in self.metrics},
            negative={name: self.negative_of(name) for name in self.metrics},
            owner=self.task.truth.owner,
            silent=self.responses.silent,
            responds=self.responses.anything,
        )


def by_condition_and_draw(losses: Floats) -> tuple[Floats, Floats]:
    """Return the (P,) means over draws of (D, P) losses, and the (D,) differences of the draws."""
    means = mean_over_draws(losses)
    left = losses - means
    has = np.isfinite(left)
    n = np.maximum(has.sum(axis=1), 1)
    return means, np.where(has, left, 0.0).sum(axis=1) / n


def mean_over_draws(values: Floats) -> Floats:
    """Return (P,) means over the draws that have a value; NaN if none has."""
    has = np.isfinite(values)
    n = has.sum(axis=0)
    total = np.where(has, values, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def mean_of(values: Floats) -> float:
    """Return the mean of the values that are not missing; NaN if all are."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else float("nan")


def _drawn(several: Sequence[Scored]) -> Drawn:
    """Put the values of the draws together; a reason says in how many of them it held."""
    lacking: dict[int, list[str]] = {}
    for one in several:
        for at, reason in one.reasons.items():
            lacking.setdefault(at, []).append(reason)
    n = len(several)
    reasons = {
        at: said[0] if len(said) == n else f"{said[0]} (in {len(said)} of {n} draws)"
        for at, said in sorted(lacking.items())
    }
    return Drawn(np.stack([one.values for one in several]), reasons)
