"""Tables as the page reads them: plain rows, kinds of columns, and which rows are grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._contenders import (
    CONTROLS,
    NEGATIVE,
    POSITIVE,
    PREDICTION,
    SAME,
    called,
    full_names,
    transductive_marks,
)

if TYPE_CHECKING:
    from collections.abc import Collection

DIGITS = 4  # significant digits of a number on the page
SUMMARY = (
    "metric",
    "family",
    "direction",
    "perfect",
    "value",
    "reference_value",
    "positive",
    "negative",
    "skill",
    "skill_low",
    "skill_high",
    "reference",
    "discriminates",
    "drf",
    "bds",
    "n",
    "n_missing",
    "best_baseline",
    "best_value",
)
CHANCE = ("pvalue", "qvalue", "pvalue_replicate", "qvalue_replicate")  # "< 0.001" if less
SCORES = ("score", "score_low", "score_high", "achieved", "harm", "score_best")


def plain(values: pd.Series) -> list[Any]:
    """Return a column as JSON holds it: rounded numbers, texts, None for missing or infinite."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return ["yes" if value else "no" for value in values]
    if pd.api.types.is_integer_dtype(values.dtype):
        return [None if pd.isna(value) else int(value) for value in values]
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            exponent = np.floor(np.log10(np.abs(numbers)))
        places = np.where(np.isfinite(exponent), DIGITS - 1 - exponent, 0).astype(int)
        return [
            round(number, place) if np.isfinite(number) else None
            for number, place in zip(numbers.tolist(), places.tolist(), strict=True)
        ]
    return ["" if pd.isna(value) else str(value) for value in values.astype(object)]


def table(
    frame: pd.DataFrame,
    *,
    link: str = "",
    hidden: Collection[str] = (),
    muted: Collection[str] = (),
) -> dict[str, Any]:
    """Return a table of the page.

    Parameters
    ----------
    frame
        (n, k) what to show; its index, if it has a name, is the first column.
    link
        Column whose values open the panel of a perturbation.
    hidden
        Columns that are there but not shown at first.
    muted
        Values of the first column whose rows are greyed.

    Returns
    -------
    ``columns`` (title, numeric, whole, chance, hidden, link), ``rows`` and ``muted`` (positions),
    for JSON.
    """
    if frame.index.name is not None:
        frame = frame.reset_index()
    columns = [
        {
            "title": str(name),
            "numeric": pd.api.types.is_numeric_dtype(dtype)
            and not pd.api.types.is_bool_dtype(dtype),
            "whole": pd.api.types.is_integer_dtype(dtype),
            "chance": str(name).endswith(CHANCE),
            "hidden": name in hidden,
            "link": name == link,
        }
        for name, dtype in frame.dtypes.items()
    ]
    rows = [list(row) for row in zip(*(plain(frame[name]) for name in frame.columns), strict=True)]
    return {
        "columns": columns,
        "rows": rows,
        "muted": [i for i, row in enumerate(rows) if row[0] in set(muted)],
    }


def coherence_tables(result: dict[str, Any]) -> dict[str, Any]:
    """Return the table of perturbations, the columns that say most shown first."""
    frame = result["table"].rename_axis("perturbation")
    first = [
        "n_cells",
        "magnitude",
        "coherence",
        "qvalue",
        "qvalue_replicate",
        "n_replicates",
        "residual",
        "residual_qvalue",
        "residual_between_share",
        "cause",
    ]
    shown = [c for c in [*first, "flags"] if c in frame]
    rest = [c for c in frame if c not in shown]
    tables = {"coherence": table(frame[shown + rest], link="perturbation", hidden=rest)}
    if "by_context" in result:
        parts = result["by_context"].rename_axis(None)
        hidden = ("coherence_se", "ci_low", "ci_high", "pvalue", "residual_pvalue")
        tables["by_context"] = table(parts, link="perturbation", hidden=hidden)
    return tables


def evaluation_tables(result: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of metrics, predictions, conditions, strata and missing values."""
    own = called(result)
    result = _under(own, result)
    summary = result["summary"].rename_axis("metric")
    muted = unfit(result)
    ordered = summary.reset_index()
    ordered = ordered[
        [c for c in SUMMARY if c in ordered] + [c for c in ordered if c not in SUMMARY]
    ]
    marks = transductive_marks(result["contenders"])
    for column in ("reference", "best_baseline"):
        if column in ordered:
            ordered[column] = ordered[column].astype(object).replace(marks)
    numbers = result["contenders"].drop(columns=["transductive", SAME], errors="ignore")
    numbers = numbers.loc[_best_first(numbers, own)]
    contenders = (
        numbers.rename(index=full_names(result["contenders"]))
        .T.rename_axis("metric")
        .rename_axis(columns=None)
    )
    scores = [name for name in SCORES if name in contenders.index]
    scores = [name for name in scores if contenders.loc[name].notna().any()]
    tables = {
        "metrics": table(
            ordered,
            muted=muted,
            hidden=(
                "perfect",
                "skill_low",
                "skill_high",
                "reference",
                "drf",
                "bds",
                "best_value",
                "n",
                "negative_control",
                "ceiling",
            ),
        ),
        "contenders": table(contenders.loc[[*scores, *metrics(result)]], muted=muted),
        "conditions": conditions(result),
    }
    if len(result.get("strata", ())):
        tables["strata"] = table(_strata(result["strata"], own).rename(columns=marks), muted=muted)
    if len(result.get("missing", ())):
        counted = (
            result["missing"]
            .astype(str)
            .replace({"contender": marks})
            .groupby(["contender", "reason"], sort=False)
            .agg(metric=("metric", _listed), condition=("condition", _listed))
        )
        tables["missing"] = table(
            counted.reset_index()[["contender", "metric", "condition", "reason"]]
        )
    return tables


def leaderboard_table(board: pd.DataFrame) -> dict[str, Any]:
    """Return the table of a benchmark."""
    named = board.rename(index=full_names(board)).rename_axis("contender")
    return table(named.drop(columns=SAME, errors="ignore"))


def conditions(result: dict[str, Any]) -> dict[str, Any]:
    """Return the table of conditions; of the metrics, one of each family is shown at first."""
    about, values = result["conditions"], result["table"]
    for column in ("context", "dose", "split"):
        if column in about and about[column].astype(object).nunique(dropna=False) < 2:
            about = about.drop(columns=column)
    summary = result["summary"].loc[[m for m in metrics(result) if m in values]]
    fit = summary[summary["discriminates"].astype(bool)]
    shown = set((fit if len(fit) else summary).drop_duplicates("family").index)
    frame = about.join(values).rename_axis(None)
    frame.insert(0, "perturbation", frame.pop("perturbation"))
    return table(frame, link="perturbation", hidden=[m for m in values if m not in shown])


def metrics(result: dict[str, Any]) -> list[str]:
    """Return the names of all metrics, those of a family together."""
    family = result["summary"]["family"].astype(str)
    rank = {name: i for i, name in enumerate(dict.fromkeys(family))}
    return sorted(result["summary"].index, key=lambda name: rank[family[name]])


def unfit(result: dict[str, Any]) -> set[str]:
    """Return the metrics that do not tell the two controls apart on this screen."""
    summary = result["summary"]
    return set(summary.index[~summary["discriminates"].astype(bool)])


def _listed(names: pd.Series) -> str:
    """Return the names of a group, each once."""
    return ", ".join(dict.fromkeys(names))


def _best_first(contenders: pd.DataFrame, own: str) -> list[str]:
    """Return the prediction, the controls, and then the baselines from best to worst."""
    front = [name for name in (own, *CONTROLS) if name in contenders.index]
    rest = contenders.drop(index=front)
    if "score" in rest:
        rest = rest.sort_values("score", ascending=False, kind="stable")
    return [*front, *rest.index]


def _under(own: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of an evaluation in which the row "prediction" has its own name."""
    named = {"contenders": result["contenders"].rename(index={PREDICTION: own})}
    for name in ("strata", "missing"):
        if len(result.get(name, ())):
            who = result[name]["contender"].astype(str)
            named[name] = result[name].assign(contender=who.mask(who == PREDICTION, own))
    return result | named


def _strata(long: pd.DataFrame, own: str) -> pd.DataFrame:
    """Return strata x metrics as rows, predictions as columns, one's own first."""
    texts = long.astype({"stratum": str, "metric": str, "contender": str})
    wide = texts.pivot_table(
        index=["metric", "stratum"], columns="contender", values="value", sort=False
    )
    n = texts[texts["contender"] == own].set_index(["metric", "stratum"])["n"]
    front = [c for c in (own, POSITIVE, NEGATIVE) if c in wide]
    wide = wide[front + [c for c in wide if c not in front]].rename_axis(columns=None)
    wide.insert(0, "n", n.groupby(level=[0, 1]).first().reindex(wide.index))
    return wide.reset_index()
