"""What a plot is drawn on: axes or a new figure, its heading, and what becomes of it in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase

from .._staging import file_at
from .._validate import flag, positive, shown, text
from ._style import INK, plain

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

Drawn = TypeVar("Drawn")
DPI = 150  # of a file of pixels
HEADING = {"x": 0.01, "ha": "left", "fontsize": "medium", "color": INK}
ROOM = 4.0  # points between a heading and what is below it


@dataclass(frozen=True)
class Canvas:
    """Arguments that all plots share, checked before anything is drawn.

    Attributes
    ----------
    ax
        Axes to draw into, or several; None makes a new figure.
    figsize
        Width and height of a new figure, in inches; None for a size that fits what is drawn.
    title
        Heading above the picture.
    show
        Whether to show the picture now; None leaves that to matplotlib.
    save
        File to write the picture to.
    n_axes
        How many axes the plot draws into, 1 or 2.
    """

    ax: Any
    figsize: tuple[float, float] | None
    title: str | None
    show: bool | None
    save: str | PathLike[str] | None
    n_axes: int = 1

    def __post_init__(self) -> None:
        if self.title is not None:
            text(self.title, name="title")
        if self.show is not None:
            flag(self.show, name="show")
        if self.save is not None:
            self._check_file()
        if self.ax is not None:
            self._check_axes()
        if self.figsize is None:
            return
        if self.ax is not None:
            msg = "figsize= is of a new figure, and ax= is part of one: leave one of them out"
            raise ValueError(msg)
        if isinstance(self.figsize, str) or not np.iterable(self.figsize):
            msg = f"figsize must be (width, height) in inches, not {self.figsize!r}"
            raise TypeError(msg)
        if len(self.figsize) != 2:
            msg = f"figsize must be (width, height) in inches, not {self.figsize!r}"
            raise ValueError(msg)
        for side in self.figsize:
            positive(side, name="figsize")
        object.__setattr__(self, "figsize", tuple(self.figsize))

    def _check_axes(self) -> None:
        several = self.n_axes > 1 and np.iterable(self.ax)
        given = list(self.ax) if several else [self.ax]
        none = [one for one in given if not isinstance(one, Axes)]
        if none or not len(given) == len(set(given)) == self.n_axes:
            wanted = "one of the axes" if self.n_axes == 1 else "two axes"
            how = "axes[0, 0]" if self.n_axes == 1 else "axes[0]"
            msg = (
                f"ax must be {wanted} of a matplotlib figure, not {shown(self.ax)}: of "
                f"fig, axes = plt.subplots(2, 2), pass {how}"
            )
            raise (TypeError if none else ValueError)(msg)
        for name in {one.name for one in given} & {"polar", "3d"}:
            msg = f"ax has the projection {name!r}; the plot needs axes without projection="
            raise ValueError(msg)

    def _check_file(self) -> None:
        path = file_at(self.save, example="plot.pdf", name="save")
        known = sorted(FigureCanvasBase.get_supported_filetypes())
        if path.suffix[1:].lower() not in known:
            msg = f"save={str(self.save)!r} must end in one of .{', .'.join(known)}"
            raise ValueError(msg)

    @property
    def room(self) -> tuple[float, float]:
        """Width and height that were asked for, in any unit; equal where the plot may choose."""
        if self.ax is None:
            return self.figsize or (1.0, 1.0)
        size = self.ax.get_window_extent()
        return size.width, size.height

    def axes(self, *, width: float, height: float) -> Axes:
        """Return the axes that were given, or new ones of this size (inches)."""
        if self.ax is not None:
            return self.ax
        return self.subplots(1, 1, width=width, height=height)[0, 0]

    def subplots(
        self, lines: int, columns: int, *, width: float, height: float, **options: Any
    ) -> NDArray[Any]:
        """Return (lines, columns) axes of a new figure.

        Parameters
        ----------
        lines, columns
            Numbers of axes.
        width, height
            Size of the figure in inches, where the user gave none.
        **options
            Passed to :func:`matplotlib.pyplot.subplots`.
        """
        figure, axes = plt.subplots(
            lines,
            columns,
            figsize=self.figsize or (width, height),
            squeeze=False,
            layout="constrained",
            **options,
        )
        if self.title is not None:  # now, since the layout decides where there is room for names
            figure.suptitle(plain(self.title), **HEADING)
        return axes

    def grid(
        self,
        n: int,
        *,
        columns: int,
        width: float,
        height: float,
        margin: float = 0.2,
        sharey: bool = False,
    ) -> NDArray[Any]:
        """Return (n,) axes with panels of this size (inches) and a margin above."""
        columns = min(n, columns)
        lines = -(-n // columns)
        axes = self.subplots(
            lines,
            columns,
            width=0.3 + width * columns,
            height=margin + height * lines,
            sharey=sharey,
        )
        for empty in axes.ravel()[n:]:
            empty.remove()
        return axes.ravel()[:n]

    def done(self, drawn: Drawn, *, pad: float = ROOM) -> Drawn:
        """Write the heading, the file and the window; return the axes.

        Parameters
        ----------
        drawn
            Axes, or several of one figure.
        pad
            Points above the axes that the plot itself has written into.
        """
        first = drawn if isinstance(drawn, Axes) else next(iter(np.ravel(np.asarray(drawn))))
        figure = first.figure.canvas.figure
        if self.title is not None:
            if self.ax is None:
                own = figure.get_suptitle()  # of the plot, which has replaced ours
                if own != plain(self.title):
                    figure.suptitle(f"{plain(self.title)}\n{own}".rstrip(), **HEADING)
            else:
                _head(first, plain(self.title), pad)
        if self.save is not None:
            figure.savefig(self.save, dpi=DPI, bbox_inches="tight")
        if self.show:
            plt.show()
        return drawn


def _head(ax: Axes, title: str, pad: float) -> None:
    """Write a heading into axes of the user's, above what the plot has written there."""
    own = ax.get_title(loc="left")
    legend = ax.get_legend()
    if legend is not None:
        ax.figure.canvas.figure.draw_without_rendering()
        above = legend.get_window_extent().y1 - ax.get_window_extent().y1
        pad = max(pad, above * 72 / ax.figure.canvas.figure.dpi + ROOM)
    label = f"{title}\n{own}" if own else title
    ax.set_title(label, loc="left", fontsize="medium", color=INK, pad=pad)
