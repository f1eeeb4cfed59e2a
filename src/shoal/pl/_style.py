"""What all plots share: colours for colour-blind readers, axes, and labels that do not collide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    from .._typing import Floats

INK = "#2B2F36"
QUIET = "#A9AFB8"  # what is not significant, controls
FAINT = "#E3E6EA"
ACCENT = "#0072B2"
SPANNING = "#7FB8DE"  # significant, with an interval that includes 0
WHEEL = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#F0E442",
    "#000000",
)  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CAUSE = {  # why a response is less coherent than a shift: colour and marker
    "none": (ACCENT, "o"),
    "dispersion": ("#E69F00", "s"),
    "partial penetrance": ("#009E73", "^"),
    "several programmes": ("#CC79A7", "D"),
    "differs between contexts": ("#56B4E9", "P"),
    "differs between strata": ("#56B4E9", "X"),
    "unclear": (INK, "v"),
}
SIGNED = LinearSegmentedColormap.from_list(
    "shoal_signed", ["#D55E00", "#C9BDB4", ACCENT]
)  # never white: seen on paper
LONGEST = 32  # characters of a name before it is cut


def axes_or_new(ax: Axes | None, *, width: float, height: float) -> Axes:
    """Return `ax`, or the axes of a new figure of this size (inches)."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def tidy(ax: Axes) -> None:
    """Take away the frame and ticks that carry nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize="small")
    ax.set_axisbelow(True)


def legend_above(ax: Axes, **options: Any) -> Legend:
    """Put a small legend without a frame above the axes; `options` are those of ``Axes.legend``."""
    small = {"fontsize": "x-small", "frameon": False}
    return ax.legend(loc="lower left", bbox_to_anchor=(0, 1), **small, **options)


def plain(name: object) -> str:
    """Return a name as matplotlib shows it letter by letter.

    Matplotlib reads what is between two ``$`` as a formula, breaks lines, and leaves labels that
    begin with ``_`` out of legends. A name may hold all of these.
    """
    text = " ".join(str(name).split()).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def shorten(name: object) -> str:
    """Cut a long name in its middle, so that both parts of a combination stay readable."""
    text = str(name)
    if len(text) > LONGEST:
        half = (LONGEST - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return plain(text)


def point_size(n: int) -> float:
    """Area of a marker (points squared): small where there are many."""
    return float(np.clip(420 / np.sqrt(max(n, 1)), 7, 42))


def name_points(
    ax: Axes, names: Sequence[str], x: Floats, y: Floats, *, avoid: tuple[Floats, Floats]
) -> None:
    """Write `names` beside their points, clear of one another and of all points `avoid`."""
    if len(names) == 0:
        return
    from adjustText import adjust_text

    halo = [withStroke(linewidth=2, foreground="white", alpha=0.85)]
    texts = [
        ax.text(px, py, shorten(name), fontsize="x-small", color=INK, zorder=6, path_effects=halo)
        for name, px, py in zip(names, x, y, strict=True)
    ]
    avoid = _thin(ax, *avoid)
    legend = ax.get_legend()
    adjust_text(
        texts,
        x=avoid[0],
        y=avoid[1],
        target_x=x,
        target_y=y,
        objects=None if legend is None else [legend],
        ax=ax,
        force_static=(0.3, 0.5),
        force_text=(0.4, 0.8),
        iter_lim=150,  # not a time limit, which would make the picture depend on the machine
        expand=(1.15, 1.4),
        arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.5, "alpha": 0.7},
    )


def _thin(ax: Axes, x: Floats, y: Floats, *, cell: float = 8.0) -> tuple[Floats, Floats]:
    """Keep one point of each square of `cell` pixels, which is enough to place labels."""
    ax.figure.canvas.figure.draw_without_rendering()  # the layout decides where pixels are
    square = np.round(ax.transData.transform(np.column_stack([x, y])) / cell)
    _, first = np.unique(square, axis=0, return_index=True)
    return x[first], y[first]
