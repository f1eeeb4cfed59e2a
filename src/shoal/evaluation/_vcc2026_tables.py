"""The tables of an evaluation in the manner of the Virtual Cell Challenge 2026."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._contenders import PREDICTION, SAME
from ..metrics._external_vcc2026 import DISTANCE, ERROR, MSE, RULES, panel_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .._typing import Floats, Ints

MEAN, REPLICATE = "mean response", "replicate"
ALL = "(all)"


@dataclass(frozen=True, eq=False)
class Result:
    """What one context says.

    Attributes
    ----------
    context
        Its name; empty without one.
    at
        (P,) rows of its conditions in the table of conditions.
    values, baseline
        (P,) values of every metric of the prediction and of the mean response, by name. The latter
        are empty where there is no mean response.
    replicates
        (5,) values of the panel by name of the metric.
    n_de
        (P,) genes that are significant in the reference.
    reason
        Why there is no mean response; empty if there is one.
    """

    context: str
    at: Ints
    values: Mapping[str, Floats]
    baseline: Mapping[str, Floats]
    replicates: Mapping[str, Floats]
    n_de: Ints
    reason: str = ""

    def ends(self, name: str) -> tuple[float, float, float]:
        """Return the value of the prediction, of the mean response and of the replicate."""
        base = panel_value(name, self.baseline) if self.baseline else float("nan")
        return panel_value(name, self.values), base, float(self.replicates[name].mean())

    def scaled(self, name: str) -> float:
        """Return the value of the prediction on the scale of the challenge."""
        return RULES[name].scaled(*self.ends(name))


def tables_of(
    results: Sequence[Result],
    conditions: pd.DataFrame,
    names: Sequence[str],
    *,
    transductive: bool,
) -> dict[str, pd.DataFrame]:
    """Return the tables of an evaluation by name; :func:`shoal.tl.evaluate` describes them.

    Parameters
    ----------
    results
        What each context says.
    conditions
        Table of the conditions.
    names
        Metrics that were asked for.
    transductive
        Whether the embedding of the model has seen held-out cells.
    """
    columns = [name for name in names if name != MSE]
    columns += [ERROR, DISTANCE] if MSE in names else []
    n_de = _joined([one.n_de for one in results], results)
    table, base = (
        pd.DataFrame(
            {name: _joined([_of(one, who, name) for one in results], results) for name in columns},
            index=conditions.index,
        )
        for who in (PREDICTION, MEAN)
    )
    return {
        "table": table,
        "summary": pd.DataFrame(
            [_summary(results, table, name) for name in names], index=pd.Index(names, name="metric")
        ),
        "contenders": _contenders(results, names, transductive=transductive),
        "contexts": pd.DataFrame([_row(one, name) for one in results for name in names]),
        "scores": pd.concat([_long(PREDICTION, table), _long(MEAN, base)], ignore_index=True),
        "missing": pd.DataFrame(
            list(_missing(results, table)), columns=["contender", "condition", "metric", "reason"]
        ),
        "conditions": conditions.assign(n_de=n_de.astype(np.int64)),
    }


def _of(one: Result, who: str, name: str) -> Floats:
    """Return (P,) values of a contender."""
    found = one.values if who == PREDICTION else one.baseline
    return found[name] if found else np.full(len(one.at), np.nan)


def _joined(parts: Sequence[Floats | Ints], results: Sequence[Result]) -> Floats:
    """Return the values of all contexts in the order of the table of conditions."""
    joined = np.full(sum(len(one.at) for one in results), np.nan)
    for own, one in zip(parts, results, strict=True):
        joined[one.at] = own
    return joined


def _row(one: Result, name: str) -> dict[str, object]:
    """Return a metric in a context."""
    value, base, second = one.ends(name)
    return {
        "context": one.context,
        "metric": name,
        "value": value,
        "mean_response": base,
        "replicate": second,
        "replicate_sd": float(one.replicates[name].std()),
        "scaled": one.scaled(name),
        "n": len(one.at),
    }


def _summary(results: Sequence[Result], table: pd.DataFrame, name: str) -> dict[str, object]:
    """Return a metric over all contexts, in the columns of every evaluation."""
    rule, rows = RULES[name], pd.DataFrame([_row(one, name) for one in results])
    mean, scaled = rows[["value", "mean_response", "replicate"]].mean(), rows["scaled"].mean()
    n = int(table[ERROR if name == MSE else name].notna().sum())
    return {
        "family": rule.family,
        "direction": rule.direction,
        "perfect": rule.perfect,
        "value": mean["value"],
        "positive": mean["replicate"],
        "negative": mean["mean_response"],
        "negative_control": MEAN,
        "ceiling": np.nan,
        "drf": np.nan,
        "bds": np.nan,
        "discriminates": bool(rows["scaled"].notna().all()),
        "best_baseline": MEAN,
        "best_value": mean["mean_response"],
        "skill": scaled,
        "skill_low": np.nan,
        "skill_high": np.nan,
        "n": n,
        "n_missing": len(table) - n,
    }


def _contenders(
    results: Sequence[Result], names: Sequence[str], *, transductive: bool
) -> pd.DataFrame:
    """Return the score and the values of the prediction and of both ends of its scale."""
    ends = {name: np.array([one.ends(name) for one in results]) for name in names}
    scores = dict.fromkeys((PREDICTION, MEAN, REPLICATE), float("nan"))
    if set(names) == set(RULES):
        scores = {who: score_of(results, at) for at, who in enumerate(scores)}
    rows = {
        who: {
            "score": score,
            "transductive": transductive and who == PREDICTION,
            SAME: "",
            **{name: float(of[:, at].mean()) for name, of in ends.items()},
        }
        for at, (who, score) in enumerate(scores.items())
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("contender")


def score_of(results: Sequence[Result], at: int = 0) -> float:
    """Return the mean over contexts of the mean of the six scaled metrics; NaN if one has none.

    Parameters
    ----------
    results
        What each context says.
    at
        Whose score: 0 for the prediction, 1 for the mean response, 2 for the replicate.
    """
    scaled = []
    for one in results:
        for name, rule in RULES.items():
            ends = one.ends(name)
            scaled.append(rule.scaled(ends[at], *ends[1:]))
    return float(np.mean(scaled))


def _long(who: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the values of a contender, one a row."""
    long = table.reset_index().melt("condition", var_name="metric").assign(contender=who)
    return long[["contender", "condition", "metric", "value"]]


def _missing(results: Sequence[Result], table: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    """Yield prediction, condition and metric of what is missing, and why."""
    for one in results:
        if one.reason:
            yield MEAN, one.context or ALL, ALL, one.reason
        if ERROR in table and np.isnan(one.ends(MSE)[0]):
            yield PREDICTION, one.context or ALL, MSE, RULES[MSE].undefined
    for name in table:
        for condition in table.index[table[name].isna()]:
            yield PREDICTION, str(condition), str(name), _why(str(name))


def _why(name: str) -> str:
    """Return why a target has no value of a metric."""
    return RULES[name].undefined if name in RULES else "there is no gene but the target's own"
