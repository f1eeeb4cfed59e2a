"""Perturbations by contexts: where a response is there, and where it is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._keys import COHERENCE
from .._validate import between, get_adata, key_in, listed, numbers_in, whole
from ..core._results import read_result
from ._canvas import Canvas
from ._style import (
    CAUSE,
    FAINT,
    INK,
    QUIET,
    SIGNED,
    legend_above,
    plain,
    shorten,
    tidy,
)
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Floats

ALL = "all"


@fill
def contexts(
    data: AnnData | MuData,
    *,
    perturbations: Sequence[str] | None = None,
    n_top: int = 30,
    color: str = "coherence",
    key: str | None = None,
    alpha: float = 0.05,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show how each perturbation acts in each context, and over all of them.

    Rows are perturbations and columns are contexts. The first column, ``"all"``, is that of all
    cells together. A response that is coherent in every column but the first one differs between
    contexts.

    The shape of a marker is the cause of incoherence, if there is one. Responses that are not
    significant are small and grey.

    Parameters
    ----------
    data
        Screen with the result of :func:`shoal.tl.coherence`, and with a recorded context.
    perturbations
        Names of the rows. ``None`` shows the `n_top` perturbations of largest magnitude.
    n_top
        Number of rows, if `perturbations` is not given.
    color
        Column of numbers that gives the colour, such as ``"coherence"`` or ``"residual_z"``.
    key
        {coherence_key}
    alpha
        {alpha}
    ax
        Axes to draw into. ``None`` makes a new figure, as large as the table.
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
        If the result, its table of contexts, a column or a perturbation does not exist.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, contexts=2, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> sh.tl.coherence(adata)
    >>> ax = sh.pl.contexts(adata)
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    key = COHERENCE if key is None else key
    between(alpha, 0, 1, name="alpha", ends=True)
    n_top = whole(n_top, name="n_top")
    result = read_result(adata, key, kind="coherence", written_by="sh.tl.coherence(adata)")
    key_in(
        "by_context",
        result,
        where=f"adata.uns[{key!r}]",
        hint="Record a context, sh.pp.annotate(adata, ..., context_key=...), and call "
        "sh.tl.coherence(adata) again.",
    )
    parts: pd.DataFrame = result["by_context"]
    key_in(color, parts.columns, where=f"the tables of adata.uns[{key!r}]")
    numbers_in(parts, color, name="color")
    pooled: pd.DataFrame = result["table"]
    if perturbations is None:
        rows = list(pooled["magnitude"].nlargest(n_top).index)
    else:
        perturbations = listed(perturbations, name="perturbations", empty=False)
        for name in perturbations:
            key_in(name, pooled.index, where=f"the table of adata.uns[{key!r}]")
        rows = list(dict.fromkeys(perturbations))
    columns = [ALL, *sorted(parts["context"].astype(str).unique())]

    ax = canvas.axes(width=3.0 + 0.5 * len(columns), height=2.6 + 0.24 * max(len(rows), 4))
    place = {name: i for i, name in enumerate(rows)}
    own = pooled.loc[rows]
    part = parts[parts["perturbation"].isin(rows)]
    at = np.concatenate([np.zeros(len(own)), part["context"].astype(str).map(columns.index)])
    row = np.concatenate([np.arange(len(own)), part["perturbation"].map(place)])
    hit, value, cause = (
        np.concatenate([own[name].to_numpy(), part[name].to_numpy()])
        for name in ("qvalue", color, "cause")
    )
    _points(ax, at, row, hit < alpha, value.astype(float), cause, color)
    ax.axvline(0.5, color=QUIET, lw=0.8)
    ax.set_xticks(range(len(columns)), [shorten(c) for c in columns], rotation=45, ha="right")
    ax.set_yticks(range(len(rows)), [shorten(name) for name in rows])
    ax.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6))
    ax.set_xlabel(plain(result["params"].get("context_key") or "context"))
    if len(rows) < len(pooled):
        ax.set_ylabel(f"{len(rows)} of {len(pooled):,} perturbations", fontsize="small", color=INK)
    tidy(ax)
    ax.tick_params(length=0, labelsize="x-small")
    ax.grid(color=FAINT, lw=0.6, zorder=0)
    ax.set_axisbelow(True)
    legend = legend_above(ax, handletextpad=0.2)
    for handle in legend.legend_handles:  # they tell shapes: the colour of a point is a number
        if handle.get_array() is not None:
            handle.set_array(None)
            handle.set_facecolor(INK)
    return canvas.done(ax)


def _points(
    ax: Axes, x: Floats, y: Floats, hit: Floats, value: Floats, cause: Floats, color: str
) -> None:
    """Draw the significant responses by cause, in one scale of colours, and the others grey."""
    if not hit.all():
        said = f"no response found ({np.sum(~hit)})"
        ax.scatter(x[~hit], y[~hit], s=10, c=QUIET, label=said, zorder=3)
    known = value[hit & np.isfinite(value)]
    signed = len(known) > 0 and known.min() < 0
    top = float(np.abs(known).max()) if len(known) else 1.0
    scale = {"cmap": SIGNED, "vmin": -top, "vmax": top} if signed else {
        "cmap": "cividis", "vmin": 0.0, "vmax": top
    }  # fmt: skip
    present = [*CAUSE, *sorted(set(cause) - set(CAUSE))]
    for name in present:
        own = hit & (cause == name)
        if own.any():
            marker = CAUSE.get(name, (INK, "o"))[1]
            said = "response" if name == "none" else f"response, {name}"
            drawn = ax.scatter(
                x[own],
                y[own],
                s=58,
                c=value[own],
                marker=marker,
                linewidths=0.5,
                edgecolors="white",
                label=f"{said} ({own.sum()})",
                zorder=4,
                **scale,
            )
    if hit.any():
        bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7, pad=0.02)
        bar.set_label(plain(color.replace("_", " ")), fontsize="small", color=INK)
        bar.ax.tick_params(labelsize="x-small", colors=INK)
        bar.outline.set_visible(False)
