"""What all plots share: colours for colour-blind readers, axes, and labels that do not collide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

    from .._typing import Floats

INK = "#2B2F36"
QUIET = "#A9AFB8"  # what is not significant, controls
FAINT = "#E3E6EA"
ACCENT = "#0072B2"
RIVAL = "#D55E00"
REAL, PREDICTED = ACCENT, RIVAL  # cells, in every picture of them; controls are QUIET
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
CLEAR = 3.0  # points around the middle of a marker that no name covers
GAPS = (5.0, 13.0, 24.0)  # points between a marker and its name
LEADER = {"arrowstyle": "-", "color": INK, "lw": 0.5, "alpha": 0.7, "shrinkA": 0, "shrinkB": 2}
SIDES = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


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
    ax: Axes,
    names: Sequence[str],
    x: Floats,
    y: Floats,
    *,
    avoid: tuple[Floats, Floats],
    all_of: Collection[str] = (),
) -> None:
    """Write names beside their points, clear of one another and of all else that is written.

    A name for which there is no room is left out. Names far from their point have a line to it.

    Parameters
    ----------
    ax
        Axes with everything else drawn.
    names, x, y
        (n,) names, the most important first, and where their points are.
    avoid
        (m,) and (m,) places of all points.
    all_of
        Names that are written where they overlap least if there is no room.
    """
    if len(names) == 0:
        return
    figure = ax.figure.canvas.figure
    figure.draw_without_rendering()  # the layout decides where pixels are
    pixels = figure.dpi / 72
    points = ax.transData.transform(np.column_stack(avoid))
    near = CLEAR * pixels
    taken = np.column_stack([points - near, points + near])
    written = [*ax.texts, *filter(None, [ax.get_legend()])]
    taken = np.vstack([taken, *(one.get_window_extent().extents for one in written)])
    frame = ax.get_window_extent().extents
    halo = [withStroke(linewidth=2, foreground="white", alpha=0.85)]
    look = {"fontsize": "x-small", "color": INK, "zorder": 6, "path_effects": halo}
    look |= {"ha": "center", "va": "center", "textcoords": "offset points"}
    for name, at in zip(names, np.column_stack([x, y]), strict=True):
        label = ax.annotate(shorten(name), at, (0, 0), **look)
        size = label.get_window_extent()
        label.remove()
        steps = _places(size.width, size.height, pixels)
        middle = ax.transData.transform(at) + steps
        half = np.array([size.width, size.height]) / 2
        boxes = np.column_stack([middle - half, middle + half])
        over = _overlaps(boxes, taken) + 1e6 * _outside(boxes, frame)
        best = int(np.argmin(over))
        if over[best] > 0 and name not in all_of:
            continue
        taken = np.vstack([taken, boxes[best]])
        line = LEADER if best >= len(SIDES) else None  # far away
        ax.annotate(shorten(name), at, tuple(steps[best] / pixels), arrowprops=line, **look)


def _places(width: float, height: float, pixels: float) -> Floats:
    """Return (k, 2) offsets of the middle of a name from its point, the nearest first."""
    sides = np.asarray(SIDES, dtype=np.float64)
    found = []
    for gap in GAPS:
        reach = np.array([width / 2 + gap * pixels, height / 2 + gap * pixels])
        slanted = (sides != 0).all(axis=1, keepdims=True)
        found.append(sides * np.where(slanted, reach * [1.0, 0.7], reach))
    return np.concatenate(found)


def _overlaps(boxes: Floats, taken: Floats) -> Floats:
    """Return (k,) areas of boxes (left, bottom, right, top) that are taken already."""
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2).sum(axis=1)


def _outside(boxes: Floats, frame: Floats) -> Floats:
    """Return (k,) whether boxes leave the axes."""
    return ((boxes[:, :2] < frame[:2]) | (boxes[:, 2:] > frame[2:])).any(axis=1).astype(float)
