"""Which metrics can tell a good prediction from one that knows nothing, on these data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import key_in, listed
from ..metrics._calibration import LEAST_DRF
from ._canvas import Canvas
from ._evaluation import chosen, fit, read_evaluation
from ._style import FAINT, INK, MARKERS, QUIET, WHEEL, name_points, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

CHANCE = 0.5  # BDS of a metric that knows nothing


@fill
def calibration(
    data: AnnData | MuData,
    *,
    metrics: Sequence[str] | None = None,
    label: Sequence[str] | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show which metrics can tell a good prediction from one that knows nothing.

    Each point is a metric:

    - across, its dynamic range fraction (DRF): how far a second experiment gets on the way from the
      negative control to a perfect value;
    - upwards, its bound discrimination score (BDS): the part of the conditions in which the second
      experiment beats the negative control.

    Metrics in the shaded corner discriminate: their DRF is at least 0.1 and their BDS above a half.
    The others are hollow. They do not count in the score.

    Parameters
    ----------
    data
        {evaluated}
    metrics
        Metrics to show. ``None`` shows all that have a value.
    label
        Metrics to name. ``()`` names none. ``None`` names those that do not discriminate and, in
        each family, those with the largest and the smallest DRF.
    key
        {evaluation_key}
    ax
        {ax}
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    The axes. Metrics without the two values are not drawn.

    Raises
    ------
    KeyError
        If there is no evaluation, or if a metric is not in it.

    Examples
    --------
    {evaluated_example}
    >>> ax = sh.pl.calibration(adata)
    """
    canvas = Canvas(ax, figsize, title, show, save)
    result = read_evaluation(data, key, mod)
    summary = chosen(result, metrics)
    label = None if label is None else listed(label, name="label")
    for name in label or ():
        key_in(name, summary.index, where="the metrics that are shown")
    summary = summary[np.isfinite(summary[["drf", "bds"]].astype(float)).all(axis=1)]

    ax = canvas.axes(width=7.8, height=5.2)
    x, y = summary["drf"].to_numpy(float), summary["bds"].to_numpy(float)
    ax.set_xlim(min(x.min(initial=0.0), 0.0) - 0.06, max(x.max(initial=0.0), 0.2) + 0.1)
    bottom = min(y.min(initial=0.4) - 0.06, 0.4)
    ax.set_ylim(
        bottom, 1 + 0.25 * (1 - bottom)
    )  # many metrics have a BDS of 1; their names need room
    ax.fill_between(
        [LEAST_DRF, ax.get_xlim()[1]],
        CHANCE,
        ax.get_ylim()[1],
        color=FAINT,
        alpha=0.45,
        lw=0,
        zorder=0,
    )
    ax.axvline(LEAST_DRF, color=INK, lw=0.8, ls="--", alpha=0.6, zorder=1)
    ax.axhline(CHANCE, color=INK, lw=0.8, ls="--", alpha=0.6, zorder=1)
    good, family = fit(summary), summary["family"].astype(str).to_numpy()
    for i, name in enumerate(pd.unique(family)):
        tint, marker = WHEEL[i % len(WHEEL)], MARKERS[i % len(MARKERS)]
        for rows, face in ((good, tint), (~good, "white")):
            of = rows & (family == name)
            ax.scatter(
                x[of], y[of], s=34, c=face, edgecolors=tint, marker=marker, linewidths=1.1, zorder=3
            )
        ax.scatter([], [], s=34, c=tint, marker=marker, label=name)
    ax.set(xlabel="dynamic range fraction (DRF)", ylabel="bound discrimination score (BDS)")
    ax.set_yticks([t for t in ax.get_yticks() if ax.get_ylim()[0] <= t <= 1.001])
    tidy(ax)
    ax.legend(
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize="x-small",
        frameon=False,
        handletextpad=0.2,
    )
    ax.set_title(
        f"{good.sum()} of {len(good)} metrics discriminate",
        loc="left",
        fontsize="medium",
        color=INK,
    )
    ax.text(
        LEAST_DRF,
        ax.get_ylim()[0],
        f" DRF = {LEAST_DRF:g}",
        fontsize="x-small",
        color=QUIET,
        va="bottom",
    )
    ax.text(
        ax.get_xlim()[1],
        CHANCE,
        "chance ",
        fontsize="x-small",
        color=QUIET,
        ha="right",
        va="bottom",
    )
    at = summary.index.get_indexer(
        _telling(summary) if label is None else summary.index.intersection(pd.Index(label))
    )
    name_points(ax, summary.index[at].tolist(), x[at], y[at], avoid=(x, y))
    return canvas.done(ax)


def _telling(summary: pd.DataFrame) -> pd.Index:
    """Return the metrics to name where all would be too many."""
    drf, family = summary["drf"].astype(float), summary["family"].astype(str)
    ends = [
        getattr(drf[family == name], end)()
        for name in family.unique()
        for end in ("idxmax", "idxmin")
    ]
    return summary.index[~fit(summary) | summary.index.isin(ends)]
