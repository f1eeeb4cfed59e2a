"""Distributions of features of images: controls, real cells and predicted cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._validate import get_adata, key_in, listed, whole
from ..core._predicted_cells import read_prediction
from ..metrics._image_features import UNITS
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

COLUMNS = 3


@fill
def image_features(
    data: AnnData | MuData,
    perturbation: str,
    *,
    use_rep: str,
    prediction: str,
    features: Sequence[str] | None = None,
    context: str | None = None,
    most: int = 6,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> NDArray[Any]:
    """Draw how features of images are distributed in control, real and predicted cells.

    Both images must have been measured before: ``sh.pp.measure_images(adata, use_rep="crops")``,
    and the same with ``prediction=``.

    Parameters
    ----------
    data
        Screen with features of real and of predicted crops.
    perturbation
        Name of the perturbation.
    use_rep
        Key of ``obsm`` with the crops, whose features are in ``obsm[use_rep + "_features"]``.
    prediction
        Name of the prediction, whose features are in ``obsm[prediction + "_features"]``.
    features
        Names of the features to draw. ``None`` takes those that the perturbation moves most, in
        standard deviations of the controls.
    context
        {context}
    most
        Most panels, if `features` is ``None``.
    figsize, title, show, save
        {figure}
    mod
        {mod}

    Returns
    -------
    Axes, one a feature.

    Raises
    ------
    KeyError
        If images were not measured, or a name does not exist.
    ValueError
        If fewer than two cells were predicted.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_images(n_perturbations=2, n_cells=20, n_control=40, rng=0)
    >>> sh.pp.prepare_images(adata, use_rep="crops")
    >>> adata.obsm["X_mine"] = sh.ds.counterfactual_images(adata, "P1")
    >>> sh.pp.measure_images(adata, use_rep="crops", nucleus="DNA")
    >>> sh.pp.measure_images(adata, use_rep="crops", prediction="mine", nucleus="DNA")
    >>> axes = sh.pl.image_features(adata, "P1", use_rep="crops", prediction="mine")
    """
    canvas = Canvas(None, figsize, title, show, save)
    adata = get_adata(data, mod)
    most = whole(most, name="most")
    shown = read_prediction(adata, prediction, layer=None, context=context)
    real = _table(adata, f"{use_rep}_features", f"use_rep={use_rep!r}")
    made = _table(
        adata, f"{prediction}_features", f"use_rep={use_rep!r}, prediction={prediction!r}"
    )
    name, rows = shown.cells_of(perturbation)
    control = real.iloc[shown.controls_of(rows)]
    several = [("control", control), ("real", real.iloc[rows]), (prediction, made.iloc[rows])]
    names = listed(features, name="features", empty=False)
    for feature in names:
        key_in(feature, real.columns, where=f"adata.obsm['{use_rep}_features']")
    if not names:
        spread = control.std().replace(0, np.nan)
        moved = ((real.iloc[rows].mean() - control.mean()) / spread).abs()
        order = moved.sort_values(ascending=False, kind="stable").index
        names = [str(feature) for feature in order if feature in made][:most]
    for feature in names:
        key_in(feature, made.columns, where=f"adata.obsm['{prediction}_features']")
    axes = canvas.grid(len(names), columns=COLUMNS, width=2.8, height=2.2, margin=0.7, sharey=True)
    for ax, feature in zip(axes, names, strict=True):
        draw_steps(ax, [(kind, table[feature].to_numpy()) for kind, table in several])
        ax.set_title(shorten(feature), loc="left", fontsize="small", color=INK)
        units = [unit for part, unit in UNITS.items() if part in feature]
        ax.set_xlabel("".join(units[-1:]), fontsize="small")
        tidy(ax)
    for ax in axes[::COLUMNS]:
        ax.set_ylabel("share of cells", fontsize="small")
    name_panels(axes, name)
    return canvas.done(axes)


def _table(adata: AnnData, key: str, how: str) -> pd.DataFrame:
    """Return a table of features.

    Raises
    ------
    KeyError
        If it is not there.
    """
    key_in(
        key,
        adata.obsm.keys(),
        where="adata.obsm",
        hint=f"sh.pp.measure_images(adata, {how}) writes it.",
    )
    table = adata.obsm[key]
    if not isinstance(table, pd.DataFrame):
        msg = f"adata.obsm[{key!r}] is no table: sh.pp.measure_images(adata, {how}) writes one"
        raise KeyError(msg)
    return table
