"""The tables of an evaluation: what ``uns["evaluation"]`` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._contenders import POSITIVE, PREDICTION, SAME, STRATA
from ..metrics._calibration import ceiling
from ._scores import mean_of, mean_over_draws
from ._standing import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._scores import Scores
    from ._standing import Standing

ALPHA = 0.05  # false discovery rate below which a gene is differentially expressed
ALL = "(all)"
NO_SCORE = dict.fromkeys(COLUMNS, np.nan)


def tables_of(scores: Scores, standing: Standing | None) -> dict[str, pd.DataFrame]:
    """Return the tables of an evaluation by name; :func:`shoal.tl.evaluate` describes them.

    Parameters
    ----------
    scores
        Values of all predictions.
    standing
        Their scores; ``None`` for a suite that has none.
    """
    conditions, values = _conditions(scores), _scores(scores)
    if standing is not None:
        conditions["silent"] = scores.responses.silent
    per_condition = [name for name, record in scores.metrics.items() if record.per == "condition"]
    own = {name: scores.scored[PREDICTION][name].values for name in per_condition}
    return {
        "table": pd.DataFrame(own, index=pd.Index(scores.task.truth.names, name="condition")),
        "summary": pd.DataFrame(
            [_summary(scores, name) for name in scores.metrics],
            index=pd.Index(scores.metrics, name="metric"),
        ),
        "contenders": _contenders(scores, standing),
        "scores": values,
        "strata": _strata(values, conditions),
        "missing": pd.DataFrame(
            list(_missing(scores)), columns=["contender", "condition", "metric", "reason"]
        ),
        "conditions": conditions,
    }


def _summary(scores: Scores, name: str) -> dict[str, object]:
    """Return the row of a metric in the summary."""
    record, best, negative = scores.metrics[name], scores.best_of(name), scores.negative_of(name)
    range_fraction, discrimination = scores.range_of(name)
    estimate = scores.skill(PREDICTION, name)
    values = scores.scored[PREDICTION][name].values
    has_ceiling = record.correlation and POSITIVE in scores.scored
    reference = scores.reference if scores.reference in scores.scored else ""
    return {
        "family": record.family,
        "direction": record.direction,
        "perfect": record.perfect,
        "value": mean_of(values),
        "positive": scores.mean(POSITIVE, name),
        "negative": scores.mean(negative, name),
        "negative_control": negative if negative in scores.scored else "",
        "ceiling": mean_of(ceiling(scores.scored[POSITIVE][name].values))
        if has_ceiling
        else np.nan,
        "drf": range_fraction,
        "bds": discrimination,
        "discriminates": scores.tells(name),
        "reference": reference,
        "reference_value": scores.mean(reference, name),
        "best_baseline": best,
        "best_value": scores.mean(best, name),
        "skill": estimate.value,
        "skill_low": estimate.low,
        "skill_high": estimate.high,
        "n": int(np.isfinite(values).sum()),
        "n_missing": int(np.isnan(values).sum()),
    }


def _contenders(scores: Scores, standing: Standing | None) -> pd.DataFrame:
    """Return the score and the mean values of every prediction."""
    rows = {
        name: {
            **(NO_SCORE if standing is None else standing.columns(name)),
            "transductive": name in scores.transductive,
            SAME: ", ".join(scores.same.get(name, ())),
            **{metric: mean_of(found.values) for metric, found in scored.items()},
        }
        for name, scored in scores.scored.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("contender")


def _scores(scores: Scores) -> pd.DataFrame:
    """Return the value of every prediction, condition and metric, one a row."""
    parts = [
        pd.DataFrame(
            {
                "contender": name,
                "condition": scores.conditions_of(metric),
                "metric": metric,
                "value": found.values,
            }
        )
        for name, scored in scores.scored.items()
        for metric, found in scored.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _missing(scores: Scores) -> Iterator[tuple[str, str, str, str]]:
    """Yield prediction, condition and metric of what is missing, and why."""
    for condition, reason in scores.task.skipped.items():
        yield ALL, condition, ALL, reason
    for name, reason in scores.refused.items():
        yield name, ALL, ALL, reason
    for name, scored in scores.scored.items():
        for metric, found in scored.items():
            for at, reason in found.reasons.items():
                yield name, scores.conditions_of(metric)[at], metric, reason


def _conditions(scores: Scores) -> pd.DataFrame:
    """Return the conditions with size and coherence of the real effect, and their strata.

    Sizes are means over the draws.
    """
    several = [task.truth for task in scores.tasks]
    n_de = [((one.real.genes.fdr < ALPHA) & one.mask).sum(axis=1) for one in several]
    table = scores.task.conditions.assign(
        real_energy=mean_over_draws(np.stack([one.real.magnitude for one in several])),
        real_coherence=mean_over_draws(np.stack([one.real.coherence for one in several])),
        n_de=np.rint(np.mean(n_de, axis=0)).astype(np.int64),
    )
    for kind, column in (("effect", "real_energy"), ("coherence", "real_coherence")):
        rank = table[column].rank(method="first", pct=True, na_option="top").to_numpy()
        third = np.clip(np.ceil(3 * rank).astype(int) - 1, 0, 2)
        table[f"{kind}_stratum"] = np.array(STRATA[kind], dtype=object)[third]
    return table


def _strata(scores: pd.DataFrame, conditions: pd.DataFrame) -> pd.DataFrame:
    """Return the mean values of every prediction and metric in each stratum of conditions."""
    parts = []
    for kind, levels in STRATA.items():
        stratum = scores["condition"].map(conditions[f"{kind}_stratum"])
        for level in levels:
            chosen = scores[stratum == level]
            own = chosen.groupby(["metric", "contender"], sort=False)["value"].agg(
                ["mean", "count"]
            )
            parts.append(own.reset_index().assign(stratum=f"{kind} {level}"))
    table = pd.concat(parts, ignore_index=True)
    return table.rename(columns={"mean": "value", "count": "n"})
