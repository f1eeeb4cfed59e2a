"""Which genes are on, and how high: predicted cells beside real ones, and a mask beside both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validate import get_adata
from ..core._predicted_cells import on_one_scale, read_prediction
from ..metrics._cells import densify
from ._canvas import Canvas
from ._panels import name_panels
from ._style import INK, PREDICTED, QUIET, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from os import PathLike

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Floats, Ints
    from ..core._predicted_cells import Prediction

BINS = 10  # of probabilities
LARGEST = 60  # area of a point of all genes, beside that of one gene
FEW = 5  # cells in which a gene is on, for a mean of these
ON = "share of cells on"


@fill
def bimodality(
    data: AnnData | MuData,
    perturbation: str,
    *,
    prediction: str,
    mask: pd.DataFrame | None = None,
    layer: str | None = None,
    context: str | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> NDArray[Any]:
    """Show in how many predicted cells genes are on, and how high they are where they are.

    A gene of a single cell is off in part of the cells, and has some value in the others. A
    prediction can have the right mean and be wrong in both. Each point is a gene:

    - first panel: the share of cells in which it is on, real across and predicted upwards;
    - second panel: the mean of the cells in which it is on, likewise;
    - third panel, with `mask`: how often genes are on that are said to be so with a probability.
      Each point is all genes with a probability up to .1, from .1 to .2, and so on: its area grows
      with their number, and the line is what a calibrated mask would show.

    Grey points are control cells in place of the prediction. The titles give the root mean square
    of the differences.

    Parameters
    ----------
    data
        Annotated screen with a prediction.
    perturbation
        Name of the perturbation.
    prediction
        Name of the prediction, a layer.
    mask
        Probabilities that genes are on, as ``model.mask(perturbation)`` of
        :class:`shoal.models.Unlasting` returns them. Rows of other perturbations are passed over,
        and those of several contexts are averaged.
    layer
        Layer of the real values. ``None`` for ``X``.
    context
        {context}
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    A 1-D array of axes.

    Raises
    ------
    KeyError
        If there is no such prediction, perturbation or context, or the mask lacks the perturbation
        or genes.
    ValueError
        If the prediction is of a representation, which has no genes.
    TypeError
        If the mask is no table.

    Examples
    --------
    {predicted_example}
    >>> sh.tl.predict(adata, model, key_added="mean_shift")
    >>> axes = sh.pl.bimodality(adata, "P1", prediction="mean_shift")
    """
    canvas = Canvas(None, figsize, title, show, save)
    adata = get_adata(data, mod)
    shown = read_prediction(adata, prediction, layer=layer, context=context)
    if not shown.in_genes:
        msg = (
            f"{prediction!r} is a prediction of a representation, "
            f"adata.obsm['X_{prediction}'], which has no genes"
        )
        raise ValueError(msg)
    name, rows = shown.cells_of(perturbation)
    chance = None if mask is None else _row(mask, name, context, adata.var_names)
    control, real, made = _values(shown, rows)
    on_one_scale(made, real, control, prediction)
    axes = canvas.grid(2 if chance is None else 3, columns=3, width=2.6, height=2.5, margin=0.8)
    shares = [(cells > 0).mean(axis=0) for cells in (control, real, made)]
    _compared(axes[0], *shares)
    _called(axes[0], f"{ON}, real", f"{ON}, {shorten(prediction)}")
    means = [_where_on(cells) for cells in (control, real, made)]
    _compared(axes[1], *means)
    _called(axes[1], "mean where on, real", f"mean where on, {shorten(prediction)}")
    if chance is not None:
        _calibrated(axes[2], chance, shares[1])
    name_panels(axes, name)
    return canvas.done(axes)


def _values(shown: Prediction, rows: Ints) -> tuple[Floats, Floats, Floats]:
    control, real = shown.real(shown.controls_of(rows)), shown.real(rows)
    return densify(control), densify(real), densify(shown.predicted(rows))


def _row(mask: pd.DataFrame, name: str, context: str | None, genes: pd.Index) -> Floats:
    """Return the probabilities of a perturbation, in the order of the genes."""
    if not isinstance(mask, pd.DataFrame):
        msg = f"mask must be a table, as model.mask({name!r}) returns, not {type(mask).__name__}"
        raise TypeError(msg)
    names = mask.index.get_level_values(0).astype(str)
    chosen = names == name
    if context is not None and mask.index.nlevels > 1:
        chosen &= mask.index.get_level_values(1).astype(str) == context
    lost = genes.difference(mask.columns)
    if not chosen.any() or len(lost):
        what = f"has no row of {name!r}" if not chosen.any() else f"lacks {len(lost)} genes"
        msg = f"mask {what}; model.mask({name!r}) returns such a table"
        raise KeyError(msg)
    return mask.loc[chosen, list(genes)].to_numpy(dtype=np.float64).mean(axis=0)


def _where_on(cells: Floats) -> Floats:
    """Return the mean of each gene in the cells in which it is on; NaN where these are few."""
    n = (cells > 0).sum(axis=0)
    sums = np.where(cells > 0, cells, 0).sum(axis=0, dtype=np.float64)
    return np.where(n >= FEW, sums / np.maximum(n, 1), np.nan)


def _compared(ax: Any, control: Floats, real: Floats, made: Floats) -> None:
    ax.scatter(real, control, s=5, color=QUIET, linewidths=0, label="control")
    ax.scatter(real, made, s=5, color=PREDICTED, linewidths=0, label="predicted")
    ax.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=":")
    known = np.isfinite(real) & np.isfinite(made) & np.isfinite(control)
    errors = [np.sqrt(np.mean((x[known] - real[known]) ** 2)) for x in (made, control)]
    ax.set_title(f"RMS {errors[0]:.3f}, controls {errors[1]:.3f}", loc="left", fontsize="small")
    tidy(ax)


def _called(ax: Any, x: str, y: str) -> None:
    ax.set_xlabel(x, fontsize="small", color=INK)
    ax.set_ylabel(y, fontsize="small", color=INK)


def _calibrated(ax: Any, chance: Floats, real: Floats) -> None:
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    parts = [np.flatnonzero(place == i) for i in np.unique(place)]
    said, seen = (np.array([values[own].mean() for own in parts]) for values in (chance, real))
    sizes = np.array([len(own) for own in parts]) / len(chance)
    ax.scatter(said, seen, s=8 + LARGEST * sizes, color=PREDICTED, linewidths=0)
    ax.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=":")
    error = np.sqrt(np.mean((chance - real) ** 2))
    ax.set_title(f"RMS {error:.3f}", loc="left", fontsize="small")
    _called(ax, "probability of the mask", f"{ON}, real")
    tidy(ax)
