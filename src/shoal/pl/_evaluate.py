"""The summary of an evaluation: how much better than the reference, metric by metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.transforms import offset_copy

from .._contenders import same_rows
from ._canvas import Canvas
from ._evaluation import (
    caution_of,
    chosen,
    fit,
    further_names,
    label_of,
    read_evaluation,
    verdict_of,
)
from ._style import ACCENT, FAINT, INK, QUIET, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Floats

WIDTH = 80  # characters of a line above the plot
PAD = 30  # points above the axes, for what 0 and 1 mean
GAP = 1.1  # rows between two families, for the name of the second


@fill
def evaluate(
    data: AnnData | MuData,
    *,
    metrics: Sequence[str] | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show the skill of a prediction on every metric, with its interval.

    - A skill of 0 is as good as the reference, and 1 as good as a second experiment. The reference
      is a baseline that was fixed beforehand, named above the line of 0.
    - A negative skill is worse than the reference.
    - Hollow grey points are metrics that do not discriminate: on these data they cannot tell a
      second experiment from a prediction that knows nothing. They say nothing, whatever the skill.

    At the right is the baseline of each metric that turned out best, which nobody knows beforehand.
    If others predict the same cells, the lines above the plot list them.

    The title says what came out: on how many metrics the prediction wins, loses and ties, and its
    score with its interval, over all metrics that discriminate. Where nothing responds, it says
    that there is nothing to predict. A dagger in the title says that the embedding of the model has
    seen held-out cells.

    Parameters
    ----------
    data
        {evaluated}
    metrics
        Metrics to show. ``None`` shows all that have a value. They are grouped by family either
        way.
    key
        {evaluation_key}
    ax
        Axes to draw into. ``None`` makes a new figure, as high as the list is long.
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

    Examples
    --------
    {evaluated_example}
    >>> ax = sh.pl.evaluate(adata)
    """
    canvas = Canvas(ax, figsize, title, show, save)
    result = read_evaluation(data, key, mod)
    summary = chosen(result, metrics)
    row, heads = _rows(summary)
    ax = canvas.axes(width=6.6, height=1.3 + 0.2 * (row[-1] + 1))
    for at, style in ((0, "-"), (1, "--")):
        ax.axvline(at, color=INK, lw=0.8, ls=style, alpha=0.6, zorder=1)
    _points(ax, summary, row)
    _side_names(ax, summary, row, heads, result)
    named = [*summary["best_baseline"].astype(str), str(result["params"].get("reference", ""))]
    _title(ax, result, named=named)
    return canvas.done(ax, pad=PAD)


def _rows(summary: pd.DataFrame) -> tuple[Floats, dict[str, float]]:
    """Return the height of every metric and, by family, that of its name, from the top down."""
    family = summary["family"].astype(str).to_numpy()
    new = np.concatenate([[True], family[1:] != family[:-1]])
    row = np.arange(len(family)) + GAP * np.cumsum(new)
    return row, {family[i]: float(row[i] - 0.95) for i in np.flatnonzero(new)}


def _points(ax: Axes, summary: pd.DataFrame, row: Floats) -> None:
    """Draw skills and intervals; a metric without a skill keeps its row and says so."""
    value, low, high = (summary[c].to_numpy(float) for c in ("skill", "skill_low", "skill_high"))
    known, good = np.isfinite(value), fit(summary)
    for rows, tint, name in (
        (good, ACCENT, "discriminates"),
        (~good, QUIET, "does not discriminate here"),
    ):
        drawn = rows & known
        ax.hlines(row[drawn], low[drawn], high[drawn], color=tint, lw=1.6, alpha=0.6, zorder=2)
        face = tint if tint == ACCENT else "white"
        n = int(rows.sum())
        ax.scatter(
            value[drawn], row[drawn], s=26, c=face, edgecolors=tint, zorder=3, label=f"{name} ({n})"
        )
    for at in row[~known]:
        ax.text(0.02, at, "not defined", fontsize="x-small", color=QUIET, va="center")
    spread = np.concatenate([value, low, high, [-0.05, 1.05]])
    ax.set_xlim(np.nanmin(spread) - 0.08, np.nanmax(spread) + 0.08)


def _side_names(
    ax: Axes,
    summary: pd.DataFrame,
    row: Floats,
    heads: dict[str, float],
    result: dict[str, Any],
) -> None:
    """Write metrics and families at the left side, the best baselines in hindsight at the right."""
    ax.set_yticks(row, [shorten(str(name)) for name in summary.index])
    ax.set_ylim(row[-1] + 0.7, -0.6)
    ax.set_xlabel("skill")
    tidy(ax)
    ax.tick_params(axis="y", length=0, labelsize="x-small")
    for label, good in zip(ax.get_yticklabels(), fit(summary), strict=True):
        label.set_color(INK if good else QUIET)
    ax.grid(axis="y", color=FAINT, lw=0.6)
    place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
    place |= {"fontsize": "x-small", "annotation_clip": False}
    for family, at in heads.items():
        ax.annotate(family, (0, at), (-4, 0), ha="right", color=INK, fontweight="bold", **place)
    for at, name, good in zip(
        row, summary["best_baseline"].astype(object), fit(summary), strict=True
    ):
        said = shorten(_best(result, name)) if isinstance(name, str) and name else "–"
        ax.annotate(said, (1, at), (6, 0), ha="left", color=INK if good else QUIET, **place)
    head = "best in hindsight"
    ax.annotate(head, (1, 0), (6, 0), ha="left", color=INK, fontweight="bold", **place)


def _best(result: dict[str, Any], name: str) -> str:
    """Return what a best baseline is called: with further names, and as before without."""
    return label_of(result, name) if name in same_rows(result["contenders"]) else name


def _title(ax: Axes, result: dict[str, Any], *, named: list[str]) -> None:
    """Say what was evaluated, what came out, and what 0 and 1 mean."""
    params = result["params"]
    said = [shorten(label_of(result))]
    if "n_conditions" in params:
        n = int(params["n_conditions"])
        said.append(f"{n:,} condition{'s' if n != 1 else ''}")
    if params.get("n_draws", 1) > 1:
        said.append(f"{params['n_draws']} draws of halves and controls")
    lines = [
        caution_of(result, width=WIDTH),
        further_names(result, named, width=WIDTH),
        "   ".join(said),
        verdict_of(result, width=WIDTH - 8),
    ]
    title = "\n".join(filter(None, lines))
    ax.set_title(title, loc="left", fontsize="medium", color=INK, pad=PAD)
    reference = str(params.get("reference", "")) or "best baseline"
    for at, meaning in ((0, f"0:\n{shorten(reference)}"), (1, "1: second\nexperiment")):
        ax.annotate(
            meaning,
            (at, 1),
            (0, 3),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize="x-small",
            color=INK,
            annotation_clip=False,
        )
    below = offset_copy(ax.transAxes, ax.figure, y=-32, units="points")
    style = {"fontsize": "x-small", "frameon": False, "ncols": 2, "handletextpad": 0.2}
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, **style)
