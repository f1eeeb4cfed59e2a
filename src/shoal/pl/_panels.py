"""Panels with cells in a plane, one a perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core._predicted_cells import some
from ._style import INK, PREDICTED, QUIET, REAL, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._typing import Floats
    from ._canvas import Canvas

MOST_COLUMNS = 4


def check_panels(n: int, ax: Axes | None) -> None:
    """Raise ``ValueError`` if there is nothing to draw, or too much for one ax."""
    if n == 0 or (ax is not None and n > 1):
        msg = f"{n} perturbations" + (" do not fit into one ax" if n else "; name at least one")
        raise ValueError(msg)


def new_panels(canvas: Canvas, n: int, *, several: bool) -> NDArray[Any]:
    """Return (n,) axes: those of the canvas, or new ones in a grid if `several`."""
    if several:
        return canvas.grid(n, columns=MOST_COLUMNS, width=3.1, height=3.1)
    return np.array([canvas.axes(width=4.8, height=4.4)])


def name_panels(axes: NDArray[Any], name: str) -> None:
    """Write the perturbation above panels that show the same kinds of cells, and what these are."""
    figure = axes[0].figure
    figure.suptitle(shorten(name), x=0.01, ha="left", fontsize="medium", color=INK)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper right",
        fontsize="x-small",
        frameon=False,
        markerscale=2,
        ncols=3,
    )


def name_axes(ax: Axes, components: tuple[int, int] | None, *, along: str) -> None:
    """Name the two directions of the plane."""
    x, y = (along, "across it") if components is None else (f"PC{int(c)}" for c in components)
    ax.set(xlabel=x, ylabel=y)


def draw_cloud(
    ax: Axes,
    cells: Floats,
    plane: Floats,
    *,
    label: str,
    most: int,
    rng: np.random.Generator,
    **look: Any,
) -> None:
    """Draw at most `most` of the cells as points, with their number in the legend.

    Parameters
    ----------
    ax, cells, plane
        Axes, (n, k) cells and (k, 2) directions.
    label
        Name of these cells.
    most, rng
        How many cells to draw, and the source of the choice.
    **look
        Passed to :meth:`matplotlib.axes.Axes.scatter`.
    """
    at = cells[some(np.arange(len(cells)), most, rng)] @ plane
    ax.scatter(*at.T, s=9, linewidths=0, label=f"{shorten(label)} ({len(cells):,})", **look)


def draw_steps(ax: Axes, several: list[tuple[str, Floats]]) -> None:
    """Draw cumulative distributions, from the smallest value of all to the largest.

    Parameters
    ----------
    ax
        Axes to draw into.
    several
        Label and values of the controls, of real cells and of predicted cells.
    """
    every = np.concatenate([values for _, values in several])
    low, high = np.nanmin(every), np.nanmax(every)
    styles = ((QUIET, "-", 1.6), (REAL, "-", 1.8), (PREDICTED, (0, (4, 1.5)), 1.6))
    for (label, values), (tint, line, width) in zip(several, styles, strict=True):
        ax.ecdf(
            values[np.isfinite(values)],
            color=tint,
            ls=line,
            lw=width,
            label=f"{shorten(label)} ({len(values):,})",
        )
    room = 0.04 * (high - low) or 0.5
    ax.set(xlim=(low - room, high + room), ylim=(-0.02, 1.02), yticks=(0, 0.5, 1))
