"""What the figures of a report share: colours, and how plotly writes them into the page.

Text and lines have the colours of the style sheet of the page.
"""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from .._compat import require

QUIET = "#8C939D"
ACCENT = "#2A86C8"  # what is real, and what is told of
RIVAL = "#D55E00"  # what is predicted
LEGEND = 42  # characters of a line of a legend, which fits a phone
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,  # no button that uploads an unpublished screen
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
}


def in_lines(text: str) -> str:
    """Return a name of a legend in lines that are short enough for a narrow page."""
    return "<br>".join(wrap(text, LEGEND))


def as_html(figure: Any, name: str) -> str:
    """Return a figure as a piece of HTML; plotly itself is in the head of the page."""
    go = require("plotly.graph_objects", extra="report")
    figure.update_layout(
        template=go.layout.Template(),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG)
