"""The coherence-magnitude plane."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from .._keys import COHERENCE
from .._responses import responses
from .._validate import between, flag, get_adata, key_in, listed, numbers_in, whole
from ..core._results import read_result
from ._canvas import Canvas
from ._style import (
    ACCENT,
    CAUSE,
    INK,
    MARKERS,
    QUIET,
    SPANNING,
    WHEEL,
    name_points,
    plain,
    point_size,
    tidy,
)
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._responses import Responses
    from .._typing import Bools, Floats

TITLES = {
    "magnitude": "magnitude of the mean shift",
    "magnitude_plugin": "magnitude (plug-in)",
    "n_cells": "cells",
}
MOST_NAMED = 60  # perturbations that are all named, as far as there is room


@fill
def coherence(
    data: AnnData | MuData,
    *,
    key: str | None = None,
    x: str = "magnitude",
    color: str | None = None,
    label: str | Sequence[str] | None = None,
    n_labels: int = 8,
    intervals: bool = True,
    noise_curve: bool = True,
    alpha: float = 0.05,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    r"""Show how coherent the response to each perturbation is, against how large it is.

    The dashed curve is :math:`r = M / \sqrt{M^2 + T_c}`, with :math:`M` the magnitude and
    :math:`T_c` the trace of the controls' covariance. A response that moves every cell by the same
    step, in the noise of the controls, lies on this curve. There coherence says nothing that
    magnitude does not say.

    A response clearly below the curve has more spread than that: only a part of the cells responds,
    or the cells respond in several ways. The perturbations farthest from the curve, by
    ``residual_z``, are named first, then the strongest, as far as there is room.

    Parameters
    ----------
    data
        {coherent}
    key
        {coherence_key}
    x
        Column of the table for the horizontal axis. The axis is logarithmic where the values span
        more than a factor of 30, and symmetric logarithmic if some of them are not positive.
    color
        ``None`` for significant against not significant, ``"cause"``, or any other column. A
        perturbation is significant by replicates, where the table has their q-values, and the
        legend names their column. What cells alone call significant is grey, with a marker of its
        own. So is, in pale blue, what is significant although its interval includes 0.
    label
        Perturbations to name: ``"discordant"`` (less coherent than a shift of all cells),
        ``"concordant"`` (more coherent), ``"strong"`` (with the largest values of `x`, those that
        respond first), several of these words, or names. A name that was asked for is always
        written, all others where there is room. ``()`` names none. ``None`` is all three words, and
        every other perturbation if there are at most 60.
    n_labels
        Most perturbations to name for each of the words. Discordant ones have a ``residual_z``
        below -1, concordant ones above 1.
    intervals
        Whether to draw the interval of each coherence.
    noise_curve
        Whether to draw the dashed curve. It is drawn against a magnitude only.
    alpha
        {alpha}
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
        If the result, a column or a named perturbation does not exist.

    Examples
    --------
    {coherence_example}
    >>> ax = sh.pl.coherence(adata)
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    n_labels = whole(n_labels, name="n_labels", least=0)
    between(alpha, 0, 1, name="alpha", ends=True)
    flag(intervals, name="intervals")
    flag(noise_curve, name="noise_curve")
    key = COHERENCE if key is None else key
    result = read_result(adata, key, kind="coherence", written_by="sh.tl.coherence(adata)")
    table: pd.DataFrame = result["table"]
    for column in (x, *([] if color is None else [color])):
        key_in(column, table.columns, where=f"the table of adata.uns[{key!r}]")
    numbers_in(table, x, name="x")
    found = responses(table, result["params"], alpha)
    named, asked = _named(table, label, n_labels, x, found, where=f"adata.uns[{key!r}]")

    ax = canvas.axes(width=6.4, height=4.6)
    table = table[np.isfinite(table[x]) & np.isfinite(table["coherence"])]
    at, r = table[x].to_numpy(float), table["coherence"].to_numpy(float)
    ax.axhline(0, color=INK, lw=0.6, alpha=0.5, zorder=1)
    _scale(ax, at)
    if intervals:
        strength = np.clip(12 / np.sqrt(max(len(table), 1)), 0.12, 0.6)
        ax.vlines(
            at, table["ci_low"], table["ci_high"], color=QUIET, lw=0.8, alpha=strength, zorder=2
        )
    if noise_curve and x in ("magnitude", "magnitude_plugin"):
        _curve(ax, float(result["params"]["control_trace"]), at, r)
    found = responses(table, result["params"], alpha)
    _points(ax, table, at, r, color, found, alpha)

    ax.set(xlabel=TITLES.get(x, plain(x.replace("_", " "))), ylabel="coherence $r$")
    _headroom(ax)
    tidy(ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", fontsize="x-small", frameon=False, borderaxespad=0.2)
    spots = table.index.get_indexer(pd.Index(named).intersection(table.index, sort=False))
    name_points(ax, table.index[spots].tolist(), at[spots], r[spots], avoid=(at, r), all_of=asked)
    return canvas.done(ax)


def _named(
    table: pd.DataFrame,
    label: str | Sequence[str] | None,
    n: int,
    x: str,
    found: Responses,
    *,
    where: str,
) -> tuple[list[str], set[str]]:
    """Return the perturbations that `label` asks for, each once, and those that it names."""
    z = table["residual_z"].dropna()
    responding = pd.Series(found.all, table.index)
    order = table.assign(_hit=responding).sort_values(["_hit", x], ascending=False, kind="stable")
    words = {
        "discordant": z[z < -1].nsmallest(n).index.tolist(),
        "concordant": z[z > 1].nlargest(n).index.tolist(),
        "strong": order.index[:n].tolist(),
    }
    if label is None:
        rest = order.index.tolist() if n and len(table) <= MOST_NAMED else []
        return list(dict.fromkeys(chain(*words.values(), rest))), set()
    several: list[str] = []
    asked = set()
    for wish in listed(label, name="label"):
        if wish in table.index:
            several.append(wish)
            asked.add(wish)
        else:
            hint = f"Or one of the words {', '.join(map(repr, words))}."
            key_in(wish, [*words, *table.index], where=f"the table of {where}", hint=hint)
            several += words[wish]
    return list(dict.fromkeys(several)), asked


def _scale(ax: Axes, values: Floats) -> None:
    """Choose a linear, logarithmic or symmetric logarithmic axis by the span of the values."""
    positive = values[values > 0]
    if len(positive) == 0:
        return
    small, large = np.quantile(positive, 0.05), positive.max()
    if large <= 30 * small:
        return
    if (values > 0).all():
        ax.set_xscale("log")
    else:  # linear as far as the noise reaches, which the negative values show
        steps = np.outer(10.0 ** np.arange(-12, 13), (1, 2, 5)).ravel()
        noise = steps[np.searchsorted(steps, max(-values.min(), small))]
        above = steps[(steps >= noise) & (steps <= 1.2 * large)]
        thinned = above[:: -(-len(above) // 7)]
        ax.set_xscale("symlog", linthresh=noise, linscale=0.5)
        ax.set_xticks([-noise, 0.0, *thinned], [f"{v:g}" for v in (-noise, 0.0, *thinned)])
        ax.xaxis.set_minor_locator(NullLocator())


def _headroom(ax: Axes) -> None:
    """Leave room for the legend above the points, without ticks above a coherence of 1."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.12 * (high - low))
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= min(high, 1.0)])


def _curve(ax: Axes, trace: float, x: Floats, y: Floats) -> None:
    """Draw the coherence of a shift of all cells in the controls' noise, as wide as the points."""
    if len(np.unique(x)) > 1:
        ax.update_datalim(np.column_stack([x, y]))
        ax.autoscale_view()
        low, high = ax.get_xlim()
    else:
        low, high = 0.0, 1.1 * float(np.max(x, initial=0.0)) or 1.0
    magnitude = np.union1d(
        np.linspace(max(low, 0.0), high, 400), np.geomspace(max(low, high / 1e4), high, 400)
    )
    expected = magnitude / np.sqrt(magnitude**2 + trace)
    ax.plot(
        magnitude,
        expected,
        color=INK,
        lw=1.2,
        ls=(0, (4, 2)),
        zorder=3,
        label="expected from signal-to-noise alone",
    )
    ax.set_xlim(ax.get_xlim())


def _points(
    ax: Axes,
    table: pd.DataFrame,
    x: Floats,
    y: Floats,
    color: str | None,
    found: Responses,
    alpha: float,
) -> None:
    """Draw the perturbations, one artist a class, or one artist and a colour bar for numbers."""
    size = point_size(len(table))
    rim = {"linewidths": 0.4, "edgecolors": "white", "zorder": 4}
    if (
        color is not None
        and pd.api.types.is_numeric_dtype(table[color])
        and table[color].dtype != bool
    ):
        value = table[color].to_numpy(float)
        known = np.isfinite(value)
        ax.scatter(x[~known], y[~known], s=size, c=QUIET, **rim)
        drawn = ax.scatter(x[known], y[known], s=size, c=value[known], cmap="cividis", **rim)
        ax.figure.colorbar(drawn, ax=ax, label=plain(color.replace("_", " ")), shrink=0.8)
        return
    for name, rows, (tint, marker) in classes(table, color, found, alpha):
        ax.scatter(
            x[rows],
            y[rows],
            s=size,
            c=tint,
            marker=marker,
            label=f"{plain(name)} ({rows.sum()})",
            **rim,
        )


def classes(
    table: pd.DataFrame, color: str | None, found: Responses, alpha: float
) -> list[tuple[str, Bools, tuple[str, str]]]:
    """Split the table into (name, rows, (colour, marker)).

    The classes are those of significance, of cause, or of the values of another column.
    """
    if color is None:
        hit = f"q < {alpha:g}{found.suffix}"
        rest = ~(found.all | found.by_cells | found.untested)
        several = [
            ("not significant", rest, (QUIET, "o")),
            (f"q < {alpha:g} by cells alone", found.by_cells, (QUIET, "D")),
            (f"q < {alpha:g} by cells, too few replicates", found.untested, (QUIET, "X")),
            (hit, found.clear, (ACCENT, "o")),
            (f"{hit}; the interval, two-sided, includes 0", found.spanning, (SPANNING, "^")),
        ]
        return [entry for i, entry in enumerate(several) if entry[1].any() or i in (0, 3)]
    value = (
        table[color].astype(object).where(table[color].notna(), "unknown").astype(str).to_numpy()
    )
    seen = sorted(set(value))
    if color == "cause":
        order = [c for c in CAUSE if c in seen] + [c for c in seen if c not in CAUSE]
        return [(c, value == c, CAUSE.get(c, (QUIET, "o"))) for c in order]
    return [
        (c, value == c, (WHEEL[i % len(WHEEL)], MARKERS[i % len(MARKERS)]))
        for i, c in enumerate(seen)
    ]
