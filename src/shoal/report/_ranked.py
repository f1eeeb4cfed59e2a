"""Held-out conditions one by one: how near a prediction comes to the real cells in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._contenders import COPY, POSITIVE, PREDICTION

if TYPE_CHECKING:
    import pandas as pd

METRIC = "energy"  # distance between predicted and real cells; 0 is a perfect prediction


def ranked(evaluation: dict[str, Any]) -> pd.DataFrame | None:
    """Return the distances of all conditions in which something responds, the best first.

    Parameters
    ----------
    evaluation
        Result of :func:`shoal.tl.evaluate`.

    Returns
    -------
    Index condition. Columns:

    - ``perturbation``;
    - ``prediction``, ``reference``, ``copy`` and ``second``: the energy distance to the real cells,
      of the prediction, of the reference, of unchanged controls and of a second experiment. NaN
      where that contender was not scored;
    - ``reached``: the share of the way from unchanged controls to a second experiment,
      (copy - prediction) / (copy - second). 1 is as near as a second experiment, 0 no nearer than
      unchanged controls, below 0 further away.

    None if there is nothing to rank: the energy distance was not computed or cannot tell on these
    data, or no condition responds.
    """
    summary, about = evaluation["summary"], evaluation["conditions"]
    if METRIC not in summary.index or not bool(summary.loc[METRIC, "discriminates"]):
        return None
    scores = evaluation["scores"]
    own = scores[scores["metric"].astype(str) == METRIC].astype({"contender": str})
    wide = own.pivot_table(index="condition", columns="contender", values="value", observed=True)
    wanted = {
        "prediction": PREDICTION,
        "reference": str(evaluation["params"].get("reference", "")),
        "copy": COPY,
        "second": POSITIVE,
    }
    table = about[["perturbation"]].copy()
    for column, name in wanted.items():
        table[column] = wide[name].reindex(about.index) if name in wide else np.nan
    if "silent" in about:
        table = table[~about["silent"].astype(bool)]
    room = table["copy"] - table["second"]
    table["reached"] = (table["copy"] - table["prediction"]) / room.where(room > 0)
    table = table[np.isfinite(table["prediction"])]
    best_first = ["reached", "prediction"]
    return table.sort_values(best_first, ascending=[False, True]) if len(table) else None
