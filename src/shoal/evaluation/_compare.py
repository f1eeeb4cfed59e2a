"""Scores of contenders over data sets and seeds, and their spread over resampled perturbations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._contenders import COPY, NEGATIVE, POSITIVE
from .._random import RNGLike, as_generator
from ..metrics._calibration import best_baseline, complete
from ..metrics._score import WORST
from ..metrics._skill import Estimate, skill_of_means, tails

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._typing import Floats
    from ._rows import Row

COLUMN_OF = {POSITIVE: "positive", NEGATIVE: "negative", COPY: "copy"}  # controls, in a row
Key = tuple[str, str, int]  # data set, split, seed


@dataclass(frozen=True)
class Results:
    """The results of all contenders on one split of one data set with one seed.

    Attributes
    ----------
    rows
        Model -> its result.
    chosen
        Metrics that count, of those that discriminate; all if ``None``.
    """

    rows: Mapping[str, Row]
    chosen: Sequence[str] | None = None

    @cached_property
    def any_row(self) -> Row:
        """One of the rows: real cells and controls are the same in all."""
        return next(iter(self.rows.values()))

    @cached_property
    def contenders(self) -> list[str]:
        """Models, baselines and controls."""
        return [*self.rows, *COLUMN_OF]

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics that discriminate, in their order."""
        return [
            name
            for name, record in self.any_row.metrics.items()
            if record["discriminates"] and (self.chosen is None or name in self.chosen)
        ]

    @cached_property
    def owners(self) -> list[str]:
        """Perturbation of each condition."""
        return list(self.any_row.conditions.values())

    @cached_property
    def rivals(self) -> list[str]:
        """Baselines and the control copy."""
        return [COPY, *(name for name, row in self.rows.items() if row.kind == "baseline")]

    def loss(self, contender: str, metric: str) -> Floats:
        """Return the losses of a contender by condition."""
        column = COLUMN_OF.get(contender)
        row = self.any_row if column else self.rows[contender]
        own = row.loss(metric, column or "value").reindex(self.any_row.loss(metric).index)
        return np.asarray(own.to_numpy(), dtype=np.float64)

    def best(self, metric: str) -> str | None:
        """Return the best rival of a metric."""
        at = best_baseline(np.stack([self.loss(name, metric) for name in self.rivals]))
        return None if at is None else self.rivals[at]

    def skills(self, metric: str) -> dict[str, float]:
        """Return the skill of each contender against the best rival of the metric."""
        best, skills = self.best(metric), {}
        if best is None:
            return {}
        for name in self.contenders:
            losses = [self.loss(one, metric) for one in (name, best, POSITIVE)]
            kept = complete(*losses)
            if kept.any() and losses[1][kept].mean() > 0:
                skills[name] = float(skill_of_means(np.array([one[kept].mean() for one in losses])))
        return skills

    def shortfalls(self, contender: str, weight: Floats) -> Floats:
        """Return how far a contender stays behind a second experiment.

        Parameters
        ----------
        contender
            Its name.
        weight
            (n_draws, n_conditions) weights of the conditions.

        Returns
        -------
        (n_metrics, n_draws) shortfalls: 0 as a second experiment, 1 as the negative control. NaN
        where a metric cannot tell the two apart.
        """
        behind = np.full((len(self.metrics), len(weight)), np.nan)
        for row, metric in enumerate(self.metrics):
            losses = [self.loss(one, metric) for one in (contender, POSITIVE, NEGATIVE)]
            kept = complete(*losses)
            if not kept.any():
                continue
            w = weight[:, kept] if len(kept) == weight.shape[1] else np.ones((len(weight), 1))
            own, good, bad = (w @ np.column_stack(losses)[kept]).T / np.maximum(w.sum(axis=1), 1)
            reach = np.where((bad > good) & (w.sum(axis=1) > 0), bad - good, np.nan)
            behind[row] = np.clip((own - good) / reach, 0, WORST)
        return behind

    def scores(self, weight: Floats) -> dict[str, Floats]:
        """Return (n_draws,) scores of each contender.

        They are measured from the baseline that is best without resampling.
        """
        behind = {name: self.shortfalls(name, weight) for name in self.contenders}
        known = {
            name: np.nanmean(behind[name][:, 0])
            for name in self.rivals
            if np.isfinite(behind[name][:, 0]).any()
        }
        if not known:
            return {}
        reference, scores = behind[min(known, key=lambda name: known[name])], {}
        for name, own in behind.items():
            both = np.isfinite(own) & np.isfinite(reference)
            n = np.maximum(both.sum(axis=0), 1)
            mine, other = (np.where(both, one, 0.0).sum(axis=0) / n for one in (own, reference))
            most = np.maximum(mine, other)
            score = np.divide(other - mine, most, out=np.zeros_like(most), where=most > 0)
            if both[:, 0].any():
                scores[name] = np.where(both.any(axis=0), score, np.nan)
        return scores


class Comparison:
    """Scores of all contenders, and their spread over resampled perturbations.

    All conditions of a perturbation are drawn together, in all seeds of a split. Data sets and
    splits are drawn independently. The draws are the same for all contenders, so that differences
    between them are paired.

    Parameters
    ----------
    rows
        Results; one that failed is a contender without a score.
    metrics
        Metrics that count, of those that discriminate; all if ``None``.
    n_boot, rng
        Number of draws and their seed.

    Attributes
    ----------
    contenders
        Names of models, baselines and controls.
    results
        (data set, split, seed) -> results.
    skill
        (data set, split, seed) -> table of contender x metric.
    """

    def __init__(
        self, rows: Iterable[Row], *, metrics: Sequence[str] | None, n_boot: int, rng: RNGLike
    ) -> None:
        rows = list(rows)
        self.contenders = [*dict.fromkeys(row.model for row in rows), *COLUMN_OF]
        by_key: dict[Key, dict[str, Row]] = {}
        for row in rows:
            if not row.note:
                by_key.setdefault((row.data, row.split, row.seed), {})[row.model] = row
        self.results = {key: Results(own, metrics) for key, own in by_key.items()}
        self.skill: dict[Key, pd.DataFrame] = {}
        self._drawn: dict[tuple[str, Key], Floats] = {}  # scores, the first without resampling
        self._units: dict[tuple[str, str], int] = {}
        generator = as_generator(rng)
        for place in dict.fromkeys(key[:2] for key in self.results):
            seeds = {key: one for key, one in self.results.items() if key[:2] == place}
            units = sorted({owner for one in seeds.values() for owner in one.owners})
            n = self._units[place] = len(units)
            counts = np.vstack([np.ones(n), generator.multinomial(n, np.full(n, 1 / n), n_boot)])
            number = {unit: i for i, unit in enumerate(units)}
            for key, one in seeds.items():
                self._enter(key, one, counts[:, np.array([number[owner] for owner in one.owners])])

    def _enter(self, key: Key, one: Results, weight: Floats) -> None:
        """Note skills and scores of one split with one seed."""
        skills = pd.DataFrame({metric: one.skills(metric) for metric in one.metrics})
        self.skill[key] = skills.reindex(pd.Index(one.contenders))
        self._drawn |= {(contender, key): drawn for contender, drawn in one.scores(weight).items()}

    def keys(self, contender: str) -> list[Key]:
        """Return where a contender has a score."""
        return [key for key in self.results if (contender, key) in self._drawn]

    def score(self, contender: str, keys: Sequence[Key] | None = None) -> float:
        """Return the score, averaged over seeds, then over data sets and splits."""
        drawn = self._mean(
            {key: self._drawn[contender, key] for key in keys or self.keys(contender)}
        )
        return float("nan") if drawn is None else float(drawn[0])

    def difference(self, a: str, b: str, *, level: float) -> Estimate:
        """Return the score of `a` less that of `b`, where both have one.

        Its interval is over perturbations.
        """
        shared = [key for key in self.keys(a) if key in set(self.keys(b))]
        drawn = self._mean({key: self._drawn[a, key] - self._drawn[b, key] for key in shared})
        if drawn is None:
            return Estimate(np.nan, np.nan, np.nan, 0, "no data set on which both have a score")
        n = sum(self._units[place] for place in {key[:2] for key in shared})
        if n < 2:
            return Estimate(float(drawn[0]), np.nan, np.nan, n)
        low, high = np.nanquantile(drawn[1:], tails(level, n))
        return Estimate(float(drawn[0]), float(low), float(high), n)

    @staticmethod
    def _mean(drawn: Mapping[Key, Floats]) -> Floats | None:
        """Average over the seeds of each split of each data set, then over these."""
        if not drawn:
            return None
        places = dict.fromkeys(key[:2] for key in drawn)
        return np.mean(
            [np.mean([v for k, v in drawn.items() if k[:2] == place], axis=0) for place in places],
            axis=0,
        )
