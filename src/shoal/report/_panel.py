"""What the panel of a perturbation shows: its coherence, and the scores of its prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .._contenders import NEGATIVE, POSITIVE, PREDICTION, rival_of, transductive_marks
from ._tables import metrics, plain, unfit

RIVAL = "reference"  # heading of what the prediction is compared with


def coherence_panel(result: dict[str, Any]) -> dict[str, Any]:
    """Return ``names`` (P,), ``columns`` (k,) and ``rows`` (P, k) of the table of coherence."""
    frame = result["table"]
    rows = [list(row) for row in zip(*(plain(frame[c]) for c in frame), strict=True)]
    return {
        "names": [str(name) for name in frame.index],
        "columns": list(frame.columns),
        "rows": rows,
    }


def evaluation_panel(result: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of each condition: of the prediction, the reference and the controls.

    Returns
    -------
    ``conditions``, ``perturbations``
        (P,) names.
    ``about``
        Column -> (P,) values.
    ``metrics``, ``rivals``, ``muted``
        (M,) names, the reference of each, and whether it does not discriminate.
    ``values``
        Row of the scores -> (P, M) values.
    """
    about, summary = result["conditions"], result["summary"]
    shown = [metric for metric in metrics(result) if metric in result["table"]]
    rivals = pd.Series([rival_of(summary.loc[metric]) for metric in shown], shown, dtype=object)
    scores = result["scores"]
    wanted = {
        RIVAL: scores["contender"].astype(object) == scores["metric"].astype(object).map(rivals)
    }
    wanted |= {name: scores["contender"] == name for name in (POSITIVE, NEGATIVE)}
    values = {PREDICTION: result["table"]} | {
        name: _wide(scores[rows]) for name, rows in wanted.items()
    }
    muted = unfit(result)
    return {
        "conditions": [str(name) for name in about.index],
        "perturbations": plain(about["perturbation"]),
        "about": {str(c): plain(about[c]) for c in about if c != "perturbation"},
        "metrics": shown,
        "rivals": rivals.replace(transductive_marks(result["contenders"])).tolist(),
        "muted": [metric in muted for metric in shown],
        "values": {
            name: _rows(frame.reindex(index=about.index, columns=shown))
            for name, frame in values.items()
        },
    }


def _wide(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one contender's values, conditions x metrics."""
    texts = scores.astype({"condition": str, "metric": str})
    return texts.pivot(index="condition", columns="metric", values="value")


def _rows(frame: pd.DataFrame) -> list[list[float | None]]:
    """Return the (P, M) values as JSON can hold them."""
    columns = [plain(frame[c].astype(np.float64)) for c in frame]
    return (
        [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in frame.index]
    )
