"""Figures of the best and the worst predicted condition, with real and predicted cells."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from .._compat import require
from ._figures import ACCENT, QUIET, RIVAL, as_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats

ARROW = {"showarrow": True, "arrowhead": 2, "arrowsize": 1, "arrowwidth": 2.5, "text": ""}


@dataclass(frozen=True)
class CellContent:
    """Cells of one condition in the plane of its real and its predicted shift.

    Attributes
    ----------
    title, about
        Name of the condition with its rank, and how near the prediction comes.
    perturbation
        Its perturbation, which names the panel that a click opens.
    control, real, predicted
        (n, 2) cells about the mean of the controls.
    shifts
        (2, 2) mean shift of the real cells, and of the predicted ones.
    """

    title: str
    about: str
    perturbation: str
    control: Floats
    real: Floats
    predicted: Floats
    shifts: Floats


def cell_figures(several: Sequence[CellContent]) -> list[dict[str, Any]]:
    """Return ``title``, ``about``, ``perturbation`` and ``figure`` (HTML) of each condition."""
    return [
        {
            "title": one.title,
            "about": one.about,
            "perturbation": one.perturbation,
            "figure": _figure(one, f"cells-{i}"),
        }
        for i, one in enumerate(several)
    ]


def _figure(one: CellContent, name: str) -> str:
    go = require("plotly.graph_objects", extra="report")
    figure = go.Figure()
    for label, cells, colour, symbol in (
        ("control", one.control, QUIET, "circle"),
        ("real", one.real, ACCENT, "circle"),
        ("predicted", one.predicted, RIVAL, "triangle-up"),
    ):
        figure.add_trace(
            go.Scatter(
                x=cells[:, 0].round(3),
                y=cells[:, 1].round(3),
                mode="markers",
                name=escape(label),
                marker={"color": colour, "symbol": symbol, "size": 5, "opacity": 0.45},
                hoverinfo="name",
            )
        )
    for shift, colour in zip(one.shifts, (ACCENT, RIVAL), strict=True):
        x, y = (float(value) for value in shift)
        figure.add_annotation(
            x=x, y=y, ax=0, ay=0, axref="x", ayref="y", arrowcolor=colour, **ARROW
        )
    figure.update_layout(
        height=380,
        xaxis_title="along the real shift",
        yaxis={"title": "across it", "scaleanchor": "x"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0},
        margin={"l": 55, "r": 10, "t": 30, "b": 50},
    )
    return as_html(figure, name)
