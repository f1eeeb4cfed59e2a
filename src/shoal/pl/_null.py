"""Calibration of the test on this screen: controls against controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats

from .._keys import COHERENCE
from .._validate import get_adata, key_in
from ..core._results import read_result
from ._canvas import Canvas
from ._style import FAINT, INK, MARKERS, WHEEL, plain, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Floats

RANDOM = "random split"
ENOUGH = 20  # groups whose rate of rejection says something
NAMED = 5  # labels of controls that are named, where they reject


@fill
def coherence_null(
    data: AnnData | MuData,
    *,
    key: str | None = None,
    pvalue: Literal["pvalue", "residual_pvalue"] = "pvalue",
    ax: Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> tuple[Axes, Axes]:
    """Show whether control cells, tested as if they were perturbed, get the p-values they should.

    On the left are the sorted p-values of each size of pseudo-perturbation, against those that a
    uniform law gives. The shaded band is the 95 % envelope of independent draws.
    Pseudo-perturbations share cells, so curves may wander together. Real groups of controls, such
    as non-targeting guides, are crosses. Those beyond the upper edge are triangles.

    On the right is how often the test rejects at each level, with the exact binomial 95 % interval.
    A calibrated test lies on its dashed line. Real groups are shown if there are at least 20.

    Parameters
    ----------
    data
        Screen with the result of :func:`shoal.tl.coherence_null`.
    key
        Key of ``uns`` with the result. ``None``: ``"coherence_null"``.
    pvalue
        Which test to show on the left: of an effect, or of the residual coherence.
    ax
        Two axes to draw into. ``None`` makes a new figure.
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    The two axes.

    Raises
    ------
    KeyError
        If the result or the column does not exist.
    ValueError
        If `ax` is not a pair of axes.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=4, rng=0)
    >>> sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p")
    >>> sh.tl.coherence_null(adata, "perturbation", control="control", n_draws=20, rng=0)
    >>> left, right = sh.pl.coherence_null(adata)
    """
    canvas = Canvas(ax, figsize, title, show, save, n_axes=2)
    adata = get_adata(data, mod)
    key = f"{COHERENCE}_null" if key is None else key
    result = read_result(
        adata, key, kind="coherence_null", written_by="sh.tl.coherence_null(adata)"
    )
    table: pd.DataFrame = result["table"]
    key_in(pvalue, table.columns, where=f"the table of adata.uns[{key!r}]")
    if ax is None:
        ax = canvas.subplots(1, 2, width=8.2, height=3.7, width_ratios=(1.1, 1))[0]
    left, right = ax
    _sorted_pvalues(left, table, pvalue, str(result["params"].get("by") or "labels"))
    _rates(right, result["rates"])
    return canvas.done((left, right))


def _sorted_pvalues(ax: Axes, table: pd.DataFrame, column: str, by: str) -> None:
    """Draw sorted p-values against those that are expected, both as -log10, with the envelope."""
    table = table[np.isfinite(table[column])]
    split = table[table["held_out"] == RANDOM]
    named = table[table["held_out"] != RANDOM]
    groups = [(f"{n} cells", g[column].to_numpy(float)) for n, g in split.groupby("n_cells")]
    for count in sorted({len(p) for _, p in groups}) or [len(named)]:
        expected, low, high = _envelope(count)
        ax.fill_between(expected, low, high, color=FAINT, lw=0, zorder=1)
    for i, (name, p) in enumerate(groups):
        ax.plot(
            _envelope(len(p))[0],
            -np.log10(np.sort(np.maximum(p, 1e-300))),
            marker=MARKERS[i % len(MARKERS)],
            ms=2.5,
            lw=0.8,
            color=WHEEL[i % len(WHEEL)],
            label=name,
            zorder=3,
        )
    top = max(ax.dataLim.y1, 1.0) * 1.05
    if len(named):
        _groups(ax, named.set_index("held_out")[column].sort_values(), by, top)
    right = max(ax.get_xlim()[1], 1.0)
    ax.plot([0, right], [0, right], color=INK, lw=0.8, ls=(0, (4, 2)), zorder=2)
    what = " of the residual" if column == "residual_pvalue" else ""
    ax.set(
        xlabel="expected $-\\log_{10} p$",
        ylabel=f"observed $-\\log_{{10}} p${what}",
        xlim=(0, right),
        ylim=(0, top),
    )
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", fontsize="x-small", frameon=False)
    tidy(ax)


def _groups(ax: Axes, p: pd.Series, by: str, top: float) -> None:
    """Draw sorted p-values of labels of controls as crosses; those above `top` at the edge.

    The smallest ones below 0.05 are named, since such a guide may act by itself.
    """
    expected, observed = _envelope(len(p))[0], -np.log10(np.maximum(p.to_numpy(float), 1e-300))
    inside = observed <= top
    look = {"ls": "", "color": INK, "zorder": 4, "ms": 6}
    if inside.any():
        label = f"{plain(by)}: {inside.sum()} left out in turn"
        ax.plot(expected[inside], observed[inside], marker="x", mew=1.4, label=label, **look)
    if not inside.all():
        label = f"{plain(by)}: {(~inside).sum()} beyond the axis"
        edge = np.full((~inside).sum(), 0.985 * top)
        ax.plot(expected[~inside], edge, marker="^", label=label, **look)
    for i in np.flatnonzero(p < 0.05)[:NAMED]:
        ax.annotate(
            shorten(p.index[i]),
            (expected[i], min(observed[i], 0.985 * top)),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small",
            color=INK,
            zorder=5,
        )


def _envelope(n: int) -> tuple[Floats, Floats, Floats]:
    """Return expected order statistics of `n` uniform p-values and their 95 % limits, as -log10."""
    rank = np.arange(1, n + 1)
    law = stats.beta(rank, n + 1 - rank)
    return -np.log10(rank / (n + 1)), -np.log10(law.ppf(0.975)), -np.log10(law.ppf(0.025))


def _rates(ax: Axes, rates: pd.DataFrame) -> None:
    """Draw rejection rates with their intervals: one place a size, one colour a level."""
    rates = rates[(rates["held_out"] == RANDOM) | (rates["n_draws"] >= ENOUGH)]
    tidy(ax)
    if rates.empty:
        ax.text(0.5, 0.5, "no random splits", transform=ax.transAxes, ha="center", color=INK)
        return
    places = list(dict.fromkeys(zip(rates["held_out"], rates["n_cells"], strict=True)))
    levels = sorted(rates["alpha"].unique(), reverse=True)
    for i, alpha in enumerate(levels):
        at_level = rates[rates["alpha"] == alpha]
        spot = np.array(
            [places.index(p) for p in zip(at_level["held_out"], at_level["n_cells"], strict=True)]
        )
        rate = at_level["rate"].to_numpy(float)
        span = np.vstack([rate - at_level["ci_low"], at_level["ci_high"] - rate]).clip(0)
        offset = 0.22 * (i - (len(levels) - 1) / 2)
        look = {"color": WHEEL[i % len(WHEEL)], "zorder": 3 + i}
        ax.axhline(alpha, lw=1, ls=(0, (4, 2)), **look)
        ax.errorbar(
            spot + offset,
            rate,
            yerr=span,
            fmt=MARKERS[i % len(MARKERS)],
            ms=5,
            lw=1.2,
            label=f"level {alpha:g}",
            **look,
        )
    names = [
        f"{n}" if held_out == RANDOM else shorten(held_out).replace(" ", "\n")
        for held_out, n in places
    ]
    ax.set_xticks(range(len(places)), names, rotation=45 if len(places) > 8 else 0)
    ax.set(
        xlabel="control cells in a pseudo-perturbation",
        ylabel="share rejected",
        xlim=(-0.6, len(places) - 0.4),
    )
    high = ax.get_ylim()[1]
    ax.set_ylim(-0.02 * high, 1.15 * high)  # a rate of 0 is drawn whole
    ax.legend(loc="upper right", fontsize="x-small", frameon=False, ncols=len(levels))
