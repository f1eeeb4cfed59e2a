"""Perturbations in order, with their intervals and numbers of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._keys import COHERENCE
from .._responses import responses
from .._validate import between, flag, get_adata, key_in, numbers_in, whole
from ..core._results import read_result
from ._canvas import Canvas
from ._coherence import classes
from ._style import INK, LONGEST, QUIET, legend_above, plain, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData


@fill
def ranking(
    data: AnnData | MuData,
    *,
    by: str = "coherence",
    n_top: int | None = 30,
    ascending: bool = False,
    color: str | None = None,
    key: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show the perturbations with the largest (or smallest) values of a column, best on top.

    The number of cells of each perturbation stands at the right.

    Parameters
    ----------
    data
        {coherent}
    by
        Column of the table to rank by. Perturbations without a value are left out. Intervals are
        drawn for ``"coherence"``.
    n_top
        How many perturbations to show. ``None`` shows all.
    ascending
        Whether the smallest values come first. With ``by="residual_z"`` this shows the discordant
        perturbations.
    color
        ``None`` for significant against not significant, as in :func:`shoal.pl.coherence`,
        ``"cause"``, or another column with few values.
    key
        {coherence_key}
    alpha
        {alpha}
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
        If the result or a column does not exist.
    ValueError
        If `n_top` is not positive.

    Examples
    --------
    {coherence_example}
    >>> ax = sh.pl.ranking(adata, n_top=3)
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    flag(ascending, name="ascending")
    between(alpha, 0, 1, name="alpha", ends=True)
    key = COHERENCE if key is None else key
    result = read_result(adata, key, kind="coherence", written_by="sh.tl.coherence(adata)")
    table: pd.DataFrame = result["table"]
    for column in (by, *([] if color is None else [color])):
        key_in(column, table.columns, where=f"the table of adata.uns[{key!r}]")
    numbers_in(table, by, name="by")
    if n_top is not None:
        n_top = whole(n_top, name="n_top")
    shown = (
        table[np.isfinite(table[by])]
        .sort_values(by, ascending=ascending, kind="stable")
        .head(n_top or len(table))
    )

    ax = canvas.axes(width=5.6, height=1.1 + 0.21 * max(len(shown), 3))
    row = np.arange(len(shown))
    ax.axvline(0, color=INK, lw=0.6, alpha=0.5, zorder=1)
    found = responses(shown, result["params"], alpha)
    for name, rows, (tint, marker) in classes(shown, color, found, alpha):
        if not rows.any():
            continue
        part = shown[rows]
        if by == "coherence":
            ax.hlines(
                row[rows], part["ci_low"], part["ci_high"], color=tint, lw=1.4, alpha=0.55, zorder=2
            )
        ax.scatter(
            part[by],
            row[rows],
            s=26,
            c=tint,
            marker=marker,
            label=f"{plain(name)} ({rows.sum()})",
            zorder=3,
        )
    ax.set_yticks(row, [shorten(name) for name in shown.index])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlabel("coherence $r$" if by == "coherence" else plain(by.replace("_", " ")))
    tidy(ax)
    ax.tick_params(axis="y", length=0, labelsize="x-small")
    ax.grid(axis="y", color=QUIET, lw=0.4, alpha=0.35)
    _cell_numbers(ax, shown)
    if len(shown) < len(table):
        ax.set_ylabel(f"{len(shown)} of {len(table):,} perturbations", fontsize="small", color=INK)
    longest = max((len(text) for text in ax.get_legend_handles_labels()[1]), default=0)
    if longest:
        legend_above(ax, ncols=1 if longest > LONGEST else 2, handletextpad=0.2)
    return canvas.done(ax)


def _cell_numbers(ax: Axes, shown: pd.DataFrame) -> None:
    """Write the cells of each perturbation at the right side, as a column."""
    if "n_cells" not in shown:
        return
    side = {
        "xycoords": ax.get_yaxis_transform(),
        "textcoords": "offset points",
        "ha": "right",
        "fontsize": "x-small",
        "color": INK,
        "annotation_clip": False,
    }
    for row, n in enumerate(shown["n_cells"]):
        ax.annotate(f"{n:,.0f}", (1, row), (34, 0), va="center", **side)
    ax.annotate("cells", (1, -0.6), (34, 2), va="bottom", **side)
