"""Predicted cells beside real ones, in the plane of their two shifts or in principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._keys import PCA
from .._random import RNGLike, as_generator
from .._validate import flag, get_adata, listed, whole
from ..core._gene_names import gene_names
from ..core._predicted_cells import Prediction, axes_of, read_prediction, some
from ..core._projection import Projected, check_dimensions, projected
from ..metrics._cells import densify
from ..metrics._plane import agreement, plane_of
from ._canvas import Canvas
from ._panels import check_panels, draw_cloud, name_axes, new_panels
from ._structure import MOST_CELLS, PANELS, Built, draw_structure, sets_of
from ._style import INK, PREDICTED, QUIET, REAL, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import numpy as np
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Bools, Floats
    from ..core._gene_sets import GeneSets


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
    structure: bool = False,
    gene_sets: GeneSets | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
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

    With ``structure=True``, further panels say whether the predicted cells are built as real ones.
    They take up to 1,000 cells of each kind:

    - *library sizes*: the sum of the counts of each cell, as cumulative distributions. Cells that
      were normalised to one total are a single step.
    - *zeros*: in how many cells each gene is off, real against predicted. Controls are grey.
    - *correlations*: those between the 100 genes that vary most in real and control cells, real
      against predicted. The title has the mean square, less the noise of few cells, as
      :func:`shoal.metrics.mean_squared_correlation` returns it.
    - one panel for each of the `gene_sets`: cumulative distributions of the mean over the set, less
      the mean over all genes. With the genes of a phase of the cell cycle, they say whether the
      predicted cells still divide.

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
        Seed or Generator that chooses the cells to draw, and the pairs of genes.
    structure
        Whether to draw the panels of structure too, beside the plane of each perturbation.
    gene_sets
        Sets of genes to score cells by, with `structure`: a mapping from names to genes, a list, or
        the path of a GMT file; at most 6 sets.
    ax
        Axes to draw into, for one perturbation. ``None`` makes a new figure.
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    The axes. For several names, a 1-D array of axes. With `structure`, an array of axes with a row
    for each perturbation, (P, 4) and one column more for each gene set; for one name, this row.

    Raises
    ------
    KeyError
        If the perturbation, the prediction, the basis or the context does not exist.
    ValueError
        If values are NaN or not on one scale, if fewer than two cells were predicted, if they
        cannot be projected on the basis, if a component does not exist, if one ax was given for
        several panels, if `gene_sets` are given without `structure`, if none of the genes of a set
        exists, or if the values have no library sizes: they are below 0, or no genes.

    Examples
    --------
    {predicted_example}
    >>> sh.tl.predict(adata, model, key_added="mean_shift")
    >>> ax = sh.pl.populations(adata, "P1", prediction="mean_shift")
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    max_cells = whole(max_cells, name="max_cells")
    flag(structure, name="structure")
    one = isinstance(perturbation, str)
    names = listed(perturbation, name="perturbation")
    check_panels(len(names), ax)
    shown = read_prediction(adata, prediction, layer=layer, context=context)
    sets = _sets(shown, gene_sets, structure=structure, ax=ax)
    axes = axes_of(adata, basis, in_genes=shown.in_genes)
    check_dimensions(shown, basis)
    panels = [_panel(shown, axes, name, basis) for name in names]
    planes = [plane_of(components, *panel[1:]) for panel in panels]
    rng = as_generator(rng)
    built = [_built(shown, name, rng) for name in names] if structure else []
    if structure:
        columns = 1 + PANELS + len(sets)
        table = canvas.grid(len(names) * columns, columns=columns, width=2.9, height=2.9)
        table = table.reshape(len(names), columns)
        drawn = table[:, 0]
        for own, cells in zip(table, built, strict=True):
            draw_structure(own[1:], cells, sets, prediction, rng=rng)
    else:
        drawn = new_panels(canvas, len(names), several=not one)
    for at, panel, plane in zip(drawn, panels, planes, strict=True):
        _draw(at, panel, plane, prediction, max_cells=max_cells, rng=rng)
        name_axes(at, components, along="along the real shift")
        if components is None:
            at.set_aspect("equal", adjustable="datalim")  # angles are those of the basis
    drawn[0].legend(
        loc="best", fontsize="x-small", frameon=False, handletextpad=0.2, markerscale=1.4
    )
    if structure:
        return canvas.done(table[0] if one else table)
    return canvas.done(drawn[0] if one else drawn)


def _sets(
    shown: Prediction, gene_sets: GeneSets | None, *, structure: bool, ax: Axes | None
) -> dict[str, Bools]:
    """Return the gene sets of a picture; raise ``ValueError`` if its structure cannot be drawn."""
    if not structure:
        if gene_sets is not None:
            msg = "gene_sets are drawn among the panels of structure; pass structure=True too"
            raise ValueError(msg)
        return {}
    if ax is not None:
        msg = "structure=True draws several panels, which do not fit into one ax; leave ax out"
        raise ValueError(msg)
    if not shown.in_genes:
        msg = (
            f"{shown.name!r} is a prediction of a representation, which has no library sizes and "
            "no zeros; leave structure out"
        )
        raise ValueError(msg)
    return sets_of(gene_sets, gene_names(shown.adata, shown.screen))


def _built(shown: Prediction, perturbation: str, rng: np.random.Generator) -> Built:
    """Return the genes of the control, real and predicted cells of a perturbation."""
    name, rows = shown.cells_of(perturbation)
    control = some(shown.controls_of(rows), MOST_CELLS, rng)
    rows = some(rows, MOST_CELLS, rng)
    built = Built(*map(densify, (shown.real(control), shown.real(rows), shown.predicted(rows))))
    lowest = min(values.min() for values in built.kinds)
    if not lowest >= 0:
        msg = (
            f"structure=True shows library sizes and zeros of log-normalised genes, and cells of "
            f"{name!r} hold values such as {lowest:.3g}; leave structure out"
        )
        raise ValueError(msg)
    return built


def _panel(shown: Prediction, axes: Floats | None, perturbation: str, basis: str) -> Projected:
    name, rows = shown.cells_of(perturbation)
    return projected(shown, axes, name, rows, shown.controls_of(rows), basis)


def _draw(
    ax: Axes,
    panel: Projected,
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
        ("real", panel.real, {"c": REAL, "marker": "o", "alpha": 0.5}),
        (prediction, panel.predicted, {"c": PREDICTED, "marker": "^", "alpha": 0.5}),
    )
    for z, (label, cells, look) in enumerate(kinds, start=1):
        draw_cloud(ax, cells - start, plane, label=label, most=max_cells, rng=rng, zorder=z, **look)
    shifts = panel.real.mean(axis=0) - start, panel.predicted.mean(axis=0) - start
    for shift, tint, width in zip(shifts, (REAL, PREDICTED), (3.4, 2.2), strict=True):
        for colour, more in (("white", 1.6), (tint, 0.0)):
            arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
            arrow |= {"color": colour, "lw": width + more}
            ax.annotate("", shift @ plane, (0, 0), arrowprops=arrow, zorder=6)
    title = f"{shorten(panel.name)}\nmean shifts: {agreement(*shifts)}"
    ax.set_title(title, loc="left", fontsize="small", color=INK)
    tidy(ax)
