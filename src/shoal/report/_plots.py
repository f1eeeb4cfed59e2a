"""The coherence-magnitude plane of the report."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .._compat import require
from .._responses import BY_REPLICATE, responses
from ._figures import ACCENT, QUIET, as_html, in_lines

if TYPE_CHECKING:
    import pandas as pd

    from .._responses import Responses
    from .._typing import Bools, Floats, Ints

ALPHA = 0.05
SPANNING = "#7FB8DE"
CHANCE = "chance"  # format of p- and q-values
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
    found = responses(table, result["params"], ALPHA)
    rank = _ranks(table, found)
    for name, rows, (colour, symbol) in _classes(table, found):
        part = table[rows]
        figure.add_trace(
            go.Scatter(
                x=part["magnitude"].to_numpy(float),
                y=part["coherence"].to_numpy(float),
                mode="markers",
                name=in_lines(f"{name} ({len(part)})"),
                marker={"color": colour, "symbol": symbol, "size": size, "opacity": 0.85},
                text=[escape(str(label), quote=False) for label in part.index],
                customdata=[
                    [*texts, int(at)]
                    for texts, at in zip(_hover_texts(part), rank[rows], strict=True)
                ],
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
    return as_html(figure, "plane")


HOVER = (
    "<b>%{text}</b><br>coherence %{y:.3f} (%{customdata[1]} to %{customdata[2]})<br>"
    "magnitude %{x:.3g}<br>%{customdata[3]} cells, q %{customdata[4]}<br>"
    "q by replicates %{customdata[6]}<br>residual z %{customdata[5]}<extra></extra>"
)


def _hover_texts(part: pd.DataFrame) -> list[list[str]]:
    """Return what the hover text shows, as texts: name, interval, cells, q, residual z, q."""
    numbers = {
        "ci_low": ".3f",
        "ci_high": ".3f",
        "n_cells": ",.0f",
        "qvalue": CHANCE,
        "residual_z": ".2f",
        BY_REPLICATE: CHANCE,
    }
    known = part.reindex(columns=list(numbers))
    columns = [
        [_text(v, spec) for v in known[name].to_numpy(float)] for name, spec in numbers.items()
    ]
    return [list(row) for row in zip(map(str, part.index), *columns, strict=True)]


def _text(value: float, spec: str) -> str:
    """Return a number as text; chances below 0.001 are "< 0.001"."""
    if not np.isfinite(value):
        return "not known"
    if spec == CHANCE:
        return "< 0.001" if value < 0.001 else f"= {value:.3f}"
    return format(value, spec)


def _ranks(table: pd.DataFrame, found: Responses) -> Ints:
    """Return in which order names are written: responses first, the strongest before others."""
    order = np.lexsort((-table["magnitude"].to_numpy(float), ~found.all))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


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
