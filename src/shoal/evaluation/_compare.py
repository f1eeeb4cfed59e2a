"""Scores of contenders over data sets and seeds, and their spread over resampled perturbations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._contenders import CONTROLS, COPY, NEGATIVE, POSITIVE
from .._random import RNGLike, as_generator
from ..metrics._calibration import complete
from ..metrics._score import interval
from ..metrics._skill import Estimate, skill_of_means
from ._judged import Contenders
from ._rows import COLUMN_OF, OWN, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._typing import Floats, Ints
    from ._rows import Row

Key = tuple[str, str, int]  # data set, split, seed
SHARED = (*CONTROLS, REFERENCE)  # contenders that are the same in all rows


@dataclass(frozen=True)
class Results:
    """The results of all contenders on one split of one data set with one seed.

    Attributes
    ----------
    rows
        Model -> its result.
    chosen
        Metrics that count; all if ``None``.
    """

    rows: Mapping[str, Row]
    chosen: Sequence[str] | None = None

    @cached_property
    def any_row(self) -> Row:
        """One of the rows: real cells, controls and reference are the same in all."""
        return next(iter(self.rows.values()))

    @cached_property
    def names(self) -> list[str]:
        """Models, baselines and controls."""
        return [*self.rows, *CONTROLS]

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics that count, in their order."""
        known = self.any_row.metrics
        return [name for name in known if self.chosen is None or name in self.chosen]

    @cached_property
    def telling(self) -> list[str]:
        """Metrics that discriminate, of those that count."""
        return [name for name in self.metrics if self.any_row.metrics[name]["discriminates"]]

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
        row = self.any_row if contender in SHARED else self.rows[contender]
        own = row.loss(metric, COLUMN_OF.get(contender, COLUMN_OF[OWN]))
        return np.asarray(own.reindex(self.any_row.loss(metric).index).to_numpy(), dtype=np.float64)

    def effects(self, contender: str, metric: str) -> Floats:
        """Return (D,) differences of the draws."""
        row = self.any_row if contender in SHARED else self.rows[contender]
        own = row.draws[metric][COLUMN_OF.get(contender, COLUMN_OF[OWN])]
        return np.asarray(own, dtype=np.float64)

    @cached_property
    def contenders(self) -> Contenders:
        """The losses of all, the reference among them."""
        owner: Ints = np.unique(self.owners, return_inverse=True)[1]
        silent = {name for row in self.rows.values() for name in row.silent}
        return Contenders(
            losses={
                name: {
                    metric: (self.loss(name, metric), self.effects(name, metric))
                    for metric in self.metrics
                }
                for name in (*self.rows, *SHARED)
            },
            families={name: self.any_row.metrics[name]["family"] for name in self.metrics},
            tells={name: self.any_row.metrics[name]["discriminates"] for name in self.metrics},
            negative=dict.fromkeys(self.metrics, NEGATIVE),  # of each metric its own
            owner=owner,
            silent=np.array([name in silent for name in self.any_row.conditions], dtype=bool),
            responds=self.any_row.responds,
        )

    @cached_property
    def reference(self) -> str:
        """Row of the reference; ``""`` if there is none."""
        return REFERENCE if self.any_row.reference else ""

    def skills(self, metric: str) -> dict[str, float]:
        """Return the skill of each contender against the reference."""
        skills: dict[str, float] = {}
        if not self.reference:
            return skills
        for name in self.names:
            losses = [self.loss(one, metric) for one in (name, REFERENCE, POSITIVE)]
            kept = complete(*losses)
            if kept.any() and losses[1][kept].mean() > 0:
                skills[name] = float(skill_of_means(np.array([one[kept].mean() for one in losses])))
        return skills


def require_same_cells(key: Key, rows: Sequence[Row]) -> None:
    """Raise ``ValueError`` if results that are compared were not scored on the same real cells.

    Then a second experiment has other values.

    Parameters
    ----------
    key
        What they are the results of.
    rows
        Results that did not fail.
    """
    first = rows[0]
    for row in rows[1:]:
        both = [name for name in first.metrics if name in row.metrics]
        pair = [[one.metrics[name][COLUMN_OF[POSITIVE]] for name in both] for one in (first, row)]
        one, other = np.array(pair, dtype=np.float64)
        if row.conditions != first.conditions or not _alike(one, other):
            data, split, seed = key
            msg = (
                f"{data}, {split}, seed {seed}: {first.model} and {row.model} were scored on "
                "different held-out cells, so their scores do not stand beside one another: make "
                "one of them anew, in a folder of its own or after removing its file"
            )
            raise ValueError(msg)


def _alike(one: Floats, other: Floats) -> bool:
    """Return whether numbers are the same up to what other machines make of them."""
    return np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)


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

    Raises
    ------
    ValueError
        If results of one split and seed are of different held-out conditions, or of other real
        cells of them.

    Attributes
    ----------
    contenders
        Names of models, baselines and controls.
    results
        (data set, split, seed) -> results.
    numbers
        (data set, split, seed) -> table of contender x ``achieved``, ``harm``, ``score_best``.
    skill
        (data set, split, seed) -> table of contender x metric.
    """

    def __init__(
        self, rows: Iterable[Row], *, metrics: Sequence[str] | None, n_boot: int, rng: RNGLike
    ) -> None:
        rows = list(rows)
        self.contenders = [*dict.fromkeys(row.model for row in rows), *CONTROLS]
        by_key: dict[Key, dict[str, Row]] = {}
        for row in rows:
            if not row.note:
                by_key.setdefault((row.data, row.split, row.seed), {})[row.model] = row
        for key, own in by_key.items():
            require_same_cells(key, list(own.values()))
        self.results = {key: Results(own, metrics) for key, own in by_key.items()}
        self.skill: dict[Key, pd.DataFrame] = {}
        self.numbers: dict[Key, pd.DataFrame] = {}
        self._drawn: dict[tuple[str, Key], Floats] = {}  # scores, the first without resampling
        self._compared: dict[tuple[str, Key], Floats] = {}  # the same, or what is compared instead
        self._units: dict[tuple[str, str], int] = {}
        generator = as_generator(rng)
        for place in dict.fromkeys(key[:2] for key in self.results):
            seeds = {key: one for key, one in self.results.items() if key[:2] == place}
            units = sorted({owner for one in seeds.values() for owner in one.owners})
            n = self._units[place] = len(units)
            counts = np.vstack([np.ones(n), generator.multinomial(n, np.full(n, 1 / n), n_boot)])
            number = {unit: i for i, unit in enumerate(units)}
            for key, one in seeds.items():
                whose = np.array([number[owner] for owner in one.owners])
                d = one.contenders.judge.draws.shape[2]
                draws = np.vstack([np.ones(d), generator.multinomial(d, np.full(d, 1 / d), n_boot)])
                self._enter(key, one, (counts[:, whose].astype(np.float64), draws))

    def _enter(self, key: Key, one: Results, weights: tuple[Floats, Floats]) -> None:
        """Note skills and scores of one split with one seed."""
        skills = pd.DataFrame({metric: one.skills(metric) for metric in one.telling})
        self.skill[key] = skills.reindex(pd.Index(one.names))
        judged = one.contenders.judged(one.reference, weights=weights)
        best = one.contenders.judged(one.contenders.best(one.rivals))
        at = [one.contenders.names.index(name) for name in one.names]
        columns = {"achieved": judged.achieved, "harm": judged.harm, "score_best": best.score}
        self.numbers[key] = pd.DataFrame(
            {name: own[0, at] for name, own in columns.items()}, index=one.names
        )
        for name, place in zip(one.names, at, strict=True):
            own, net = judged.score[:, place], judged.achieved[:, place] - judged.harm[:, place]
            if np.isfinite(own[0]):
                self._drawn[name, key] = own
            if np.isfinite(own[0]) or np.isfinite(net[0]):
                self._compared[name, key] = own if np.isfinite(own[0]) else net

    def keys(self, contender: str) -> list[Key]:
        """Return where a contender has a score."""
        return [key for key in self.results if (contender, key) in self._drawn]

    def score(self, contender: str, keys: Sequence[Key] | None = None) -> float:
        """Return the score, averaged over seeds, then over data sets and splits."""
        found = self.keys(contender) if keys is None else keys
        drawn = self._mean({key: self._drawn[contender, key] for key in found})
        return float("nan") if drawn is None else float(drawn[0])

    def estimate(self, contender: str, *, level: float) -> Estimate:
        """Return the score with its interval over perturbations and draws."""
        keys = self.keys(contender)
        drawn = self._mean({key: self._drawn[contender, key] for key in keys})
        if drawn is None:
            return Estimate(np.nan, np.nan, np.nan, 0, "no data set on which it has a score")
        return interval(drawn, n_owners=self._n_units(keys), level=level)

    def number(self, contender: str, column: str) -> float:
        """Return the mean of a column of `numbers`, over seeds, then data sets and splits."""
        found = {
            key: table.loc[[contender], column].to_numpy(dtype=np.float64)
            for key, table in self.numbers.items()
            if contender in table.index and table.loc[[contender], column].notna().all()
        }
        mean = self._mean(found)
        return float("nan") if mean is None else float(mean[0])

    def _n_units(self, keys: Sequence[Key]) -> int:
        return sum(self._units[place] for place in {key[:2] for key in keys})

    def difference(self, a: str, b: str, *, level: float) -> Estimate:
        """Return the score of `a` less that of `b`, where both have one.

        Where the reference leaves no room for scores, it is what they achieve less the harm.
        Its interval is over perturbations and draws.
        """
        drawn_of = self._compared
        shared = [key for key in self.results if (a, key) in drawn_of and (b, key) in drawn_of]
        drawn = self._mean({key: drawn_of[a, key] - drawn_of[b, key] for key in shared})
        if drawn is None:
            return Estimate(np.nan, np.nan, np.nan, 0, "no data set on which both have a score")
        return interval(drawn, n_owners=self._n_units(shared), level=level)

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
