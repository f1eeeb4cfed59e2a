"""Style sheets and scripts of a report, which stand in the page itself."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from .._compat import require

HERE = Path(__file__).parent
SCRIPTS = ("csv.js", "report.js")


def assets() -> dict[str, Any]:
    """Return the style sheets and scripts of the page.

    DataTables is a module, so it comes as an address that holds it.
    """
    plotly, itables = (
        require("plotly.offline", extra="report"),
        require("itables.options", extra="report"),
    )
    bundle = Path(itables.dt_bundle)
    return {
        "plotly_js": safe(plotly.get_plotlyjs()),
        "datatables_js": safe(base64.b64encode(bundle.read_bytes()).decode()),
        "datatables_css": safe(bundle.with_suffix(".css").read_text(encoding="utf-8")),
        "style": safe((HERE / "style.css").read_text(encoding="utf-8")),
        "script": safe("".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)),
    }


def safe(text: str) -> str:
    """Mark a text of ours, or of a library, as HTML that must not be escaped."""
    return require("markupsafe", extra="report").Markup(text)
