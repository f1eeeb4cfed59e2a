"""The two figures of the report, drawn by plotly.

Text and lines have the colours of the style sheet of the page.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .._compat import require
from .._responses import BY_REPLICATE, responses
from ._tables import metrics

if TYPE_CHECKING:
    import pandas as pd

    from .._responses import Responses
    from .._typing import Bools, Floats

ALPHA = 0.05
QUIET = "#8C939D"
ACCENT = "#2A86C8"
SPANNING = "#7FB8DE"
CAUSE = {  # Okabe and Ito, light enough for a dark page; colour and symbol both tell
    "none": (ACCENT, "circle"),
    "dispersion": ("#E69F00", "square"),
    "partial penetrance": ("#009E73", "triangle-up"),
    "several programmes": ("#CC79A7", "diamond"),
    "differs between contexts": ("#56B4E9", "cross"),
    "differs between strata": ("#56B4E9", "x"),
    "unclear": (QUIET, "diamond-open"),
}
UNKNOWN = (QUIET, "diamond-open")  # a cause without a style of its own
FLOOR = -2.0  # skills below this are drawn at the edge of the figure
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,  # no button that uploads an unpublished screen
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
}


def plane(result: dict[str, Any]) -> str:
    """Return the coherence-magnitude plane as a piece of HTML with the id ``plane``.

    The last trace is empty: the page puts the selected perturbation there. Names are escaped in
    ``text``, and as they are in ``customdata[0]``.
    """
    go = require("plotly.graph_objects", extra="report")
    table: pd.DataFrame = result["table"]
    table = table[np.isfinite(table["magnitude"]) & np.isfinite(table["coherence"])]
    size = float(np.clip(110 / np.sqrt(max(len(table), 1)), 5, 11))
    figure = go.Figure(
        _curve(go, table["magnitude"].to_numpy(float), float(result["params"]["control_trace"]))
    )
    for name, rows, (colour, symbol) in _classes(table, responses(table, result["params"], ALPHA)):
        part = table[rows]
        figure.add_trace(
            go.Scatter(
                x=part["magnitude"].to_numpy(float),
                y=part["coherence"].to_numpy(float),
                mode="markers",
                name=f"{name} ({len(part)})",
                marker={"color": colour, "symbol": symbol, "size": size, "opacity": 0.85},
                text=[escape(str(label), quote=False) for label in part.index],
                customdata=_hover_texts(part),
                hovertemplate=HOVER,
            )
        )
    ring = {"color": "#D55E00", "symbol": "circle-open", "size": size + 9, "line": {"width": 2.5}}
    figure.add_trace(
        go.Scatter(x=[], y=[], mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
    )
    figure.update_layout(
        xaxis_title="magnitude of the mean shift",
        yaxis_title="coherence r",
        height=560,
        hovermode="closest",
        legend={"orientation": "h", "yanchor": "top", "y": -0.19, "x": 0},
        margin={"l": 60, "r": 15, "t": 30, "b": 120},
        updatemenus=[_scales()],
    )
    return _html(figure, "plane")


HOVER = (
    "<b>%{text}</b><br>coherence %{y:.3f} (%{customdata[1]} to %{customdata[2]})<br>"
    "magnitude %{x:.3g}<br>%{customdata[3]} cells, q = %{customdata[4]}<br>"
    "q by replicates %{customdata[6]}<br>residual z %{customdata[5]}<extra></extra>"
)


def _hover_texts(part: pd.DataFrame) -> list[list[str]]:
    """Return what the hover text shows, as texts: name, interval, cells, q, residual z."""
    numbers = {
        "ci_low": ".3f",
        "ci_high": ".3f",
        "n_cells": ",.0f",
        "qvalue": ".2g",
        "residual_z": ".2f",
        BY_REPLICATE: ".2g",
    }
    known = part.reindex(columns=list(numbers))
    columns = [
        [format(v, spec) if np.isfinite(v) else "not known" for v in known[name].to_numpy(float)]
        for name, spec in numbers.items()
    ]
    return [list(row) for row in zip(map(str, part.index), *columns, strict=True)]


def _classes(table: pd.DataFrame, found: Responses) -> list[tuple[str, Bools, tuple[str, str]]]:
    """Split the table into (name, rows, (colour, symbol)).

    The classes are: no response, and a response, by its cause.
    """
    cause = table["cause"].astype(object).fillna("none").astype(str).to_numpy()
    rest = ~(found.all | found.by_cells | found.untested)
    by = found.suffix
    none = f"no response found{by} (q ≥ {ALPHA:g}, or not tested)"
    classes = [
        (none, rest, (QUIET, "circle")),
        ("response by cells alone", found.by_cells, (QUIET, "diamond-open")),
        ("response by cells, too few replicates", found.untested, (QUIET, "x")),
    ]
    classes += [
        (
            f"response{by}" if name == "none" else f"response{by}, {name}",
            found.clear & (cause == name),
            style,
        )
        for name, style in (CAUSE | dict.fromkeys(sorted(set(cause) - set(CAUSE)), UNKNOWN)).items()
    ]
    spanning = f"response{by}; the interval, two-sided, includes 0"
    classes.append((spanning, found.spanning, (SPANNING, "triangle-up-open")))
    return [entry for entry in classes if entry[1].any()]


def _curve(go: Any, magnitude: Floats, trace: float) -> Any:
    """Return the curve of a shift of all cells, in the noise of the controls."""
    top = 1.05 * max(float(magnitude.max(initial=0.0)), 1e-3)
    at = np.union1d(np.linspace(0, top, 200), np.geomspace(top / 1e4, top, 100))
    style = {"color": QUIET, "dash": "dash", "width": 1.5}
    name = "expected from signal-to-noise alone"
    return go.Scatter(
        x=at, y=at / np.sqrt(at**2 + trace), mode="lines", name=name, line=style, hoverinfo="skip"
    )


def _scales() -> dict[str, Any]:
    """Return the buttons that choose the scale of the magnitude."""
    steps = [
        {
            "label": kind,
            "method": "relayout",
            "args": [{"xaxis.type": kind, "xaxis.autorange": True}],
        }
        for kind in ("linear", "log")
    ]
    place = {
        "x": 1,
        "y": 0.02,
        "xanchor": "right",
        "yanchor": "bottom",
        "direction": "left",
        "type": "buttons",
    }
    return place | {
        "buttons": steps,
        "showactive": False,
        "bgcolor": "rgba(128,128,128,0.12)",
        "borderwidth": 0,
    }


def skills(result: dict[str, Any]) -> str:
    """Return the skills of all metrics as a piece of HTML with the id ``skills``."""
    go = require("plotly.graph_objects", extra="report")
    summary: pd.DataFrame = result["summary"].loc[metrics(result)]
    summary = summary[np.isfinite(summary["skill"].astype(float))]
    fit = summary["discriminates"].astype(bool).to_numpy()
    figure = go.Figure()
    for name, rows, colour in (
        ("discriminates", fit, ACCENT),
        ("does not discriminate here", ~fit, QUIET),
    ):
        figure.add_trace(_points(go, summary[rows], name, colour))
    for at, meaning in ((0, "reference"), (1, "second experiment")):
        figure.add_vline(x=at, line={"color": QUIET, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=at, y=1, yref="paper", yanchor="bottom", text=meaning, showarrow=False
        )
    order = [escape(str(name), quote=False) for name in summary.index]
    figure.update_layout(
        height=150 + 19 * len(summary),
        xaxis={"title": "skill", "range": _range(summary)},
        yaxis={
            "categoryorder": "array",
            "categoryarray": order,
            "autorange": "reversed",
            "dtick": 1,
        },
        legend={"orientation": "h", "yanchor": "top", "y": -70 / (60 + 19 * len(summary)), "x": 0},
        margin={"l": 175, "r": 45, "t": 30, "b": 100},
    )
    return _html(figure, "skills")


def _points(go: Any, part: pd.DataFrame, name: str, colour: str) -> Any:
    """Return the points of some metrics; those below the floor stand at the edge as triangles."""
    skill, low, high = (part[c].to_numpy(float) for c in ("skill", "skill_low", "skill_high"))
    at = np.maximum(skill, FLOOR)
    error = {"type": "data", "symmetric": False, "thickness": 1.5, "width": 0, "color": colour}
    error |= {
        "array": np.maximum(high - at, 0),
        "arrayminus": np.maximum(at - np.maximum(low, FLOOR), 0),
    }
    return go.Scatter(
        x=at,
        y=[escape(str(metric), quote=False) for metric in part.index],
        mode="markers",
        name=name,
        error_x=error,
        marker={
            "color": colour,
            "size": 8,
            "symbol": np.where(skill < FLOOR, "triangle-left", "circle"),
        },
        customdata=[
            [format(v, ".2f") if np.isfinite(v) else "not known" for v in row]
            for row in zip(skill, low, high, strict=True)
        ],
        hovertemplate=(
            "<b>%{y}</b><br>skill %{customdata[0]} "
            "(%{customdata[1]} to %{customdata[2]})<extra></extra>"
        ),
    )


def _range(summary: pd.DataFrame) -> list[float]:
    """Return the ends of the skill axis: 0, 1, all points and intervals, not beyond the floor."""
    values = summary[["skill", "skill_low", "skill_high"]].to_numpy(float)
    values = values[np.isfinite(values)]
    low, high = min(0.0, values.min(initial=0.0)), max(1.0, values.max(initial=1.0))
    return [max(low, FLOOR) - 0.15, min(high, -2 * FLOOR) + 0.15]


def _html(figure: Any, name: str) -> str:
    """Return a figure as a piece of HTML; plotly itself is in the head of the page."""
    go = require("plotly.graph_objects", extra="report")
    figure.update_layout(
        template=go.layout.Template(),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG)
