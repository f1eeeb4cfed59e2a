"""Predicted cells beside real ones, in the plane of their two shifts or in principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._keys import PCA
from .._random import RNGLike, as_generator
from .._validate import get_adata, listed, whole
from ..core._predictions import prediction_slot
from ..metrics._cells import densify
from ._cells import Prediction, axes_of, finite, on_one_scale, read_prediction
from ._evaluation import RIVAL
from ._panels import agreement, check_panels, draw_cloud, name_axes, new_panels, plane_of
from ._style import ACCENT, INK, QUIET, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Floats


class Panel(NamedTuple):
    """A perturbation, and its (n, k) cells of three kinds in the basis."""

    name: str
    control: Floats
    real: Floats
    predicted: Floats


@fill
def populations(
    data: AnnData | MuData,
    perturbation: str | Sequence[str],
    *,
    prediction: str,
    layer: str | None = None,
    context: str | None = None,
    basis: str = PCA,
    components: tuple[int, int] | None = None,
    max_cells: int = 400,
    rng: RNGLike = 0,
    ax: Axes | None = None,
    mod: str | None = None,
) -> Axes | NDArray[Any]:
    """Draw predicted, real and control cells of a perturbation in two directions of the PCA.

    Predicted cells are projected on the axes of the real cells' PCA. They have no axes of their
    own.

    Two arrows start at the mean of the controls. One leads to the mean of the real cells, the other
    to the mean of the predicted cells. The title gives the cosine between these two shifts and the
    ratio of their lengths, over all components of the basis.

    By default, the plane holds both arrows in full length. The real shift points to the right. What
    the prediction adds to it points upwards. A prediction with the right mean and the wrong spread
    is seen at once.

    Parameters
    ----------
    data
        Annotated screen with a prediction.
    perturbation
        {perturbations}
    prediction
        Name of the prediction: a layer, or ``obsm["X_" + prediction]`` for a model of the basis.
    layer
        Layer of the real values that the basis was computed from. ``None`` for ``X``.
    context
        {context}
    basis
        Key of ``obsm``. A prediction in genes needs the PCA, with its axes in ``varm["PCs"]``.
    components
        {components}
    max_cells
        Most cells of each kind to draw. Means use all cells.
    rng
        Seed or Generator that chooses the cells to draw.
    ax
        Axes to draw into, for one perturbation. ``None`` makes a new figure.
    mod
        {mod}

    Returns
    -------
    The axes. For several names, a 1-D array of axes.

    Raises
    ------
    KeyError
        If the perturbation, the prediction, the basis or the context does not exist.
    ValueError
        If values are NaN or not on one scale, if fewer than two cells were predicted, if they
        cannot be projected on the basis, if a component does not exist, or if one ax was given for
        several perturbations.

    Examples
    --------
    {predicted_example}
    >>> sh.tl.predict(adata, model, key_added="mean_shift")
    >>> ax = sh.pl.populations(adata, "P1", prediction="mean_shift")
    """
    adata = get_adata(data, mod)
    whole(max_cells, name="max_cells")
    one = isinstance(perturbation, str)
    names = listed(perturbation, name="perturbation")
    check_panels(len(names), ax)
    shown = read_prediction(adata, prediction, layer=layer, context=context)
    axes = axes_of(adata, basis, in_genes=shown.in_genes)
    _check_dimensions(shown, basis)
    panels = [_panel(shown, axes, name, basis) for name in names]
    planes = [plane_of(components, *panel[1:]) for panel in panels]

    rng = as_generator(rng)
    drawn = new_panels(ax, len(names), several=not one)
    for at, panel, plane in zip(drawn, panels, planes, strict=True):
        _draw(at, panel, plane, prediction, max_cells=int(max_cells), rng=rng)
        name_axes(at, components, along="along the real shift")
        if components is None:
            at.set_aspect("equal", adjustable="datalim")  # angles are those of the basis
    drawn[0].legend(
        loc="best", fontsize="x-small", frameon=False, handletextpad=0.2, markerscale=1.4
    )
    return drawn[0] if one else drawn


def _check_dimensions(shown: Prediction, basis: str) -> None:
    """Raise ``ValueError`` if a prediction in a representation is not of the basis."""
    if shown.in_genes:
        return
    _, slot = prediction_slot(shown.adata, shown.name)
    found, expected = (shown.adata.obsm[key].shape[1] for key in (slot, basis))
    if found != expected:
        msg = f"adata.obsm[{slot!r}] has {found} dimensions and {basis!r} {expected}; pass basis="
        raise ValueError(msg)


def _panel(shown: Prediction, axes: Floats | None, perturbation: str, basis: str) -> Panel:
    """Return the control, real and predicted cells of a perturbation in the basis."""
    scores = np.asarray(shown.adata.obsm[basis])
    name, rows = shown.cells_of(perturbation)
    slot = f"adata.obsm[{basis!r}]"
    real, control = (
        finite(np.asarray(scores[own], dtype=np.float64), slot) for own in (rows, shown.controls)
    )
    predicted = densify(shown.predicted(rows)).astype(np.float64)
    if not np.isfinite(predicted).all():
        msg = f"{shown.name!r} holds NaN for cells of {name!r}; predict them with sh.tl.predict"
        raise ValueError(msg)
    if axes is not None:  # the PCA's centre is what real cells lose from genes to scores
        genes = shown.real(rows)
        on_one_scale(predicted, genes, shown.real(shown.controls), shown.name)
        predicted = predicted @ axes - (genes @ axes - real).mean(axis=0)
    return Panel(name, control, real, predicted)


def _draw(
    ax: Axes,
    panel: Panel,
    plane: Floats,
    prediction: str,
    *,
    max_cells: int,
    rng: np.random.Generator,
) -> None:
    """Draw the three populations about the mean of the controls, and the two arrows."""
    start = panel.control.mean(axis=0)
    kinds = (
        ("control", panel.control, {"c": QUIET, "marker": "o", "alpha": 0.35}),
        ("real", panel.real, {"c": ACCENT, "marker": "o", "alpha": 0.5}),
        (prediction, panel.predicted, {"c": RIVAL, "marker": "^", "alpha": 0.5}),
    )
    for z, (label, cells, look) in enumerate(kinds, start=1):
        draw_cloud(ax, cells - start, plane, label=label, most=max_cells, rng=rng, zorder=z, **look)
    shifts = panel.real.mean(axis=0) - start, panel.predicted.mean(axis=0) - start
    for shift, tint, width in zip(shifts, (ACCENT, RIVAL), (3.4, 2.2), strict=True):
        for colour, more in (("white", 1.6), (tint, 0.0)):
            arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
            arrow |= {"color": colour, "lw": width + more}
            ax.annotate("", shift @ plane, (0, 0), arrowprops=arrow, zorder=6)
    title = f"{shorten(panel.name)}\n{agreement(*shifts)}"
    ax.set_title(title, loc="left", fontsize="small", color=INK)
    tidy(ax)
