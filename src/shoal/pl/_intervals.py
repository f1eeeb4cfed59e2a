"""A predicted response with its intervals, gene by gene, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import get_adata, key_in, listed, positive, whole
from ..core._codes import places
from ..core._doses import dose_text
from ..core._gene_names import gene_names
from ..core._intervals import measured_of_condition, read_intervals
from ..core._screen import resolve
from ._canvas import Canvas
from ._style import INK, PREDICTED, QUIET, REAL, legend_above, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Floats, Ints

PAD = 22  # points above the axes, for the legend
NO_INTERVALS = "no intervals: no such question was left out of training"


@fill
def intervals(
    data: AnnData | MuData,
    perturbation: str,
    *,
    prediction: str = "predicted",
    genes: Sequence[str] | None = None,
    n_genes: int = 15,
    context: str | None = None,
    dose: float | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Show the predicted response of the genes that change most, with intervals.

    A point is the predicted mean of a gene minus that of the controls, its line the interval. A
    diamond is the measured difference, where :func:`shoal.tl.evaluate_intervals` has judged the
    condition: filled if it is within the interval, hollow if not. Genes are chosen by the
    prediction, so the measured values are no selection.

    Parameters
    ----------
    data
        Annotated screen with a prediction that :func:`shoal.tl.predict` wrote with ``interval=``.
    perturbation
        Name of the perturbation.
    prediction
        Name of the prediction.
    genes
        Genes to show, by name or symbol. ``None`` shows the `n_genes` with the largest predicted
        response.
    n_genes
        How many genes to choose.
    context, dose
        Which condition, where the perturbation was predicted in several contexts or doses.
    key
        Result of :func:`shoal.tl.evaluate_intervals`, which holds what was measured. ``None`` for
        ``"interval_evaluation"``, where it is there and judges this prediction.
    ax
        {ax}
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If there are no intervals of that prediction, the perturbation, context, dose or a gene is
        not among them, or there is no result `key`.
    ValueError
        If the perturbation was predicted in several contexts or doses and none is named, or
        `key` judges another prediction.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=30, n_dims=10, rng=0)
    >>> sh.pp.split(adata, by="perturbation", test=["P03"], val=0)
    >>> sh.tl.predict(adata, sh.tl.fit(adata, "auto"), subset="test", interval=0.9)
    >>> sh.tl.evaluate_intervals(adata, prediction="predicted")
    >>> ax = sh.pl.intervals(adata, "P03")
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    n_genes = whole(n_genes, name="n_genes")
    if dose is not None:
        positive(dose, name="dose")
    entry = read_intervals(adata, prediction)
    at = _condition(adata, entry["table"], perturbation, context=context, dose=dose)
    response, low, high = (np.asarray(entry[name])[at] for name in ("response", "low", "high"))
    chosen = _genes(adata, entry, response, genes, n_genes)
    condition = str(entry["table"].index[at])
    measured = measured_of_condition(adata, prediction, condition, key=key)

    ax = canvas.axes(width=4.6, height=0.24 * len(chosen) + 1.2)
    y = np.arange(len(chosen))[::-1]
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=0)
    ax.hlines(y, low[chosen], high[chosen], color=PREDICTED, linewidth=2.5, alpha=0.45)
    ax.plot(response[chosen], y, "o", color=PREDICTED, markersize=4.5, label="predicted")
    row, level = entry["table"].iloc[at], float(entry["params"]["level"])
    known = np.isfinite(low) & np.isfinite(high)
    said = f"{level:.0%} intervals" if known.any() else NO_INTERVALS
    if np.isfinite(float(row["probability"])):
        said += f", probability of a response {float(row['probability']):.2f}"
    if measured is not None:
        inside = (low <= measured) & (measured <= high)
        for own, fill_style in ((inside | ~known, "full"), (known & ~inside, "none")):
            some = own[chosen]
            style = {"color": REAL, "markersize": 5, "fillstyle": fill_style}
            side = ", within" if fill_style == "full" else ", outside"
            label = f"measured{side if known.any() else ''}"
            if some.any():
                ax.plot(measured[chosen][some], y[some], "D", label=label, **style)
        if known.any():
            said += f"\n{inside[known].mean():.0%} of all {known.sum()} measured are within"
    ax.set_yticks(y, _names(adata, entry, chosen), fontsize="small", style="italic")
    ax.set_xlabel("difference from controls", fontsize="small", color=INK)
    ax.set_title(
        f"{shorten(condition)}\n{said}",
        loc="left",
        fontsize="small",
        color=INK,
        pad=PAD,
    )
    legend_above(ax, ncols=3)
    tidy(ax)
    return canvas.done(ax, pad=PAD)


def _condition(
    adata: AnnData,
    table: pd.DataFrame,
    perturbation: str,
    *,
    context: str | None,
    dose: float | None,
) -> int:
    """Return the row of a condition."""
    names = table["perturbation"].astype(str)
    name = resolve(adata).canonical(str(perturbation))
    key_in(name, list(dict.fromkeys(names)), where="the perturbations with intervals")
    own = (names == name).to_numpy()
    wanted = {"context": context, "dose": None if dose is None else dose_text(dose)}
    for column, value in wanted.items():
        there = list(dict.fromkeys(table[column][own].astype(str)))
        if value is not None:
            key_in(
                str(value),
                [one for one in there if one],
                where=f"the {column}s in which {name!r} was predicted",
            )
            own = own & (table[column].astype(str) == str(value)).to_numpy()
        elif len(there) > 1:
            msg = f"which {column}? {name!r} was predicted in {', '.join(there)}: pass {column}=..."
            raise ValueError(msg)
    return int(np.flatnonzero(own)[0])


def _genes(
    adata: AnnData,
    entry: Mapping[str, Any],
    response: Floats,
    genes: Sequence[str] | None,
    n: int,
) -> Ints:
    """Return the positions of the genes to show, the largest predicted response first."""
    if genes is None:
        return np.argsort(-np.abs(response), kind="stable")[:n]
    genes = listed(genes, name="genes", empty=False)
    features = entry["features"].index.astype(str)
    if str(entry["params"].get("use_rep", "")):
        for gene in genes:
            key_in(gene, list(features), where="the features with intervals")
        return features.get_indexer(genes)
    called = gene_names(adata, resolve(adata))
    for gene in genes:
        if gene not in called:
            key_in(gene, called.symbols, where=called.where)
    return features.get_indexer(called.of(genes))


def _names(adata: AnnData, entry: Mapping[str, Any], chosen: Ints) -> list[str]:
    """Return what the chosen genes are called: their symbols, where there are any."""
    names = entry["features"].index.astype(str)[chosen]
    if not str(entry["params"].get("use_rep", "")):
        symbols = np.array(gene_names(adata, resolve(adata)).symbols)
        at = places(adata.var_names, names)
        names = [str(symbols[i]) if i >= 0 else n for i, n in zip(at, names, strict=True)]
    return [shorten(name) for name in names]
