"""Distributions of single genes: control, real and predicted cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from scipy import sparse

from .._validate import get_adata, key_in, positive
from ..metrics._cells import densify
from ._cells import prediction
from ._evaluation import RIVAL
from ._style import ACCENT, INK, QUIET, shorten, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Floats, Ints, Matrix

COLUMNS = 3


def genes(
    data: AnnData | MuData,
    perturbation: str,
    *,
    layer: str,
    genes: Sequence[str] | None = None,
    n_genes: int = 6,
    real_layer: str | None = None,
    context: str | None = None,
    mod: str | None = None,
) -> NDArray[Any]:
    """Show how predicted cells express the genes that a perturbation changes most.

    Each panel holds the cumulative distribution of one gene in control, real and predicted cells: the height at which a
    curve starts is the fraction of cells without a count, a shift to the right is more expression, and a steep curve is a
    population in which all cells are alike. No bandwidth is chosen, as a violin would need.

    Parameters
    ----------
    data
        Annotated screen with a prediction.
    perturbation
        Name of the perturbation.
    layer
        Layer of the prediction.
    genes
        Genes to show; ``None`` for the `n_genes` with the largest Welch t between real and control cells. Those are chosen on
        the cells that are shown, so their real change looks somewhat larger than it is.
    n_genes
        How many genes to choose.
    real_layer
        Layer of the real values, on the scale of the prediction; ``None`` for ``X``.
    context
        Show the cells and controls of this context only; ``None`` for all together.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    1-D array of axes, one a gene, the most changed first.

    Raises
    ------
    KeyError
        If the perturbation, the prediction, a gene or the context does not exist.
    ValueError
        If `n_genes` is not positive, fewer than two cells were predicted, or the prediction is not one of genes.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="mean_shift")
    >>> axes = sh.pl.genes(adata, "P1", layer="mean_shift")
    """
    adata = get_adata(data, mod)
    positive(n_genes, name="n_genes")
    shown = prediction(adata, layer, real_layer=real_layer, context=context)
    if not shown.in_genes:
        msg = f"{layer!r} is a prediction of a representation, adata.obsm['X_{layer}'], which has no genes"
        raise ValueError(msg)
    name, rows = shown.twins(perturbation)
    for gene in genes or ():
        key_in(gene, adata.var_names, where="adata.var_names")
    control, real, twins = (
        shown.values(shown.controls),
        shown.values(rows),
        shown.values(rows, predicted=True),
    )
    kinds = (("control", control), ("real", real), (layer, twins))
    at = (
        adata.var_names.get_indexer(list(genes))
        if genes is not None
        else _changed(control, real, int(n_genes))
    )

    columns = min(len(at), COLUMNS)
    lines = -(-len(at) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=(2.35 * columns, 0.75 + 1.75 * lines), squeeze=False, sharey=True,
                             layout="constrained")  # fmt: skip
    for ax, gene in zip(axes.ravel(), at, strict=False):
        one = [
            (label, densify(cells[:, [gene]])[:, 0].astype(np.float64)) for label, cells in kinds
        ]
        _steps(ax, one)
        ax.set_title(
            shorten(str(adata.var_names[gene])),
            loc="left",
            fontsize="small",
            color=INK,
            style="italic",
        )
        tidy(ax)
    for empty in axes.ravel()[len(at) :]:
        empty.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("part of the cells", fontsize="small")
    fig.supxlabel("expression", fontsize="small", color=INK)
    fig.suptitle(shorten(name), x=0.01, ha="left", fontsize="medium", color=INK)
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper right",
        fontsize="x-small",
        frameon=False,
        ncols=3,
    )
    return axes.ravel()[: len(at)]


def _changed(control: Matrix, real: Matrix, n: int) -> Ints:
    """Return the genes with the largest Welch t, those that do not vary last."""
    (mean, error), (mean_real, error_real) = _moments(control), _moments(real)
    spread = np.sqrt(error + error_real)
    t = np.abs(mean_real - mean) / np.where(spread > 0, spread, np.inf)
    return np.argsort(-t, kind="stable")[:n]


def _moments(cells: Matrix) -> tuple[Floats, Floats]:
    """Return the means of genes and the squares of their standard errors."""
    n = cells.shape[0]
    square = cells.multiply(cells) if sparse.issparse(cells) else cells**2
    mean = np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel()
    variance = np.asarray(square.mean(axis=0, dtype=np.float64)).ravel() - mean**2
    return mean, np.maximum(variance, 0.0) / (n - 1)


def _steps(ax: Axes, several: list[tuple[str, Floats]]) -> None:
    """Draw cumulative distributions, from the smallest value of all to the largest."""
    every = np.concatenate([values for _, values in several])
    low, high = np.nanmin(every), np.nanmax(every)
    styles = ((QUIET, "-", 1.6), (ACCENT, "-", 1.8), (RIVAL, (0, (4, 1.5)), 1.6))
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
