"""Strategies tried in retrospect, on a screen that was measured in full."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._keys import COHERENCE
from .._logging import progress, quiet
from .._validate import one_of
from ..core._population import population
from ..core._screen import perturbed_labels, resolve
from ..models.base._embedding import vectors_of
from ..models.base._fitting import check_tried, fit_baseline
from ..models.base._registry import kind_of
from ..models.base._registry import names as model_names
from ..models.baselines._deltas import measure
from ..models.ensemble._members import Member
from ..models.ensemble._rules import LAST
from ._candidates import IN_CONTEXT, PERTURBATION, pool_of
from ._committee import Committee
from ._propose import responding
from ._strategies import STRATEGIES, Question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ..core._population import Population
    from ._candidates import Condition, Pool

RANDOM = "random"
LEAST = 10  # conditions of a screen that can be replayed
LEAST_CELLS = 3  # conditions of fewer cells are not judged
COMMITTEES: Mapping[str, tuple[str, ...]] = {
    PERTURBATION: ("kernel_ridge", "latent_linear", "nearest"),
    IN_CONTEXT: ("own_shift", "context_weighted", "kernel_ridge"),
}
TRAIN, HIDDEN = 0, -1


@dataclass(frozen=True)
class Plan:
    """How a screen is replayed; the arguments of :func:`shoal.benchmark.replay`."""

    strategies: tuple[str, ...]
    by: str
    n: int
    n_rounds: int
    n_starts: int
    n_random: int
    start: float
    judged: float
    model: str
    options: Mapping[str, Any]


class Screen:
    """A screen that was measured in full, and any part of it.

    Parameters
    ----------
    adata
        The screen. Its split is not looked at.
    embedding
        Vectors of the perturbations.
    by
        What is measured at once.
    """

    def __init__(self, adata: AnnData, embedding: str | pd.DataFrame | None, *, by: str) -> None:
        cells = population(adata, resolve(adata))
        perturbed_labels(adata, cells.screen)
        self.by, self.embedding = by, embedding
        self.vectors = None if embedding is None else vectors_of(adata, embedding)[1]
        self.cells = replace(cells, split=np.zeros(adata.n_obs, dtype=np.int64))
        self.responds = responding(adata) if COHERENCE in adata.uns else None
        pool = self._pool(self.cells, None, np.zeros(adata.n_obs, dtype=bool))
        self.conditions = pool.candidates
        position = {condition: i for i, condition in enumerate(self.conditions)}
        contexts = (*self.cells.contexts, "")
        names = (*self.cells.names, "", "")
        self.code = np.array(
            [
                position.get((names[p], contexts[c] if by == IN_CONTEXT else ""), -1)
                for p, c in zip(self.cells.labels.code, self.cells.context, strict=True)
            ]
        )
        self.code[~self.cells.perturbed] = -1
        self.control = self.cells.labels.is_control

    def _pool(self, cells: Population, given: list[Condition] | None, measured: Bools) -> Pool:
        conditions = _measured(cells, self.by) if given is None else given
        table = pd.DataFrame(conditions, columns=["perturbation", "context"])
        return pool_of(cells, table, measured=measured, by=self.by, vectors=self.vectors)

    def revealed(self, some: Ints) -> Population:
        """Return the cells, with some conditions and the controls on the side of training."""
        seen = self.control | np.isin(self.code, some)
        return self.cells.with_split(np.where(seen, TRAIN, HIDDEN))

    def choose(self, strategy: str, known: Ints, hidden: Ints, n: int, seed: int) -> Ints:
        """Return the n hidden conditions that a strategy would measure next."""
        cells = self.revealed(known)
        given = [self.conditions[i] for i in hidden]
        rng = np.random.default_rng(seed)
        pool = self._pool(cells, given, np.isin(self.code, known))
        pool = pool.ordered(rng.permutation(len(pool.candidates)))
        committee, responds = None, None
        if strategy == "disagreement":
            committee = Committee(
                {name: self._fit(cells, name, seed) for name in COMMITTEES[self.by]}
            )
        if strategy == "hit" and self.responds is not None:
            seen = {self.conditions[i][0] for i in known}
            responds = {name: own for name, own in self.responds.items() if name in seen}
        question = Question(cells, pool, self.by, committee=committee, responds=responds, seed=seed)
        order, _ = STRATEGIES[strategy](question, n)
        position = {condition: i for i, condition in enumerate(self.conditions)}
        return np.array([position[pool.candidates[i]] for i in order])

    def _fit(
        self, cells: Population, name: str, seed: int, options: Mapping[str, Any] | None = None
    ) -> Any:
        bar = {"enable_progress_bar": False} if kind_of(name) == "network" else {}
        if options or bar:
            own = Member(name, {**bar, **(options or {})})
            return own.fit(cells, embedding=self.embedding, seed=seed)
        return fit_baseline(cells, name, embedding=self.embedding, rng=seed)

    def truth(self, some: Ints) -> tuple[list[Condition], Floats]:
        """Return the conditions that are judged, and their (C, d) measured responses."""
        deltas = measure(self.revealed(some), self.cells.contexts)
        kept = np.flatnonzero(deltas.n >= LEAST_CELLS)
        contexts = (*self.cells.contexts, "")
        names = [str(deltas.names[i]) for i in deltas.perturbation[kept]]
        places = [contexts[i] for i in deltas.context[kept]]
        return list(zip(names, places, strict=True)), deltas.delta[kept]

    def error(
        self,
        known: Ints,
        judged: list[Condition],
        real: Floats,
        *,
        model: str,
        options: Mapping[str, Any],
        seed: int,
    ) -> float:
        """Return the squared error of the responses that a model predicts, over that of a copy."""
        cells = self.revealed(known)
        models = {model: self._fit(cells, model, seed, options)}
        if model != LAST:
            models[LAST] = self._fit(cells, LAST, seed)
        made = Committee(models).expected(judged, cells, dose=float("nan"), seed=seed)
        predicted = np.where(np.isfinite(made[:, 0]), made[:, 0], made[:, -1])
        return float(((predicted - real) ** 2).sum() / (real**2).sum())

    def hits(self, some: Ints) -> float:
        """Return how many of some conditions respond; NaN where that is not known."""
        if self.responds is None or self.by == IN_CONTEXT:
            return float("nan")
        return float(sum(self.responds.get(self.conditions[i][0], False) for i in some))


def replayed(screen: Screen, plan: Plan, rng: np.random.Generator) -> pd.DataFrame:
    """Return a row for each start, strategy, draw and round.

    Raises
    ------
    ValueError
        If the model is not known, there are too few conditions, or too few for the rounds.
    TypeError
        If the model knows no such option.
    """
    one_of(plan.model, model_names(images=False), name="model")
    check_tried(plan.model, plan.options)
    total = len(screen.conditions)
    n_start, n_judged = round(plan.start * total), round(plan.judged * total)
    left = total - n_start - n_judged
    if total < LEAST or n_start < 3 or n_judged < 3 or left <= plan.n * plan.n_rounds:
        msg = (
            f"the screen has {total} conditions by={plan.by!r}: {n_start} to start from, {n_judged}"
            f" to judge by, and {left} to choose from, which must be more than n x n_rounds = "
            f"{plan.n * plan.n_rounds}; and it takes {LEAST} conditions, 3 of each"
        )
        raise ValueError(msg)
    parts = []
    starts = rng.integers(2**31, size=plan.n_starts)
    for start, seed in enumerate(progress(starts, total=len(starts), desc="replay")):
        order = np.random.default_rng(seed).permutation(total)
        judged, first, rest = np.split(order, [n_judged, n_judged + n_start])
        with quiet():
            rows = _of_start(screen, plan, first, rest, judged, seed=int(seed))
        parts.append(rows.assign(start=start))
    return pd.concat(parts, ignore_index=True)


def _of_start(
    screen: Screen, plan: Plan, first: Ints, rest: Ints, judged: Ints, *, seed: int
) -> pd.DataFrame:
    """Return the rows of one division into measured, hidden and judged conditions."""
    truth = screen.truth(judged)

    def error(known: Ints) -> float:
        return screen.error(known, *truth, model=plan.model, options=plan.options, seed=seed)

    about = {"error_start": error(first), "error_all": error(np.concatenate([first, rest]))}
    draws = [(name, 0) for name in plan.strategies] + [(RANDOM, i) for i in range(plan.n_random)]
    rows = []
    for name, draw in draws:
        known, hidden = first, rest
        for turn in range(plan.n_rounds):
            own_seed = seed + 1000 * draw + turn
            chosen = screen.choose(name, known, hidden, plan.n, own_seed)
            known, hidden = np.concatenate([known, chosen]), np.setdiff1d(hidden, chosen)
            names = [" | ".join(filter(None, screen.conditions[i])) for i in chosen]
            rows.append(
                {
                    "strategy": name,
                    "draw": draw,
                    "round": turn + 1,
                    "n_measured": len(known),
                    "error": error(known),
                    **about,
                    "hits": screen.hits(known[len(first) :]),
                    "chosen": "; ".join(names),
                }
            )
    return pd.DataFrame(rows)


def _measured(cells: Population, by: str) -> list[Condition]:
    """Return all conditions of a screen."""
    contexts = np.array([*cells.contexts, ""], dtype=object)
    at = np.flatnonzero(cells.perturbed)
    pairs = np.unique(np.stack([cells.labels.code[at], cells.context[at]]), axis=1).T
    if by == PERTURBATION:
        return sorted({(cells.names[p], "") for p, _ in pairs})
    return sorted({(cells.names[p], str(contexts[c])) for p, c in pairs if c >= 0})


def summary(rows: pd.DataFrame, strategies: Sequence[str]) -> pd.DataFrame:
    """Return a row for each strategy and round: error and hits beside those of random choices.

    Differences are within a start, from the mean of its random draws. Their intervals are those of
    a mean over starts, by Student's t.

    Parameters
    ----------
    rows
        What `replayed` returned.
    strategies
        Strategies other than the random one.
    """
    from scipy.stats import t as student

    keys = ["strategy", "start", "round"]
    means = rows.groupby(keys, sort=False)[["error", "hits"]].mean()
    found = []
    for name in strategies:
        for turn in sorted(rows["round"].unique()):
            line: dict[str, Any] = {"strategy": name, "round": turn}
            own = means.loc[name].xs(turn, level="round")
            chance = means.loc[RANDOM].xs(turn, level="round")
            for column in ("error", "hits"):
                gap = (own[column] - chance[column]).to_numpy()
                n = len(gap)
                half = float(student.ppf(0.975, n - 1) * gap.std(ddof=1) / np.sqrt(n))
                mean = float(gap.mean())
                line |= {
                    column: float(own[column].mean()),
                    f"{column}_random": float(chance[column].mean()),
                    f"{column}_difference": mean,
                    f"{column}_low": mean - half,
                    f"{column}_high": mean + half,
                }
            line |= dict(rows[["error_start", "error_all"]].mean())
            line["verdict"] = _verdict(line["error_low"], line["error_high"])
            line["verdict_hits"] = _verdict(-line["hits_high"], -line["hits_low"])
            found.append(line)
    return pd.DataFrame(found)


def _verdict(low: float, high: float) -> str:
    """Return what the interval of a difference from random choices says; less is better."""
    if low != low:
        return ""
    if high < 0:
        return "better than random"
    return "worse than random" if low > 0 else "no better than random"
