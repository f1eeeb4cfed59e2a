"""Names that every table of scores shares: its rows, and the strata that conditions fall into."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PREDICTION = "prediction"  # the row of the prediction that is evaluated
POSITIVE = "positive control"  # the first half of the real cells: a second experiment
NEGATIVE = "negative control"  # cells of other perturbations: a prediction that knows nothing
COPY = "control copy"  # control cells: a prediction that nothing changes
CONTROLS = (POSITIVE, NEGATIVE, COPY)

STRATA = {  # thirds of the conditions, by the size and by the coherence of the real effect
    "effect": ("weak", "medium", "strong"),
    "coherence": ("low", "medium", "high"),
}

SAME = "same_as"  # column of a table of scores: further names of the predicted cells of a row
MINUS = re.compile(r"(?<![\w-])-(?=\d)")  # before a number, not within a name
TRANSDUCTIVE = " †"  # stands after names whose embedding has seen held-out cells


def with_minus(text: str) -> str:
    """Return a text in which negative numbers have a minus sign; names keep their hyphens."""
    return MINUS.sub("−", text)


def score_in_words(score: float, low: float, high: float) -> str:
    """Return a score with its interval as text, such as ``"0.31 (0.12 to 0.48)"``; ``"–"`` if NaN.

    The reference, which is 0 by definition, has no interval, and neither has what has NaN as ends.
    """
    if score != score:
        return "–"
    own, *ends = (f"{value:.2f}".replace("-0.00", "0.00") for value in (score, low, high))
    said = own if low != low or high != high or low == high else f"{own} ({' to '.join(ends)})"
    return said.replace("-", "−")


def rival_of(metric: pd.Series) -> str:
    """Return what a metric is compared with, from its row of the summary: its reference.

    The suites of other packages have none. Then it is the best baseline; ``""`` without one.
    """
    for column in ("reference", "best_baseline"):
        name = metric.get(column)
        if isinstance(name, str) and name:
            return name
    return ""


def called(result: dict[str, Any]) -> str:
    """Return what an evaluation's row "prediction" is called: as the prediction is.

    ``prediction`` stands behind a name that a baseline has too.
    """
    name = str(result["params"].get("prediction") or PREDICTION)
    others = result["contenders"].index.drop(PREDICTION, errors="ignore")
    return f"{name} ({PREDICTION})" if name in others else name


def transductive_marks(contenders: pd.DataFrame) -> dict[str, str]:
    """Return name -> marked name, for the rows of a table of scores that are ``transductive``."""
    if "transductive" not in contenders:  # a result of an earlier version
        return {}
    return {
        str(name): f"{name}{TRANSDUCTIVE}"
        for name in contenders.index[contenders["transductive"].astype(bool)]
    }


def same_rows(contenders: pd.DataFrame) -> dict[str, list[str]]:
    """Return row -> further names of its predicted cells, for the rows that have some."""
    if SAME not in contenders:  # a result of an earlier version
        return {}
    names = contenders[SAME].astype(object).fillna("").astype(str)
    return {str(row): own.split(", ") for row, own in names.items() if own}


def full_names(contenders: pd.DataFrame) -> dict[str, str]:
    """Return name -> what it is called in full, for the rows that have a mark or further names.

    An example is ``mean_shift (= own_shift, matching_mean)``.
    """
    marked, further = transductive_marks(contenders), same_rows(contenders)
    return {
        name: marked.get(name, name)
        + (f" (= {', '.join(further[name])})" if name in further else "")
        for name in dict.fromkeys([*marked, *further])
    }
