"""Arrows from cells to where a model takes them, in the PCA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from .._keys import PCA
from .._random import RNGLike, as_generator
from .._validate import get_adata, listed, unique_cells, whole
from ..core._codes import places
from ..core._predicted_cells import contexts_of, finite, inside_of, on_one_scale, some
from ..core._screen import labels, resolve
from ..metrics._plane import agreement, plane_of
from ._canvas import Canvas
from ._moved import read_moved
from ._panels import check_panels, draw_cloud, name_axes, new_panels
from ._style import INK, PREDICTED, QUIET, REAL, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Bools, Floats
    from ..core._matrix import Rows
    from ..core._screen import Screen
    from ._moved import Moved

ARROW = {"width": 0.0028, "headwidth": 5, "headlength": 6, "headaxislength": 5.5, "minlength": 0.5}


@dataclass(frozen=True)
class Panel:
    """A perturbation in the basis: controls, real cells (perhaps none), and both ends of arrows."""

    name: str
    control: Floats
    real: Floats
    start: Floats
    end: Floats


@fill
def transport(
    data: AnnData | MuData,
    perturbation: str | Sequence[str] | None = None,
    *,
    prediction: str | AnnData,
    layer: str | None = None,
    context: str | None = None,
    basis: str = PCA,
    components: tuple[int, int] | None = None,
    max_arrows: int = 60,
    max_cells: int = 400,
    rng: RNGLike = 0,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes | NDArray[Any]:
    """Draw an arrow from each source cell to where a model takes it.

    Controls and real perturbed cells are drawn under the arrows. How to read the arrows:

    - side by side: the response is a shift;
    - opening or closing: the spread of the cells changes;
    - crossing: the map mixes the cells up;
    - of length zero: these cells do not respond.

    All cells are projected on the axes of the real cells' PCA, in the same way. So a model that
    changes nothing draws no arrow.

    By default, the real shift points to the right, and what the model adds to it points upwards.
    The title gives the cosine of the two mean shifts and the ratio of their lengths, over all
    components of the basis.

    Parameters
    ----------
    data
        {annotated}
    perturbation
        {perturbations}
        ``None`` draws all perturbations of the cells in `prediction`.
    prediction
        Predicted cells with the cells that they start from:

        - cells that ``model.transport``, ``model.predict`` or ``model.interpolate`` returned, whose
          ``obs["source"]`` names cells of the screen (of an interpolation the last time is drawn);
        - the name of a prediction of :func:`shoal.tl.predict`: a layer, or
          ``obsm["X_" + prediction]`` for a model of the basis.
    layer
        Layer of the real values that the basis was computed from. ``None`` for ``X``.
    context
        {context}
    basis
        Key of ``obsm``. Cells in genes need the PCA, with its axes in ``varm["PCs"]``.
    components
        {components}
    max_arrows
        Most arrows to draw. The shift in the title is that of all cells.
    max_cells
        Most controls, and most real cells, to draw.
    rng
        Seed or Generator that chooses the arrows and the cells to draw.
    ax
        Axes to draw into, for one perturbation. ``None`` makes a new figure.
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    The axes. For several perturbations, a 1-D array of axes.

    Raises
    ------
    KeyError
        If the perturbation, the prediction, the basis, the context or a source cell does not exist.
    ValueError
        If values are NaN or not on one scale, if the name of a prediction comes without a
        perturbation, if cells cannot be projected on the basis, if a component does not exist, if
        no arrow is left to draw, or if one ax was given for several perturbations.

    Examples
    --------
    {predicted_example}
    >>> controls = adata[adata.obs["perturbation"] == "control"].copy()
    >>> ax = sh.pl.transport(adata, prediction=model.transport(controls, "P1"))
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    max_arrows = whole(max_arrows, name="max_arrows")
    max_cells = whole(max_cells, name="max_cells")
    if isinstance(prediction, str) and perturbation is None:
        msg = (
            f"which perturbation? The prediction {prediction!r} holds many; "
            "name one, or several for a panel each"
        )
        raise ValueError(msg)
    screen = resolve(adata)
    moved, real, axes = read_moved(adata, screen, prediction, layer=layer, basis=basis)
    asked = moved.names if perturbation is None else perturbation
    names = listed(asked, name="perturbation")
    names = list(dict.fromkeys(screen.canonical(name) for name in names))
    check_panels(len(names), ax)
    inside = inside_of(adata, screen, context)
    panels = _panels(adata, screen, names, moved, real, axes, inside, basis)
    planes = [
        plane_of(components, p.control, p.real if len(p.real) else p.end, p.end) for p in panels
    ]

    rng = as_generator(rng)
    one = len(names) == 1 and (perturbation is None or isinstance(perturbation, str))
    drawn = new_panels(canvas, len(names), several=not one)
    for at, panel, plane in zip(drawn, panels, planes, strict=True):
        _draw(at, panel, plane, max_arrows=max_arrows, max_cells=max_cells, rng=rng)
        along = "along the real shift" if len(panel.real) else "along the mean arrow"
        name_axes(at, components, along=along)
    drawn[0].legend(
        loc="best", fontsize="x-small", frameon=False, handletextpad=0.4, markerscale=1.4
    )
    return canvas.done(drawn[0] if one else drawn)


def _panels(
    adata: AnnData,
    screen: Screen,
    names: list[str],
    moved: Moved,
    real: Rows,
    axes: Floats,
    inside: Bools,
    basis: str,
) -> list[Panel]:
    """Project all kinds of cells in one way.

    The scores in ``obsm`` are not used. For cells that the PCA was fitted on, they may be
    cross-fitted, which means other axes.
    """
    labelled = labels(adata, screen)
    panels = []
    for name in names:
        at, source = _arrows_of(adata, moved, name, inside)
        here = inside & contexts_of(adata, screen, source)
        control = np.flatnonzero(labelled.is_control & here)
        if len(control) < 2:
            msg = f"the screen has {len(control)} control cells in the context shown; it takes 2"
            raise ValueError(msg)
        genes = real.take(control)
        scores = finite(np.asarray(adata.obsm[basis])[control], f"adata.obsm[{basis!r}]")
        of_control = finite(np.asarray(genes @ axes), "the real values")
        centre = (of_control - scores).mean(axis=0)  # as in obsm
        rows = np.flatnonzero((labelled.code == _code(labelled.names, name)) & here)
        starts, back = np.unique(source, return_inverse=True)
        carried = moved.rows.take(at)
        if moved.in_genes:
            on_one_scale(carried, real.take(starts), genes, name)
        start, end = real.take(starts) @ axes, carried @ axes
        kinds = (of_control, real.take(rows) @ axes, np.asarray(start)[back], end)
        panels.append(Panel(name, *(np.asarray(z, dtype=np.float64) - centre for z in kinds)))
    return panels


def _arrows_of(adata: AnnData, moved: Moved, name: str, inside: Bools) -> tuple[Any, Any]:
    """Return the rows of the predicted cells of a perturbation, and the rows of their sources."""
    unique_cells(adata)
    mine = np.flatnonzero(moved.names == name)
    source = places(adata.obs_names, moved.source[mine])
    if (source < 0).any():
        lost = moved.source[mine][source < 0]
        msg = (
            f"{len(lost)} source cells of {name!r} are not in the screen, such as {lost[0]!r}: "
            "pass the screen that they are of"
        )
        raise KeyError(msg)
    mine, source = mine[inside[source]], source[inside[source]]
    if not len(mine):
        there = ", ".join(sorted(set(moved.names))[:8]) or "nothing"
        msg = f"no cell is taken to {name!r} (from the context shown); there are cells of {there}"
        raise ValueError(msg)
    return moved.at[mine], source


def _code(names: Any, name: str) -> int:
    """Return the code of a perturbation, or one that no cell has."""
    return names.get_loc(name) if name in names else -2


def _draw(
    ax: Axes,
    panel: Panel,
    plane: Floats,
    *,
    max_arrows: int,
    max_cells: int,
    rng: np.random.Generator,
) -> None:
    """Draw the cells about the mean of the controls, and the arrows over them."""
    origin = panel.control.mean(axis=0)
    kinds = (
        ("control", panel.control, {"c": QUIET, "alpha": 0.45}),
        ("real", panel.real, {"c": REAL, "alpha": 0.4}),
    )
    for z, (label, cells, look) in enumerate(kinds, start=1):
        if len(cells):
            draw_cloud(
                ax, cells - origin, plane, label=label, most=max_cells, rng=rng, zorder=z, **look
            )
    n = len(panel.start)
    shown = some(np.arange(n), max_arrows, rng)
    start, end = ((cells[shown] - origin) @ plane for cells in (panel.start, panel.end))
    place = {"angles": "xy", "scale_units": "xy", "scale": 1, "color": PREDICTED, "alpha": 0.75}
    ax.quiver(*start.T, *(end - start).T, zorder=4, **place, **ARROW)
    ax.scatter(*end.T, s=0)  # the limits and the legend know of points, not of arrows
    count = f"{len(shown):,} of {n:,}" if len(shown) < n else f"{n:,}"
    look = {"color": PREDICTED, "marker": r"$\rightarrow$", "ls": "none"}
    ax.add_line(Line2D([], [], label=f"model ({count})", **look))
    title = shorten(panel.name)
    if len(panel.real):
        real = panel.real.mean(axis=0) - panel.start.mean(axis=0)
        title += f"\nmean shifts: {agreement(real, (panel.end - panel.start).mean(axis=0))}"
    ax.set_title(title, loc="left", fontsize="small", color=INK)
    ax.set_aspect("equal", adjustable="datalim")
    tidy(ax)
