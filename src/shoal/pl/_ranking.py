"""Perturbations in order, with their intervals and cell numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._keys import COHERENCE
from .._validate import get_adata, key_in, positive
from ..core._results import read_result
from ._coherence import classes
from ._style import INK, QUIET, axes_or_new, shorten, tidy

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData


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
    mod: str | None = None,
) -> Axes:
    """Show the perturbations with the largest (or smallest) values of a column, best on top.

    Parameters
    ----------
    data
        Screen with the result of :func:`shoal.tl.coherence`.
    by
        Column of the table to rank by; perturbations without a value are left out. Intervals are drawn for
        ``"coherence"``.
    n_top
        How many perturbations; ``None`` for all.
    ascending
        Whether the smallest values come first, as wanted for ``by="residual_z"`` to see the discordant ones.
    color
        ``None`` for significant against not, ``"cause"``, or another column with few values.
    key
        Slot of ``uns`` with the result; ``None`` for ``"coherence"``.
    alpha
        Level of ``qvalue`` below which a perturbation counts as significant.
    ax
        Axes to draw into; ``None`` for a new figure, as high as the list is long.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    The axes; cell numbers stand at their right side.

    Raises
    ------
    KeyError
        If the result or a column does not exist.
    ValueError
        If `n_top` is not positive.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p")
    >>> sh.tl.coherence(adata, "perturbation", control="control")
    >>> ax = sh.pl.ranking(adata, n_top=3)
    """
    adata = get_adata(data, mod)
    key = key or COHERENCE
    table: pd.DataFrame = read_result(adata, key, written_by="sh.tl.coherence(adata)")["table"]
    for column in (by, *([] if color is None else [color])):
        key_in(column, table.columns, where=f"the table of adata.uns[{key!r}]")
    if n_top is not None:
        positive(n_top, name="n_top")
    shown = (
        table[np.isfinite(table[by])]
        .sort_values(by, ascending=ascending, kind="stable")
        .head(n_top or len(table))
    )

    ax = axes_or_new(ax, width=5.6, height=1.1 + 0.21 * max(len(shown), 3))
    row = np.arange(len(shown))
    ax.axvline(0, color=INK, lw=0.6, alpha=0.5, zorder=1)
    for name, rows, (tint, marker) in classes(shown, color, alpha):
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
            label=f"{name} ({rows.sum()})",
            zorder=3,
        )
    ax.set_yticks(row, [shorten(name) for name in shown.index])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlabel("coherence $r$" if by == "coherence" else by.replace("_", " "))
    tidy(ax)
    ax.tick_params(axis="y", length=0, labelsize="x-small")
    ax.grid(axis="y", color=QUIET, lw=0.4, alpha=0.35)
    _cell_numbers(ax, shown)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        fontsize="x-small",
        frameon=False,
        ncols=2,
        handletextpad=0.2,
    )
    return ax


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
