"""Distributions of single genes: control, real and predicted cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._validate import get_adata, key_in, listed, whole
from ..core._codes import places
from ..core._gene_names import gene_names
from ..core._predicted_cells import on_one_scale, read_prediction
from ..metrics._cells import densify
from ._canvas import Canvas
from ._panels import draw_steps, name_panels
from ._style import INK, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Floats, Ints, Matrix
    from ..core._gene_names import GeneNames
    from ..core._predicted_cells import Prediction

COLUMNS = 3


@fill
def genes(
    data: AnnData | MuData,
    perturbation: str,
    *,
    prediction: str,
    genes: Sequence[str] | None = None,
    n_genes: int = 6,
    layer: str | None = None,
    context: str | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> NDArray[Any]:
    """Show how predicted cells express the genes that a perturbation changes most.

    Each panel holds the cumulative distribution of one gene in control, real and predicted cells.
    How to read a curve:

    - the height at which it starts is the fraction of cells without a count;
    - a shift to the right is more expression;
    - a steep curve is a population in which all cells are alike.

    No bandwidth is chosen, as a violin plot would need.

    Parameters
    ----------
    data
        Annotated screen with a prediction.
    perturbation
        Name of the perturbation.
    prediction
        Name of the prediction, a layer.
    genes
        Genes to show, by name or symbol. ``None`` shows the `n_genes` with the largest Welch t
        between real and control cells, without those that the perturbation is named after: that a
        target changes is no response. They are chosen on the cells that are shown, so their real
        change looks somewhat larger than it is.
    n_genes
        How many genes to choose.
    layer
        Layer of the real values, on the scale of the prediction. ``None`` for ``X``.
    context
        {context}
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    1-D array of axes, one a gene, the most changed first.

    Raises
    ------
    KeyError
        If the perturbation, the prediction, a gene or the context does not exist.
    ValueError
        If values are NaN or not on one scale, if `n_genes` is not positive, if fewer than two cells
        were predicted, or if the prediction is not one of genes.

    Examples
    --------
    {predicted_example}
    >>> sh.tl.predict(adata, model, key_added="mean_shift")
    >>> axes = sh.pl.genes(adata, "P1", prediction="mean_shift")
    """
    canvas = Canvas(None, figsize, title, show, save)
    adata = get_adata(data, mod)
    n_genes = whole(n_genes, name="n_genes")
    shown = read_prediction(adata, prediction, layer=layer, context=context)
    if not shown.in_genes:
        msg = (
            f"{prediction!r} is a prediction of a representation, "
            f"adata.obsm['X_{prediction}'], which has no genes"
        )
        raise ValueError(msg)
    name, rows = shown.cells_of(perturbation)
    called = gene_names(adata, shown.screen)
    genes = None if genes is None else listed(genes, name="genes", empty=False)
    for gene in genes or ():
        if gene not in called:
            key_in(gene, called.symbols, where=called.where)
    control, real = shown.real(shown.controls_of(rows)), shown.real(rows)
    predicted = shown.predicted(rows)
    on_one_scale(predicted, real, control, prediction)
    kinds = (("control", control), ("real", real), (prediction, predicted))
    at = (
        places(adata.var_names, called.of(genes))
        if genes is not None
        else _changed(control, real, n_genes, without=_targets(shown, name, called))
    )

    axes = canvas.grid(len(at), columns=COLUMNS, width=2.35, height=1.75, margin=0.75, sharey=True)
    for ax, gene in zip(axes, at, strict=True):
        one = [
            (label, densify(cells[:, [gene]])[:, 0].astype(np.float64)) for label, cells in kinds
        ]
        draw_steps(ax, one)
        ax.set_title(
            shorten(called.symbols[gene]),
            loc="left",
            fontsize="small",
            color=INK,
            style="italic",
        )
        tidy(ax)
    for ax in axes[::COLUMNS]:
        ax.set_ylabel("share of cells", fontsize="small")
    axes[0].figure.supxlabel("expression", fontsize="small", color=INK)
    name_panels(axes, name)
    return canvas.done(axes)


def _targets(shown: Prediction, name: str, called: GeneNames) -> Ints:
    """Return the columns of the genes that a perturbation is named after."""
    return places(shown.adata.var_names, called.of(shown.screen.parts(name)))


def _changed(control: Matrix, real: Matrix, n: int, *, without: Ints) -> Ints:
    """Return the genes with the largest Welch t, those that do not vary and some others last."""
    (mean, error), (mean_real, error_real) = _moments(control), _moments(real)
    spread = np.sqrt(error + error_real)
    t = np.abs(mean_real - mean) / np.where(spread > 0, spread, np.inf)
    t[without] = -1.0
    return np.argsort(-t, kind="stable")[: max(min(n, len(t) - len(without)), 1)]


def _moments(cells: Matrix) -> tuple[Floats, Floats]:
    """Return the means of genes and the squares of their standard errors."""
    n = cells.shape[0]
    square = cells.multiply(cells) if sparse.issparse(cells) else cells**2
    mean = np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel()
    variance = np.asarray(square.mean(axis=0, dtype=np.float64)).ravel() - mean**2
    return mean, np.maximum(variance, 0.0) / (n - 1)
