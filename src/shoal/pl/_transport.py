"""Arrows from cells to where a model takes them, in the PCA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from .._keys import PCA
from .._random import RNGLike, as_generator
from .._validate import get_adata, positive
from ..core._screen import labels, resolve
from ._cells import some
from ._evaluation import RIVAL
from ._moved import basis_of, in_genes_of, in_layer, in_made, inside_of
from ._populations import _agreement, _grid, _plane
from ._style import ACCENT, INK, QUIET, axes_or_new, shorten, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Bools, Floats
    from ..core._matrix import Rows
    from ..core._screen import Screen
    from ._moved import Moved


@dataclass(frozen=True)
class Panel:
    """A perturbation in the basis: controls, its real cells (perhaps none), and both ends of every arrow."""

    name: str
    control: Floats
    real: Floats
    start: Floats
    end: Floats


def transport(
    data: AnnData | MuData,
    perturbation: str | Sequence[str] | None = None,
    *,
    made: AnnData | None = None,
    layer: str | None = None,
    real_layer: str | None = None,
    context: str | None = None,
    basis: str = PCA,
    components: tuple[int, int] | None = None,
    max_arrows: int = 60,
    max_cells: int = 400,
    rng: RNGLike = 0,
    ax: Axes | None = None,
    mod: str | None = None,
) -> Axes | NDArray[Any]:
    """Draw an arrow from each source cell to where a model takes it, over the controls and the real perturbed cells.

    Arrows that run side by side are a shift, arrows that open or close a change of spread, arrows that cross a map that
    mixes cells up, and arrows of length zero cells that do not respond. All cells are projected on the axes of the real
    cells' PCA in the same way, so that a model which changes nothing draws no arrow. By default the plane is the one that
    holds the real shift, to the right, and what the model adds to it, upwards; above are the cosine of the two mean shifts
    and the ratio of their lengths, over all components.

    Parameters
    ----------
    data
        Annotated screen.
    perturbation
        Name of the perturbation, or several names for a panel each; ``None`` for those of `made`.
    made
        Generated cells whose ``obs["source"]`` names cells of the screen: what ``model.transport`` or ``model.predict``
        returned (of ``model.interpolate`` the last time is drawn).
    layer
        Instead of `made`, a prediction of :func:`shoal.tl.predict`: a layer, or, for a model of the basis itself,
        ``obsm["X_" + layer]``.
    real_layer
        Layer that the basis was computed from; ``None`` for ``X``.
    context
        Show the cells, controls and arrows of this context only; ``None`` for all together.
    basis
        Slot of ``obsm``; cells generated in genes need the PCA, with its axes in ``varm["PCs"]``.
    components
        Two components to draw instead, counted from 1, such as ``(1, 2)``.
    max_arrows
        Most arrows to draw; the shift above is that of all.
    max_cells
        Most controls, and most real cells, to draw.
    rng
        Seed of these choices.
    ax
        Axes to draw into, for one perturbation; ``None`` for a new figure.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    The axes; for several perturbations a 1-D array of them.

    Raises
    ------
    KeyError
        If the perturbation, prediction, basis, context or a source cell does not exist.
    ValueError
        If not exactly one of `made` and `layer` is given, a layer comes without a perturbation, the cells cannot be
        projected on the basis, a component does not exist, no arrow is left to draw, or axes were given for several
        perturbations.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> model = sh.tl.fit(adata, "mean_shift")
    >>> controls = adata[adata.obs["perturbation"] == "control"].copy()
    >>> ax = sh.pl.transport(adata, made=model.transport(controls, "P1"))
    """
    adata = get_adata(data, mod)
    positive(max_arrows, name="max_arrows")
    positive(max_cells, name="max_cells")
    if (made is None) == (layer is None):
        msg = "give either made=, the cells that model.transport returned, or layer=, the name of a prediction"
        raise ValueError(msg)
    if made is None and perturbation is None:
        msg = "which perturbation? A layer holds many; name one, or several for a panel each"
        raise ValueError(msg)
    screen = resolve(adata)
    real, axes, genes = basis_of(
        adata, basis, real_layer, in_genes=in_genes_of(made, adata, layer, basis)
    )
    moved = (
        in_layer(adata, screen, layer, genes)
        if made is None
        else in_made(adata, screen, made, genes)
    )
    several = (
        moved.names
        if perturbation is None
        else [perturbation]
        if isinstance(perturbation, str)
        else perturbation
    )
    several = list(dict.fromkeys(screen.canonical(name) for name in several))
    if not several or (ax is not None and len(several) > 1):
        msg = f"{len(several)} perturbations" + (
            "; name at least one" if not several else " do not fit into one ax"
        )
        raise ValueError(msg)
    panels = _panels(
        adata, screen, several, moved, real, axes, inside_of(adata, screen, context), basis
    )
    planes = [
        _plane(components, p.control, p.real if len(p.real) else p.end, p.end) for p in panels
    ]

    rng = as_generator(rng)
    one = len(several) == 1 and (perturbation is None or isinstance(perturbation, str))
    drawn = np.array([axes_or_new(ax, width=4.8, height=4.4)]) if one else _grid(len(several))
    for at, panel, plane in zip(drawn, panels, planes, strict=True):
        _draw(at, panel, plane, max_arrows=int(max_arrows), max_cells=int(max_cells), rng=rng)
        along = "along the real shift" if len(panel.real) else "along the mean arrow"
        x, y = (along, "across it") if components is None else (f"PC{c}" for c in components)
        at.set(xlabel=x, ylabel=y)
    drawn[0].legend(
        loc="best", fontsize="x-small", frameon=False, handletextpad=0.4, markerscale=1.4
    )
    return drawn[0] if one else drawn


def _panels(
    adata: AnnData,
    screen: Screen,
    several: list[str],
    moved: Moved,
    real: Rows,
    axes: Floats,
    inside: Bools,
    basis: str,
) -> list[Panel]:
    """Project all kinds of cells alike: scores of cells that a PCA was fitted on are cross-fitted, on axes of their own."""
    found = labels(adata, screen)
    control = np.flatnonzero(found.is_control & inside)
    if len(control) < 2:
        msg = f"the screen has {len(control)} control cells in the context shown; it takes 2"
        raise ValueError(msg)
    of_control = np.asarray(real.take(control) @ axes)
    centre = (of_control - np.asarray(adata.obsm[basis])[control]).mean(axis=0)  # as in obsm
    panels = []
    for name in several:
        own = np.flatnonzero(moved.names == name)
        source = adata.obs_names.get_indexer(moved.source[own])
        if (source < 0).any():
            lost = moved.source[own][source < 0]
            msg = f"{len(lost)} source cells of {name!r} are not in the screen, such as {lost[0]!r}: pass the screen they are of"
            raise KeyError(msg)
        own, source = own[inside[source]], source[inside[source]]
        if not len(own):
            where = sorted(set(moved.names))[:8]
            msg = f"no cell is taken to {name!r} (from the context shown); there are cells of {', '.join(where) or 'nothing'}"
            raise ValueError(msg)
        rows = np.flatnonzero((found.code == _code(found.names, name)) & inside)
        starts, back = np.unique(source, return_inverse=True)
        start, end = real.take(starts) @ axes, moved.rows.take(moved.at[own]) @ axes
        kinds = (of_control, real.take(rows) @ axes, np.asarray(start)[back], end)
        panels.append(Panel(name, *(np.asarray(z, dtype=np.float64) - centre for z in kinds)))
    return panels


def _code(names: Any, name: str) -> int:
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
    """Draw the cells about the controls' mean, and the arrows over them."""
    origin = panel.control.mean(axis=0)
    kinds = (("control", panel.control, QUIET, 0.45), ("real", panel.real, RIVAL, 0.4))
    for z, (label, cells, tint, alpha) in enumerate(kinds, start=1):
        if len(cells):
            at = (cells[some(np.arange(len(cells)), max_cells, rng)] - origin) @ plane
            label = f"{label} ({len(cells):,})"
            ax.scatter(*at.T, s=9, c=tint, alpha=alpha, linewidths=0, zorder=z, label=label)
    shown = some(np.arange(len(panel.start)), max_arrows, rng)
    start, end = ((cells[shown] - origin) @ plane for cells in (panel.start, panel.end))
    size = {
        "width": 0.0028,
        "headwidth": 5,
        "headlength": 6,
        "headaxislength": 5.5,
        "minlength": 0.5,
    }
    ax.quiver(
        *start.T,
        *(end - start).T,
        angles="xy",
        scale_units="xy",
        scale=1,
        color=ACCENT,
        alpha=0.75,
        zorder=4,
        **size,
    )
    ax.scatter(*end.T, s=0)  # the limits and the legend know of points, not of arrows
    count = (
        f"{len(shown):,} of {len(panel.start):,}"
        if len(shown) < len(panel.start)
        else f"{len(shown):,}"
    )
    ax.add_line(
        Line2D([], [], color=ACCENT, marker=r"$\rightarrow$", ls="none", label=f"model ({count})")
    )
    title = shorten(panel.name)
    if len(panel.real):
        shifts = (
            panel.real.mean(axis=0) - panel.start.mean(axis=0),
            (panel.end - panel.start).mean(axis=0),
        )
        title += f"\n{_agreement(*shifts)}"
    ax.set_title(title, loc="left", fontsize="small", color=INK)
    ax.set_aspect("equal", adjustable="datalim")
    tidy(ax)
