"""A prediction and a baseline, condition by condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._contenders import PREDICTION, called, rival_of
from .._validate import key_in, whole
from ._canvas import Canvas
from ._evaluation import (
    as_loss,
    better,
    label_of,
    measured,
    per_condition,
    read_evaluation,
)
from ._style import ACCENT, INK, QUIET, RIVAL, name_points, point_size, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Bools, Floats


ROOM = 0.2  # of the range, around the points: the corners hold texts


@fill
def scatter_baseline(
    data: AnnData | MuData,
    metric: str,
    *,
    against: str | None = None,
    n_labels: int = 6,
    key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show in which conditions a prediction is better than a baseline, and in which worse.

    Each point is a condition: across is the metric of the baseline, upwards that of the prediction.
    The half in which the prediction is better is shaded, whichever way the metric is better.

    - If a metric is best at a value in between, the loss against that value is drawn.
    - Conditions without both values are left out. The corners say how many are shown.
    - A dagger marks predictions whose embedding has seen held-out cells.

    Parameters
    ----------
    data
        {evaluated}
    metric
        {metric}
    against
        What to compare with: a baseline or a control. ``None`` takes the reference of the score,
        or where the suite has none the best baseline of the metric.
    n_labels
        How many conditions to name: those with the largest differences. 0 names none.
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
    The axes.

    Raises
    ------
    KeyError
        If there is no evaluation, or if the metric or `against` is not in it.
    ValueError
        If no condition has both values, or if there is neither reference nor best baseline.

    Examples
    --------
    {evaluated_example}
    >>> ax = sh.pl.scatter_baseline(adata, "energy")
    """
    canvas = Canvas(ax, figsize, title, show, save)
    result = read_evaluation(data, key, mod)
    n_labels = whole(n_labels, name="n_labels", least=0)
    row = measured(result, metric)
    values = per_condition(result, metric)
    rival = _rival(row, against)
    for name in (PREDICTION, rival):
        key_in(name, values.columns, where=f"the contenders with values of {metric!r}")
    both = values[np.isfinite(values[[PREDICTION, rival]]).all(axis=1).to_numpy()]
    if both.empty:
        msg = f"no condition has a value of {metric!r} for both {PREDICTION!r} and {rival!r}"
        raise ValueError(msg)
    x, y = both[rival].to_numpy(float), both[PREDICTION].to_numpy(float)
    gain = as_loss(x, row) - as_loss(y, row)
    by_loss = row["direction"] == "target"
    if by_loss:
        x, y = as_loss(x, row), as_loss(y, row)

    ax = canvas.axes(width=4.9, height=4.9)
    up = row["direction"] == "higher"
    _halves(ax, x, y, up=up)
    _points(ax, x, y, gain)
    what = f"{metric}, loss against {row['perfect']:g}" if by_loss else metric
    ax.set(xlabel=shorten(label_of(result, rival)), ylabel=shorten(label_of(result)))
    ax.set_title(
        f"{what} ({'lower is better' if by_loss else better(row)})",
        loc="left",
        fontsize="medium",
        color=INK,
    )
    _tell(ax, gain, (shorten(called(result)), shorten(rival)), up=up)
    tidy(ax)
    widest = np.argsort(-np.abs(gain), kind="stable")[:n_labels]
    widest = widest[gain[widest] != 0]
    name_points(ax, both.index[widest].tolist(), x[widest], y[widest], avoid=(x, y))
    return canvas.done(ax)


def _rival(row: pd.Series, against: str | None) -> str:
    """Return what the prediction is compared with."""
    if against is not None:
        return against
    rival = rival_of(row)
    if not rival:
        msg = (
            f"{row.name!r} has neither reference nor best baseline in this evaluation; name a "
            "contender with against="
        )
        raise ValueError(msg)
    return rival


def _halves(ax: Axes, x: Floats, y: Floats, *, up: bool) -> None:
    """Draw the diagonal, and shade the half on which the prediction is better."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    room = ROOM * (high - low) or max(abs(high), 1.0) * 0.1
    ends = np.array([low - room, high + room])
    ax.fill_between(
        ends, ends, ends[1] if up else ends[0], color=ACCENT, alpha=0.06, lw=0, zorder=0
    )
    ax.plot(ends, ends, color=INK, lw=0.8, zorder=1)
    ax.set(xlim=ends, ylim=ends)
    ax.set_aspect("equal", adjustable="box")


def _points(ax: Axes, x: Floats, y: Floats, gain: Floats) -> None:
    """Draw the conditions: better, worse, and the same."""
    rim = {"s": point_size(len(x)), "linewidths": 0.4, "edgecolors": "white", "zorder": 3}
    sides: tuple[tuple[Bools, str, str], ...] = (
        (gain > 0, ACCENT, "o"),
        (gain < 0, RIVAL, "s"),
        (gain == 0, QUIET, "D"),
    )
    for rows, tint, marker in sides:
        ax.scatter(x[rows], y[rows], c=tint, marker=marker, **rim)


def _tell(ax: Axes, gain: Floats, names: tuple[str, str], *, up: bool) -> None:
    """Write into the two corners which of the two is better there, and how often."""
    upper, lower = (0.03, 0.97, "left", "top"), (0.97, 0.03, "right", "bottom")
    same = int((gain == 0).sum())
    own, rival = names
    tied = f"\n{same} the same" if same else ""
    for (x, y, ha, va), who, n, tint in (
        (upper if up else lower, own, f"{int((gain > 0).sum())} of {len(gain)}{tied}", ACCENT),
        (lower if up else upper, rival, f"{int((gain < 0).sum())} of {len(gain)}", RIVAL),
    ):
        ax.text(
            x,
            y,
            f"{who} better:\n{n}",
            transform=ax.transAxes,
            ha=ha,
            va=va,
            color=tint,
            fontsize="small",
            zorder=5,
        )
