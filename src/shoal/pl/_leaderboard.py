"""Predictions against metrics, as a table with colours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from .._contenders import (
    CONTROLS,
    NEGATIVE,
    POSITIVE,
    PREDICTION,
    score_in_words,
    transductive_marks,
)
from .._validate import whole
from ._canvas import Canvas
from ._evaluation import (
    BETWEEN,
    caution_of,
    chosen,
    fit,
    further_names,
    label_of,
    positions,
    read_evaluation,
)
from ._style import INK, QUIET, plain, shorten
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Bools, Floats, Ints

SIDE = ("score", "harm")  # columns before the metrics
STANDING = ("score", "score_low", "score_high", "achieved", "harm")
HALF = 2.0  # of the width of the score, in cells
GAP = 0.3  # cells between two families, and between models and controls
WIDE, HIGH = 0.31, 0.24  # inches of a cell
LEFT, RIGHT, AROUND = 1.8, 0.5, 2.3  # inches beside the cells, for names, and above and below them
ANGLE = 55  # of the names of columns
LETTER, FAMILY = 0.048, 0.4  # inches that a letter of such a name is high, and a family is
LETTERS = 15  # of a note, an inch
BLANK = "#F4F5F7"


@dataclass(frozen=True)
class Grid:
    """Where the cells of the table are: blocks of columns below one another, all of the same rows.

    Attributes
    ----------
    row
        Centre of each row in the first block.
    down
        Rows from one block to the next.
    x, block
        Centre and block of each column.
    heads
        Name, block, and first and last column of each family.
    """

    row: Floats
    down: float
    x: Floats
    block: Ints
    heads: list[tuple[str, int, float, float]]

    @property
    def right(self) -> float:
        """The right end of the longest block."""
        return float(self.x.max()) + 0.5

    @property
    def bottom(self) -> float:
        """The lower end of the last block."""
        return float(self.down * self.block[-1] + self.row[-1]) + 0.5

    @property
    def width(self) -> float:
        """Inches of a figure for it."""
        return LEFT + WIDE * (self.right + HALF) + RIGHT

    @property
    def height(self) -> float:
        """Inches of a figure for it."""
        return AROUND + HIGH * (self.bottom + 0.5)

    def fills(self, room: tuple[float, float]) -> tuple[float, float]:
        """Return what is smallest for the grid that is drawn largest in this width and height."""
        wide, high = self.width / room[0], self.height / room[1]
        return max(wide, high), wide + high


@fill
def leaderboard(
    data: AnnData | MuData,
    *,
    metrics: Sequence[str] | None = None,
    n_top: int | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show the scores of all predictions on all metrics, the best prediction on top.

    A number is a mean score. Its colour says where the score lies between the two controls:

    - pale, as the negative control: a prediction that knows nothing of the perturbation;
    - blue, as the positive control: a second experiment;
    - orange: worse than knowing nothing;
    - grey: on these data the metric does not tell the two controls apart. Such metrics are shown
      if `metrics` names them.

    The first column is the overall score with its interval, over all metrics that discriminate: 0
    is the reference, a baseline that was fixed beforehand, and 1 a second experiment. It orders the
    rows. The second column is the harm: what a contender loses by being worse than unchanged
    controls. The controls are set apart at the end. A note names the reference. It says so where
    nothing responds, and where the reference leaves too little to gain for a score. Where there are
    many metrics and few rows, families of metrics go on below, with the same rows.

    Baselines that predict the same cells are one row; a note under the table lists them. A dagger
    marks predictions whose embedding has seen held-out cells: they had an easier task. A note says
    so where the conditions themselves may have been seen in training.

    Parameters
    ----------
    data
        {evaluated}
    metrics
        Metrics to show. ``None`` shows those that discriminate, and all that have a value if none
        does. The order of the rows does not depend on them.
    n_top
        How many baselines to show, the best first. ``None`` shows all. The prediction and the
        controls are always shown.
    key
        {evaluation_key}
    ax
        Axes to draw into. ``None`` makes a new figure, which grows with the table. The shape of
        the axes, or of `figsize`, decides how many blocks the metrics are in.
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If there is no evaluation, or if a metric is not in it.
    ValueError
        If `n_top` is not positive.

    Examples
    --------
    {evaluated_example}
    >>> ax = sh.pl.leaderboard(adata)
    """
    canvas = Canvas(ax, figsize, title, show, save)
    result = read_evaluation(data, key, mod)
    if n_top is not None:
        n_top = whole(n_top, name="n_top")
    summary = _shown(result, metrics)
    place = positions(result, summary)
    scores: pd.DataFrame = result["contenders"].set_axis(place.index)
    scores = scores.reindex(columns=list(dict.fromkeys([*STANDING, *scores.columns])))
    names = _order(scores[["score", "achieved"]].astype(float), n_top)

    grid = _grid(names, summary, canvas.room)
    ax = canvas.axes(width=grid.width, height=grid.height)
    tint = np.column_stack(  # score and harm are on other scales: no colour
        [np.zeros((len(names), len(SIDE))), place.loc[names]]
    )
    tint[:, len(SIDE) :][:, ~fit(summary)] = np.nan
    own = scores.loc[names]
    harm = [score_in_words(value, np.nan, np.nan) for value in own["harm"].to_numpy(float)]
    columns = [harm, *(_texts(own[c].to_numpy(float)) for c in summary.index)]
    intervals = own[["score", "score_low", "score_high"]].to_numpy(float)
    _cells(ax, grid, tint, [[score_in_words(*row) for row in intervals], *columns])
    good, told = np.concatenate([[True] * len(SIDE), fit(summary)]), transductive_marks(own)
    _names(
        ax,
        grid,
        [label_of(result, name) for name in names],
        [*SIDE, *map(str, summary.index)],
        good,
        bold=names.index(PREDICTION),
    )
    width = int(LETTERS * grid.width)
    notes = [
        _about(result, width),
        "" if metrics is not None else _left_out(result, summary),
        further_names(result, names, width=width),
        "† transductive: its embedding has seen held-out cells" if told else "",
        caution_of(result, width=width),
    ]
    _note(ax, "\n".join(filter(None, notes)))
    _heads(ax, grid)
    _key(ax)
    return canvas.done(ax)


def _shown(result: dict[str, Any], metrics: Sequence[str] | None) -> pd.DataFrame:
    """Return the summary of the metrics to show; of all, those that discriminate."""
    summary = chosen(result, metrics)
    good = fit(summary)
    return summary[good] if metrics is None and good.any() else summary


def _left_out(result: dict[str, Any], summary: pd.DataFrame) -> str:
    """Say how many metrics are not shown because they do not discriminate."""
    n = int((~fit(result["summary"].drop(index=summary.index))).sum())
    return f"not shown: {n} metrics that do not discriminate here" if n else ""


def _about(result: dict[str, Any], width: int) -> str:
    """Say what 0 is, or why there is no score, in lines."""
    params = result["params"]
    if not params.get("responds", True):
        return "\n".join(wrap(str(params["verdict"]).partition(";")[0], width))
    reference = str(params.get("reference", ""))
    if not reference:
        return ""
    if not np.isfinite(float(params["score"])):
        return "\n".join(map(plain, wrap(str(params["verdict"]).partition("; ")[2], width)))
    return f"score 0: {shorten(reference)}"


def _order(standing: pd.DataFrame, n_top: int | None) -> list[str]:
    """Return models from best to worst, then the controls."""
    ranked = standing.sort_values(["score", "achieved"], ascending=False, kind="stable").index
    models = [name for name in ranked if name not in CONTROLS]
    baselines = [name for name in models if name != PREDICTION][:n_top]
    return [m for m in models if m == PREDICTION or m in baselines] + [
        r for r in CONTROLS if r in standing.index
    ]


def _grid(names: list[str], summary: pd.DataFrame, room: tuple[float, float]) -> Grid:
    """Return where rows and columns are: in as many blocks as fill the room best."""
    apart = np.isin(names, CONTROLS)
    row = np.arange(len(names)) + GAP * apart
    longest = max(len(shorten(name)) for name in (*SIDE, *summary.index))
    down = row[-1] + 1 + (LETTER * longest + FAMILY) / HIGH
    family = summary["family"].astype(str).to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], family[1:] != family[:-1]]))
    ends = np.append(starts[1:], len(family)) - 1
    found = (
        _in_blocks(family, starts, ends, (0, *cuts), row, down)
        for n in range(len(starts))
        for cuts in combinations(range(1, len(starts)), n)
    )
    return min(found, key=lambda grid: grid.fills(room))


def _in_blocks(
    family: Any, starts: Ints, ends: Ints, first: Sequence[int], row: Floats, down: float
) -> Grid:
    """Return the grid in which a block begins with each of the families `first`."""
    x, block, heads = [0.0, HALF + 0.5], [0, 0], []
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        new = i in first and i > 0
        left = 0.5 - HALF if new else x[-1] + 1 + GAP
        columns = left + np.arange(end - start + 1)
        x += list(columns)
        block += [block[-1] + new] * len(columns)
        heads.append((str(family[start]), block[-1], columns[0], columns[-1]))
    return Grid(row, down, np.array(x), np.array(block), heads)


def _cells(ax: Axes, grid: Grid, tint: Floats, texts: list[list[str]]) -> None:
    """Draw the coloured cells with the texts of their columns.

    The first column is wider. A cell without a colour is grey.
    """
    boxes, colours = [], []
    for (i, j), value in np.ndenumerate(tint):
        half = HALF if j == 0 else 0.5
        x, y = grid.x[j], grid.row[i] + grid.down * grid.block[j]
        boxes.append(Rectangle((x - half, y - 0.5), 2 * half, 1))
        known = np.isfinite(value)
        colours.append(BETWEEN((value + 1) / 2) if known else BLANK)
        ink = QUIET if not known else "white" if value > 0.65 or value < -0.75 else INK
        style = {
            "ha": "center",
            "va": "center",
            "fontsize": 6,
            "fontweight": "bold" if j == 0 else "normal",
        }
        ax.text(x, y, texts[j][i], color=ink, **style)
    ax.add_collection(
        PatchCollection(boxes, facecolors=colours, edgecolors="white", linewidths=0.8)
    )
    ax.set_xlim(-HALF, grid.right)
    ax.set_ylim(grid.bottom, -0.5)


def _names(
    ax: Axes, grid: Grid, names: list[str], columns: list[str], good: Bools, *, bold: int
) -> None:
    """Name rows and columns, in every block; one row is bold."""
    n = grid.block[-1] + 1
    at = np.concatenate([grid.row + grid.down * i for i in range(n)])
    ax.set_yticks(at, [shorten(name) for name in names] * n, fontsize="small", color=INK)
    for label in ax.get_yticklabels()[bold :: len(names)]:
        label.set_fontweight("bold")
    ax.set_xticks([])
    style = {"rotation": ANGLE, "rotation_mode": "anchor", "fontsize": "x-small", "ha": "left"}
    style |= {"va": "baseline", "textcoords": "offset points", "annotation_clip": False}
    for x, block, name, fits in zip(grid.x, grid.block, columns, good, strict=True):
        top = (x, grid.down * block - 0.5)
        ax.annotate(shorten(name), top, (2, 3), color=INK if fits else QUIET, **style)
    ax.tick_params(length=0, pad=3)
    ax.spines[:].set_visible(False)


def _note(ax: Axes, said: str) -> None:
    """Say under the table what 0 is, what it leaves out, and what a dagger means."""
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    at = (72 * -LEFT, 72 * -FAMILY)
    ax.annotate(said, (0, 0), at, ha="left", va="top", fontsize="x-small", color=INK, **place)


def _heads(ax: Axes, grid: Grid) -> None:
    """Write the families under their columns, those of few columns aslant."""
    style = {"textcoords": "offset points", "annotation_clip": False, "va": "top"}
    for family, block, first, last in grid.heads:
        under = grid.down * block + grid.row[-1] + 0.5
        line = under + 0.1
        ax.plot([first - 0.45, last + 0.45], [line, line], color=QUIET, lw=1, clip_on=False)
        fits = (last - first + 1) * WIDE > 0.062 * len(family)
        ax.annotate(
            family,
            ((first + last) / 2, under),
            (0, -6),
            ha="center" if fits else "right",
            color=INK,
            rotation=0 if fits else 40,
            rotation_mode="anchor" if not fits else "default",
            fontsize="x-small",
            **style,
        )


def _key(ax: Axes) -> None:
    """Draw the scale of the colours under the table."""
    colours = ScalarMappable(Normalize(-1, 1), BETWEEN)
    bar = ax.figure.colorbar(
        colours,
        ax=ax,
        location="bottom",
        shrink=min(1.0, 3.4 / (WIDE * ax.dataLim.width)),
        aspect=28,
        pad=0.02,
        fraction=0.05,
    )
    bar.set_ticks([-1, 0, 1], labels=["worse", NEGATIVE, POSITIVE], fontsize="x-small", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _texts(values: Floats) -> list[str]:
    """Return the numbers of a column, with as many digits as its largest one asks for."""
    top = np.nanmax(np.abs(values), initial=0.0)
    spec = (
        ".0f"
        if top >= 100
        else ".1f"
        if top >= 10
        else ".2f"
        if top >= 0.1
        else ".3f"
        if top >= 0.01
        else ".0e"
    )
    texts = [format(v, spec).replace("e-0", "e-") if np.isfinite(v) else "–" for v in values]
    return [
        text.removeprefix("-") if float(text.strip("–") or 1) == 0 else text.replace("-", "−")
        for text in texts
    ]
