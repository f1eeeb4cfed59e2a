"""Scores among weak and strong, incoherent and coherent responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._contenders import POSITIVE, PREDICTION, STRATA, rival_of
from .._validate import key_in, listed
from ._canvas import Canvas
from ._evaluation import (
    LOOKS,
    better,
    label_of,
    measured,
    negative_of,
    read_evaluation,
    under_all_names,
)
from ._style import INK, MARKERS, RIVAL, WHEEL, legend_above, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Bools

TITLES = {"effect": "size of the real effect", "coherence": "coherence of the real response"}
GAP = 0.8
ENOUGH = 3  # conditions of a third that a line is drawn to


@fill
def strata(
    data: AnnData | MuData,
    metric: str,
    *,
    contenders: Sequence[str] | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show how a metric depends on the size and on the coherence of the real response.

    Conditions are put into thirds by the magnitude of the real effect, and again by its coherence.
    The mean score of each third is drawn. What can be seen:

    - a prediction that beats the baseline only where effects are strong;
    - thirds in which the two controls meet: there the metric cannot tell a second experiment from
      a prediction that knows nothing.

    Under each third is its number of conditions. Thirds of one or two conditions are hollow points:
    no line leads to them, because their mean says little.

    A dagger marks predictions whose embedding has seen held-out cells.

    Parameters
    ----------
    data
        {evaluated}
    metric
        {metric}
    contenders
        Predictions, baselines and controls to show. ``None`` shows the prediction, the best
        baseline of this metric and the two controls.
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
        If there is no evaluation, or if the metric or a contender has no strata in it.

    Examples
    --------
    {evaluated_example}
    >>> ax = sh.pl.strata(adata, "energy")
    """
    canvas = Canvas(ax, figsize, title, show, save)
    result = read_evaluation(data, key, mod)
    row = measured(result, metric)
    table: pd.DataFrame = result["strata"]
    table = table[(table["metric"] == metric).to_numpy()].astype({"stratum": str, "contender": str})
    value = table.pivot(index="stratum", columns="contender", values="value")
    value = under_all_names(value, result)
    names = _shown(value.columns, row, negative_of(result, metric), contenders)

    ax = canvas.axes(width=6.2, height=3.8)
    start, ticks = 0.0, []
    for kind, levels in STRATA.items():
        present = [level for level in levels if f"{kind} {level}" in value.index]
        at = start + np.arange(len(present))
        several = value.loc[[f"{kind} {level}" for level in present]]
        n = table.groupby("stratum")["n"].max()
        _lines(
            ax,
            at,
            several,
            names,
            enough=n[several.index].to_numpy() >= ENOUGH,
            labels={} if ticks else {name: label_of(result, name) for name in names},
        )
        ticks += [
            (a, f"{lv}\n({n[f'{kind} {lv}']:,.0f})") for a, lv in zip(at, present, strict=True)
        ]
        if present:
            ax.annotate(
                TITLES[kind],
                (at.mean(), 0),
                (0, -34),
                xycoords=ax.get_xaxis_transform(),
                ha="center",
                textcoords="offset points",
                va="top",
                fontsize="small",
                color=INK,
                annotation_clip=False,
            )
            start = at[-1] + 1 + GAP
    ax.set_xticks(*zip(*ticks, strict=True))
    ax.set_ylabel(f"{metric}\n({better(row)})")
    tidy(ax)
    ax.tick_params(axis="x", length=0)
    ax.margins(x=0.06)
    legend_above(ax, ncols=4, columnspacing=1.2)
    return canvas.done(ax)


def _shown(
    available: pd.Index, row: pd.Series, negative: str, contenders: Sequence[str] | None
) -> list[str]:
    """Return the contenders to draw: those asked for, or the usual four where they are there."""
    if contenders is None:
        usual = dict.fromkeys((POSITIVE, PREDICTION, rival_of(row), negative))
        return [c for c in usual if c in available]
    contenders = listed(contenders, name="contenders", empty=False)
    for name in contenders:
        key_in(name, available, where=f"the contenders with strata of {row.name!r}")
    return list(dict.fromkeys(contenders))


def _lines(
    ax: Axes,
    at: Any,
    value: pd.DataFrame,
    names: list[str],
    *,
    enough: Bools,
    labels: dict[str, str],
) -> None:
    """Draw a line of each contender over the thirds with enough conditions, and the others."""
    others = [name for name in names if name not in LOOKS]
    for name in names:
        i = others.index(name) if name in others else 0
        tint = (RIVAL, *WHEEL[2:])[i % len(WHEEL[1:])]
        tint, marker, line = LOOKS.get(name, (tint, MARKERS[(i + 1) % len(MARKERS)], "-"))
        main = name == PREDICTION
        own = value[name].to_numpy(float)
        look = {"color": tint, "marker": marker, "ms": 6 if main else 5, "zorder": 4 if main else 3}
        width = 2.0 if main else 1.3
        rim = {"markeredgecolor": "white", "markeredgewidth": 0.5}
        said = shorten(labels[name]) if labels else None
        ax.plot(at, np.where(enough, own, np.nan), ls=line, lw=width, label=said, **look, **rim)
        if not enough.all():
            ax.plot(at[~enough], own[~enough], ls="none", markerfacecolor="white", **look)
