"""What the plots of an evaluation share: reading it, and where scores lie between the controls."""

from __future__ import annotations

from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from .._contenders import (
    COPY,
    NEGATIVE,
    POSITIVE,
    PREDICTION,
    TRANSDUCTIVE,
    called,
    same_rows,
    score_in_words,
    transductive_marks,
    with_minus,
)
from .._keys import EVALUATION
from .._validate import get_adata, key_in, listed, text
from ..core._results import read_result
from ..metrics._calibration import loss
from ._style import ACCENT, INK, QUIET, RIVAL, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._typing import Bools, Floats

LOOKS = {  # colour, marker and line of each contender: no two differ by colour alone
    PREDICTION: (ACCENT, "o", "-"),
    POSITIVE: (INK, "^", ":"),
    NEGATIVE: (QUIET, "v", ":"),
}
BETWEEN = LinearSegmentedColormap.from_list("shoal_between", [RIVAL, "#F3F1EE", ACCENT])
BETTER = {"higher": "higher is better", "lower": "lower is better"}


def read_evaluation(data: AnnData | MuData, key: str | None, mod: str | None) -> dict[str, Any]:
    """Return the evaluation in ``uns``, or say which call writes it."""
    adata = get_adata(data, mod)
    key = EVALUATION if key is None else key
    call = "sh.tl.evaluate(adata, prediction=...)"
    return read_result(adata, key, kind="evaluation", written_by=call)


def caution_of(result: dict[str, Any], *, width: int) -> str:
    """Return why conditions may be known to the model, in lines; empty if they are held out."""
    return fill(str(result["params"].get("caution", "")), width)


def verdict_of(result: dict[str, Any], *, width: int) -> str:
    """Return what came out, in lines; for the suite of another package its score."""
    params = result["params"]
    said = with_minus(str(params.get("verdict") or ""))
    if not said:
        score = float(params.get("score", np.nan))
        said = f"score {score_in_words(score, np.nan, np.nan)}" if score == score else "no score"
    return "\n".join(map(plain, wrap(said, width, break_on_hyphens=False)))


def chosen(result: dict[str, Any], metrics: Sequence[str] | None) -> pd.DataFrame:
    """Return the summary of `metrics`, one family after the other.

    If None, they are all metrics that have a value of any contender.
    """
    summary: pd.DataFrame = result["summary"]
    metrics = None if metrics is None else listed(metrics, name="metrics", empty=False)
    for metric in metrics or ():
        key_in(metric, summary.index, where="the metrics of the evaluation")
    if metrics is None:
        known = result["contenders"].reindex(columns=summary.index).notna().any()
        kept = summary[known.to_numpy()] if known.any() else summary
    else:
        kept = summary.loc[list(dict.fromkeys(metrics))]
    family = pd.factorize(kept["family"].astype(str))[0]
    return kept.iloc[np.argsort(family, kind="stable")]


def measured(result: dict[str, Any], metric: str) -> pd.Series:
    """Return the summary of a metric that is measured for each condition, or say which are."""
    text(metric, name="metric")
    screen = metric in result["summary"].index
    hint = f"{metric!r} is one number for the whole screen." if screen else ""
    key_in(
        metric,
        result["table"].columns,
        where="the metrics that are measured for each condition",
        hint=hint,
    )
    return result["summary"].loc[metric]


def per_condition(result: dict[str, Any], metric: str) -> pd.DataFrame:
    """Return the values of a metric, conditions x predictions, under all their names."""
    scores: pd.DataFrame = result["scores"]
    rows = scores[(scores["metric"] == metric).to_numpy()].astype(
        {"condition": str, "contender": str}
    )
    wide = rows.pivot(index="condition", columns="contender", values="value")
    return under_all_names(wide.reindex(result["table"].index.astype(str)), result)


def under_all_names(values: pd.DataFrame, result: dict[str, Any]) -> pd.DataFrame:
    """Return values of predictions in columns, with a column for each further name of theirs."""
    further = {
        name: values[row]
        for row, names in same_rows(result["contenders"]).items()
        for name in names
        if row in values
    }
    return values.assign(**further)


def fit(summary: pd.DataFrame) -> Bools:
    """Return which metrics tell the two controls apart."""
    return summary["discriminates"].to_numpy(dtype=bool)


def positions(result: dict[str, Any], summary: pd.DataFrame) -> pd.DataFrame:
    """Return where predictions lie between the two controls, predictions x metrics.

    A position is (loss⁻ - loss) / (loss⁻ - loss⁺) of mean losses, cut off at -1 and 1.
    It is 0 for the negative control, 1 for the positive one, NaN where the two do not differ, or
    where there are none, as in the suites of other packages.
    """
    found = {metric: _positions(result, str(metric), row) for metric, row in summary.iterrows()}
    return pd.DataFrame(found).reindex(
        index=result["contenders"].index.astype(str), columns=summary.index
    )


def _positions(result: dict[str, Any], metric: str, row: pd.Series) -> pd.Series:
    """Return the positions of all predictions on one metric."""
    scores: pd.DataFrame = result["scores"]
    mine = scores[(scores["metric"] == metric).to_numpy()]
    if len(mine):
        values, owner = mine["value"].to_numpy(float), mine["contender"].astype(str).to_numpy()
    else:
        values = result["contenders"][metric].to_numpy(float)
        owner = result["contenders"].index.astype(str).to_numpy()
    if POSITIVE not in owner:
        return pd.Series(np.nan, index=dict.fromkeys(owner))
    lost = pd.Series(as_loss(values, row)).groupby(owner).mean()
    bottom = lost[negative_of(result, metric)]
    room = bottom - lost[POSITIVE]
    return ((bottom - lost) / (room if room > 0 else np.nan)).clip(-1, 1)


def negative_of(result: dict[str, Any], metric: str) -> str:
    """Return which row is the negative control of a metric: its mean is in the summary."""
    mean = result["contenders"][metric].astype(float)
    gap = (mean.reindex([NEGATIVE, COPY]) - float(result["summary"].loc[metric, "negative"])).abs()
    return COPY if gap[COPY] < gap[NEGATIVE] else NEGATIVE


def as_loss(values: Floats, row: pd.Series) -> Floats:
    """Return values of a metric as losses: 0 is perfect, more is worse."""
    return loss(values, str(row["direction"]), perfect=float(row["perfect"]))


def better(row: pd.Series) -> str:
    """Say which way a metric is better."""
    return BETTER.get(str(row["direction"]), f"best at {row['perfect']:g}")


def label_of(result: dict[str, Any], contender: str = PREDICTION) -> str:
    """Return what a row of the scores is called in pictures.

    The prediction has the name of its layer. A dagger marks what is transductive. A row with
    further names says one of them, or how many there are; a further name says its row.
    """
    further = same_rows(result["contenders"])
    rows = [row for row, names in further.items() if contender in names]
    row = rows[0] if rows and contender not in result["contenders"].index else contender
    name = called(result) if contender == PREDICTION else contender
    if row in transductive_marks(result["contenders"]):
        name += TRANSDUCTIVE
    others = [row] if row != contender else further.get(row, [])
    if not others:
        return name
    return f"{name} (= {others[0] if len(others) == 1 else f'{len(others)} others'})"


def further_names(result: dict[str, Any], shown: Collection[str], *, width: int) -> str:
    """Say which rows of those shown have several further names, and these, in lines."""
    own = {PREDICTION: called(result)}
    said = [
        fill(f"{own.get(row, row)} = {', '.join(names)}: the same predicted cells", width)
        for row, names in same_rows(result["contenders"]).items()
        if row in shown and len(names) > 1
    ]
    return "\n".join(said)
