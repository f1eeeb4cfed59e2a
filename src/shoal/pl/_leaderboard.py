"""Predictions against metrics, as a table with colours."""

from __future__ import annotations

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
    TRANSDUCTIVE,
    same_rows,
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

    from .._typing import Floats

SIDE = ("score", "harm")  # columns before the metrics
STANDING = ("score", "score_low", "score_high", "achieved", "harm")
HALF = 2.0  # of the width of the score, in cells
GAP = 0.3  # cells between two families, and between models and controls
WIDE, HIGH = 0.31, 0.24  # inches of a cell
BLANK = "#F4F5F7"


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
    nothing responds, and where the reference leaves too little to gain for a score.

    Baselines that predict the same cells are one row; a note under the names lists them. A dagger
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
        Axes to draw into. ``None`` makes a new figure, which grows with the table.
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
        whole(n_top, name="n_top")
    summary = _shown(result, metrics)
    place = positions(result, summary)
    scores: pd.DataFrame = result["contenders"].set_axis(place.index)
    scores = scores.reindex(columns=list(dict.fromkeys([*STANDING, *scores.columns])))
    names = _order(scores[["score", "achieved"]].astype(float), n_top)

    y, x, heads = _grid(names, summary)
    ax = canvas.axes(width=2.6 + WIDE * (x[-1] + 1.5), height=2.3 + HIGH * (y[-1] + 1))
    tint = np.column_stack(  # score and harm are on other scales: no colour
        [np.zeros((len(names), len(SIDE))), place.loc[names]]
    )
    tint[:, len(SIDE) :][:, ~fit(summary)] = np.nan
    own = scores.loc[names]
    harm = [score_in_words(value, np.nan, np.nan) for value in own["harm"].to_numpy(float)]
    columns = [harm, *(_texts(own[c].to_numpy(float)) for c in summary.index)]
    intervals = own[["score", "score_low", "score_high"]].to_numpy(float)
    _cells(ax, x, y, tint, [[score_in_words(*row) for row in intervals], *columns])
    good, told = np.concatenate([[True] * len(SIDE), fit(summary)]), transductive_marks(own)
    further = same_rows(scores.loc[names])
    _names(
        ax,
        x,
        y,
        [label_of(result, name) if name in further else told.get(name, name) for name in names],
        [*SIDE, *map(str, summary.index)],
        good,
    )
    notes = ["† transductive: its embedding\nhas seen held-out cells"] if told else []
    notes += filter(
        None,
        [
            _about(result),
            "" if metrics is not None else _left_out(result, summary),
            further_names(result, names, width=28),
            caution_of(result, width=28),
        ],
    )
    if notes:
        _note(ax, "\n".join(notes))
    _heads(ax, heads)
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
    return f"not shown: {n} metrics that do\nnot discriminate here" if n else ""


def _about(result: dict[str, Any]) -> str:
    """Say what 0 is, or why there is no score, in lines."""
    params = result["params"]
    if not params.get("responds", True):
        return "\n".join(wrap(str(params["verdict"]).partition(";")[0], 28))
    reference = str(params.get("reference", ""))
    if not reference:
        return ""
    if not np.isfinite(float(params["score"])):
        return "\n".join(map(plain, wrap(str(params["verdict"]).partition("; ")[2], 28)))
    return f"score 0: {shorten(reference)}"


def _order(standing: pd.DataFrame, n_top: int | None) -> list[str]:
    """Return models from best to worst, then the controls."""
    ranked = standing.sort_values(["score", "achieved"], ascending=False, kind="stable").index
    models = [name for name in ranked if name not in CONTROLS]
    baselines = [name for name in models if name != PREDICTION][:n_top]
    return [m for m in models if m == PREDICTION or m in baselines] + [
        r for r in CONTROLS if r in standing.index
    ]


def _grid(
    names: list[str], summary: pd.DataFrame
) -> tuple[Floats, Floats, list[tuple[str, float, float]]]:
    """Return the centres of rows and columns, and the first and last column of each family."""
    apart = np.isin(names, CONTROLS)
    y = np.arange(len(names)) + GAP * apart
    family = summary["family"].astype(str).to_numpy()
    new = np.concatenate([[True], family[1:] != family[:-1]])
    x = np.arange(len(family)) + HALF + 1.5 + GAP * np.cumsum(new)
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(family)) - 1
    return (
        y,
        np.concatenate([[0, HALF + 0.5], x]),
        [(family[s], x[s], x[e]) for s, e in zip(starts, ends, strict=True)],
    )


def _cells(ax: Axes, x: Floats, y: Floats, tint: Floats, texts: list[list[str]]) -> None:
    """Draw the coloured cells with the texts of their columns.

    The first column is wider. A cell without a colour is grey.
    """
    boxes, colours = [], []
    for (i, j), value in np.ndenumerate(tint):
        half = HALF if j == 0 else 0.5
        boxes.append(Rectangle((x[j] - half, y[i] - 0.5), 2 * half, 1))
        known = np.isfinite(value)
        colours.append(BETWEEN((value + 1) / 2) if known else BLANK)
        ink = QUIET if not known else "white" if value > 0.65 or value < -0.75 else INK
        style = {
            "ha": "center",
            "va": "center",
            "fontsize": 6,
            "fontweight": "bold" if j == 0 else "normal",
        }
        ax.text(x[j], y[i], texts[j][i], color=ink, **style)
    ax.add_collection(
        PatchCollection(boxes, facecolors=colours, edgecolors="white", linewidths=0.8)
    )
    ax.set_xlim(x[0] - HALF, x[-1] + 0.5)
    ax.set_ylim(y[-1] + 0.5, -0.5)


def _names(
    ax: Axes, x: Floats, y: Floats, names: list[str], columns: list[str], good: Floats
) -> None:
    """Name rows and columns; the prediction is bold."""
    ax.set_yticks(y, [shorten(name) for name in names], fontsize="small", color=INK)
    for label, name in zip(ax.get_yticklabels(), names, strict=True):
        label.set_fontweight(
            "bold" if name in (PREDICTION, PREDICTION + TRANSDUCTIVE) else "normal"
        )
    ax.xaxis.tick_top()
    ax.set_xticks(
        x,
        [shorten(c) for c in columns],
        rotation=55,
        ha="left",
        rotation_mode="anchor",
        fontsize="x-small",
    )
    for label, fits in zip(ax.get_xticklabels(), good, strict=True):
        label.set_color(INK if fits else QUIET)
    ax.tick_params(length=0, pad=3)
    ax.spines[:].set_visible(False)


def _note(ax: Axes, said: str) -> None:
    """Say under the names what a dagger means, and why conditions may be known to the model."""
    place = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    ax.annotate(
        said, (0, 0), (-4, -6), ha="right", va="top", fontsize="x-small", color=INK, **place
    )


def _heads(ax: Axes, heads: list[tuple[str, float, float]]) -> None:
    """Write the families under their columns, those of few columns aslant."""
    below = {
        "xycoords": ax.get_xaxis_transform(),
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    for family, first, last in heads:
        ax.plot(
            [first - 0.45, last + 0.45],
            [-0.015, -0.015],
            transform=ax.get_xaxis_transform(),
            color=QUIET,
            lw=1,
            clip_on=False,
        )
        fits = (last - first + 1) * WIDE > 0.062 * len(family)
        ax.annotate(
            family,
            ((first + last) / 2, 0),
            (0, -6),
            va="top",
            ha="center" if fits else "right",
            color=INK,
            rotation=0 if fits else 40,
            rotation_mode="anchor" if not fits else "default",
            fontsize="x-small",
            **below,
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
