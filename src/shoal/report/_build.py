"""The page of a report: the template is filled, and written as a whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import __version__
from .._compat import require
from .._contenders import called, transductive_marks
from .._staging import staged
from ._assets import HERE, assets, safe
from ._cells import CellContent, cell_figures
from ._charts import scores, skills
from ._images import ImageContent, image_tables, sources
from ._panel import coherence_panel, evaluation_panel
from ._plots import plane
from ._tables import coherence_tables, evaluation_tables, leaderboard_table, unfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from ._verdict import Verdict


@dataclass(frozen=True)
class Content:
    """What a report shows.

    Attributes
    ----------
    title
        Heading of the page.
    verdict
        What came out, in words.
    facts
        (name, value) pairs under the heading.
    parameters
        Heading -> parameters: of each result, and versions.
    coherence, evaluation
        Results of ``uns`` with their tables and parameters. None if the screen does not have them.
    leaderboard, leaderboard_caution
        Table of a benchmark, one row a prediction, and what to beware of in it.
    cells, no_cells
        Cells of the best and the worst predicted condition, and why there are none.
    images
        Evaluation of predicted images, with pictures of them.
    """

    title: str
    verdict: Verdict
    facts: Sequence[tuple[str, str]] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    coherence: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    leaderboard: pd.DataFrame | None = None
    leaderboard_caution: str = ""
    cells: Sequence[CellContent] = ()
    no_cells: str = ""
    images: ImageContent | None = None


def page(content: Content) -> str:
    """Return the report as one page of HTML, which holds everything that it needs.

    Raises
    ------
    ImportError
        If a library of the extra ``report`` is not installed.
    """
    jinja2 = require("jinja2", extra="report")
    sections, figures, tables, panel = {}, {}, {}, {}
    more: dict[str, Any] = {}
    board, evaluation = content.leaderboard, content.evaluation
    if content.coherence is not None:
        sections["coherence"] = "Responses"
        figures["plane"] = safe(plane(content.coherence))
        tables |= coherence_tables(content.coherence)
        panel["coherence"] = coherence_panel(content.coherence)
    if evaluation is not None:
        more |= _score(evaluation)
        tables |= evaluation_tables(evaluation)
        panel["evaluation"] = evaluation_panel(evaluation)
        if _has_scores(evaluation["contenders"]):
            own = called(evaluation)
            figures["scores"] = safe(scores(evaluation["contenders"], name="scores", own=own))
    if board is not None:
        tables["leaderboard"] = leaderboard_table(board)
        if _has_scores(board):
            figures["board"] = safe(scores(board, name="board"))
    if board is not None or "scores" in figures:
        sections["leaderboard"] = "Leaderboard"
    if evaluation is not None:
        sections["conditions"] = "Best and worst"
        more["cells"] = [
            one | {"figure": safe(one["figure"])} for one in cell_figures(content.cells)
        ]
    if content.images is not None:
        sections["images"] = "Images"
        tables |= image_tables(content.images)
        more |= {
            "image_verdict": content.images.verdict,
            "image_caution": content.images.caution,
            "pictures": sources(content.images),
        }
    if evaluation is not None:
        sections["evaluation"] = "Metrics"
        if evaluation["summary"]["skill"].notna().any():
            figures["skills"] = safe(skills(evaluation))
    sections["details"] = "Details"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    return environment.get_template("template.html").render(
        title=content.title,
        verdict=content.verdict,
        no_cells=content.no_cells,
        leaderboard_caution=content.leaderboard_caution,
        version=__version__,
        facts=content.facts,
        parameters=content.parameters,
        sections=sections,
        transductive=_transductive(content),
        figures=figures,
        tables=tables,
        data={"tables": tables, "panel": panel},
        **more,
        **assets(),
    )


def write(text: str, out: Path) -> int:
    """Write the page, whole or not at all, and return its size in bytes."""
    content = text.encode("utf-8")
    with staged(out.parent) as folder:
        (folder / out.name).write_bytes(content)
    return len(content)


def _score(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of the score."""
    params, n = evaluation["params"], len(evaluation["summary"])
    return {
        "reference": str(params.get("reference", "")),
        "n_metrics": n,
        "n_fit": n - len(unfit(evaluation)),
    }


def _has_scores(board: pd.DataFrame) -> bool:
    """Whether a table of contenders has scores; those of other packages have none."""
    return "score" in board and bool(board["score"].notna().any())


def _transductive(content: Content) -> set[str]:
    """Return the sections in which a prediction is marked as transductive."""
    boards = {"leaderboard": content.leaderboard}
    boards |= {} if content.evaluation is None else {"evaluation": content.evaluation["contenders"]}
    return {
        section
        for section, board in boards.items()
        if board is not None and transductive_marks(board)
    }
