"""Charts of numbers with intervals: scores of contenders, and skills of a prediction."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .._compat import require
from .._contenders import CONTROLS, PREDICTION, full_names
from ._figures import ACCENT, QUIET, as_html
from ._tables import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .._typing import Bools

FLOOR = -2.0  # numbers below this are drawn at the edge of the figure
BASELINE = "#E69F00"
SCORE = ("score", "score_low", "score_high")
LINE = 24  # pixels of a row


def scores(board: pd.DataFrame, *, name: str, own: str = PREDICTION) -> str:
    """Return the scores of contenders, the best first, as a piece of HTML with the id `name`.

    Parameters
    ----------
    board
        Index contender; column ``score``, and ``score_low`` and ``score_high`` where there are
        intervals. ``kind``, where it is there, says which rows are baselines and controls.
    name
        Identifier in the page.
    own
        What the row "prediction" is called.
    """
    board = board[np.isfinite(board["score"].astype(float))].rename(index={PREDICTION: own})
    board = board.sort_values("score", ascending=False, kind="stable")
    full = full_names(board)
    control = board.index.isin(CONTROLS)
    kind = board.get("kind")
    main = board.index == own if kind is None else (kind.astype(str) == "model").to_numpy()
    known = board.reindex(columns=list(dict.fromkeys([*board.columns, *SCORE])))
    shown = known.assign(full=[full.get(str(row), row) for row in board.index])
    kinds = (
        ("prediction" if kind is None else "model", main & ~control, ACCENT),
        ("baseline", ~main & ~control, BASELINE),
        ("control", control, QUIET),
    )
    return _chart(shown, kinds, columns=SCORE, title="score", name=name)


def skills(result: dict[str, Any]) -> str:
    """Return the skills of all metrics as a piece of HTML with the id ``skills``."""
    summary: pd.DataFrame = result["summary"].loc[metrics(result)]
    summary = summary[np.isfinite(summary["skill"].astype(float))]
    fit = summary["discriminates"].astype(bool).to_numpy()
    kinds = (("discriminates", fit, ACCENT), ("does not discriminate here", ~fit, QUIET))
    return _chart(
        summary.assign(full=summary.index),
        kinds,
        columns=("skill", "skill_low", "skill_high"),
        title="skill",
        name="skills",
    )


def _chart(
    table: pd.DataFrame,
    kinds: Sequence[tuple[str, Bools, str]],
    *,
    columns: tuple[str, str, str],
    title: str,
    name: str,
) -> str:
    """Return a row for each number, with its interval; dotted lines stand at 0 and at 1."""
    go = require("plotly.graph_objects", extra="report")
    figure = go.Figure()
    for kind, rows, colour in kinds:
        if rows.any():
            figure.add_trace(_points(go, table[rows], kind, colour, columns))
    for at in (0, 1):
        figure.add_vline(x=at, line={"color": QUIET, "width": 1, "dash": "dot"})
    order = [escape(str(row), quote=False) for row in table.index]
    height = LINE * len(table)
    figure.update_layout(
        height=height + 130,
        xaxis={"title": title, "range": _range(table[list(columns)])},
        yaxis={
            "categoryorder": "array",
            "categoryarray": order,
            "range": [len(order) - 0.4, -0.6],
            "dtick": 1,
            "automargin": True,
            "tickfont": {"size": 12},
        },
        legend={"orientation": "h", "yanchor": "top", "y": -70 / max(height, 1), "x": 0},
        margin={"l": 20, "r": 20, "t": 10, "b": 100},
    )
    return as_html(figure, name)


def _points(
    go: Any, part: pd.DataFrame, kind: str, colour: str, columns: tuple[str, str, str]
) -> Any:
    """Return some of the rows as points; those below the floor stand at the edge as triangles."""
    value, low, high = (part[c].to_numpy(float) for c in columns)
    at = np.maximum(value, FLOOR)
    error = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 0, "color": colour}
    error |= {
        "array": np.maximum(np.nan_to_num(high - at), 0),
        "arrayminus": np.maximum(np.nan_to_num(at - np.maximum(low, FLOOR)), 0),
    }
    return go.Scatter(
        x=at,
        y=[escape(str(row), quote=False) for row in part.index],
        mode="markers",
        name=kind,
        error_x=error,
        marker={
            "color": colour,
            "size": 8,
            "symbol": np.where(value < FLOOR, "triangle-left", "circle"),
        },
        customdata=[
            [escape(str(full), quote=False)]
            + [format(v, ".2f") if np.isfinite(v) else "not known" for v in row]
            for full, row in zip(part["full"], zip(value, low, high, strict=True), strict=True)
        ],
        hovertemplate=(
            f"<b>%{{customdata[0]}}</b><br>{columns[0]} %{{customdata[1]}} "
            "(%{customdata[2]} to %{customdata[3]})<extra></extra>"
        ),
    )


def _range(table: pd.DataFrame) -> list[float]:
    """Return the ends of the axis: 0, 1, all points and intervals, not beyond the floor."""
    values = table.to_numpy(float)
    values = values[np.isfinite(values)]
    low, high = min(0.0, values.min(initial=0.0)), max(1.0, values.max(initial=1.0))
    return [max(low, FLOOR) - 0.15, min(high, -2 * FLOOR) + 0.15]
