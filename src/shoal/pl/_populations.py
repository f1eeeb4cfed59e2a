"""Predicted cells beside real ones, in the plane of their two shifts or in principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt

from .._keys import PCA
from .._random import RNGLike, as_generator
from .._validate import get_adata, key_in, positive
from ..metrics._cells import densify
from ._cells import Prediction, prediction, some
from ._evaluation import RIVAL
from ._style import ACCENT, INK, QUIET, axes_or_new, shorten, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData
    from numpy.typing import NDArray

    from .._typing import Floats

MOST_COLUMNS = 4


def populations(
    data: AnnData | MuData,
    perturbation: str | Sequence[str],
    *,
    layer: str,
    real_layer: str | None = None,
    context: str | None = None,
    basis: str = PCA,
    components: tuple[int, int] | None = None,
    max_cells: int = 400,
    rng: RNGLike = 0,
    ax: Axes | None = None,
    mod: str | None = None,
) -> Axes | NDArray[Any]:
    """Draw predicted, real and control cells of a perturbation in two directions of the PCA.

    Twins are projected on the axes of the real cells' PCA, never on axes of their own. Two arrows lead from the mean of the
    controls to that of the real and that of the predicted cells; the cosine between these shifts and the ratio of their
    lengths, over all components of the basis, are written above. By default the plane is the one that holds both arrows in
    full length: the real shift points to the right, and what the prediction adds to it goes up. A prediction with the
    right mean and the wrong spread shows at once.

    Parameters
    ----------
    data
        Annotated screen with a prediction.
    perturbation
        Name of the perturbation, or several names for a panel each.
    layer
        The prediction: a layer, or, for a model of the basis itself, ``obsm["X_" + layer]``.
    real_layer
        Layer that the basis was computed from; ``None`` for ``X``.
    context
        Show the cells and controls of this context only; ``None`` for all together.
    basis
        Slot of ``obsm``; a prediction in genes needs the PCA, with its axes in ``varm["PCs"]``.
    components
        Two components to draw instead, counted from 1, such as ``(1, 2)``.
    max_cells
        Most cells of each kind to draw; means use all cells.
    rng
        Seed of that choice.
    ax
        Axes to draw into, for one perturbation; ``None`` for a new figure.
    mod
        Modality, if `data` is a MuData.

    Returns
    -------
    The axes; for several names a 1-D array of them.

    Raises
    ------
    KeyError
        If the perturbation, prediction, basis or context does not exist.
    ValueError
        If fewer than two cells were predicted, the twins cannot be projected on the basis, a component does not exist, or
        axes were given for several perturbations.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate(n_perturbations=8, n_cells=60, n_genes=100, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control")
    >>> sh.pp.prepare(adata, normalize="log1p", n_comps=10)
    >>> sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="mean_shift")
    >>> ax = sh.pl.populations(adata, "P1", layer="mean_shift")
    """
    adata = get_adata(data, mod)
    positive(max_cells, name="max_cells")
    several = [perturbation] if isinstance(perturbation, str) else list(perturbation)
    if not several or (ax is not None and len(several) > 1):
        msg = f"{len(several)} perturbations" + (
            "; name at least one" if not several else " do not fit into one ax"
        )
        raise ValueError(msg)
    shown = prediction(adata, layer, real_layer=real_layer, context=context)
    space = _project(shown, basis)
    panels = [_panel(shown, space, name, basis) for name in several]
    planes = [_plane(components, *panel[1:]) for panel in panels]

    rng = as_generator(rng)
    one = isinstance(perturbation, str)
    axes = np.array([axes_or_new(ax, width=4.8, height=4.4)]) if one else _grid(len(several))
    for at, panel, plane in zip(axes, panels, planes, strict=True):
        _draw(at, panel, plane, layer, max_cells=int(max_cells), rng=rng)
        x, y = (
            ("along the real shift", "across it")
            if components is None
            else (f"PC{c}" for c in components)
        )
        at.set(xlabel=x, ylabel=y)
        if components is None:
            at.set_aspect("equal", adjustable="datalim")  # angles are those of the basis
    axes[0].legend(
        loc="best", fontsize="x-small", frameon=False, handletextpad=0.2, markerscale=1.4
    )
    return axes[0] if one else axes


Panel = tuple[str, "Floats", "Floats", "Floats"]


def _project(shown: Prediction, basis: str) -> tuple[Floats, Floats | None]:
    """Return the real scores, and the axes that genes are projected on (None for twins in the basis itself)."""
    adata = shown.adata
    key_in(
        basis, adata.obsm.keys(), where="adata.obsm", hint="sh.pp.prepare(adata) writes 'X_pca'."
    )
    scores = adata.obsm[basis]
    if scores.shape[1] < 2:
        msg = f"adata.obsm[{basis!r}] has {scores.shape[1]} dimension; a picture takes 2"
        raise ValueError(msg)
    if shown.in_genes:
        if basis != PCA or "PCs" not in adata.varm:
            msg = (
                f"twins in genes are projected on {PCA!r} by its axes in adata.varm['PCs'], which sh.pp.prepare(adata) writes; "
                f"they cannot be on {basis!r}" + ("" if basis != PCA else " without them")
            )
            raise ValueError(msg)
        return np.asarray(scores), np.asarray(adata.varm["PCs"], dtype=np.float64)
    twins = adata.obsm[f"X_{shown.layer}"]
    if twins.shape[1] != scores.shape[1]:
        msg = f"adata.obsm['X_{shown.layer}'] has {twins.shape[1]} dimensions and {basis!r} {scores.shape[1]}; pass basis="
        raise ValueError(msg)
    return np.asarray(scores), None


def _panel(shown: Prediction, space: tuple[Floats, Floats | None], name: str, basis: str) -> Panel:
    """Return a perturbation's name, and its control, real and predicted cells in the basis."""
    scores, axes = space
    name, rows = shown.twins(name)
    real = np.asarray(scores[rows], dtype=np.float64)
    if axes is None:
        twins = densify(shown.adata.obsm[f"X_{shown.layer}"][rows]).astype(np.float64)
    else:  # the PCA's centre is what real cells lose on their way from genes to scores
        centre = (shown.values(rows) @ axes - real).mean(axis=0)
        twins = shown.values(rows, predicted=True) @ axes - centre
    if not np.isfinite(twins).all():
        msg = f"{shown.layer!r} holds NaN for cells of {name!r}; predict them with sh.tl.predict"
        raise ValueError(msg)
    return name, np.asarray(scores[shown.controls], dtype=np.float64), real, twins


def _plane(
    components: tuple[int, int] | None, control: Floats, real: Floats, twins: Floats
) -> Floats:
    """Return (k, 2) directions: two components, or along the real shift and across it towards the predicted one."""
    k = real.shape[1]
    if components is not None:
        pair = np.asarray(components)
        if pair.shape != (2,) or not np.isin(pair, np.arange(1, k + 1)).all():
            msg = f"components={components!r} must be two numbers from 1 to {k}"
            raise ValueError(msg)
        return np.eye(k)[:, pair - 1]
    found: list[Floats] = []
    for way in (
        real.mean(axis=0) - control.mean(axis=0),
        twins.mean(axis=0) - control.mean(axis=0),
        *np.eye(k)[:2],
    ):
        left = way - sum((way @ unit) * unit for unit in found)
        if len(found) < 2 and np.linalg.norm(left) > 1e-6 * np.linalg.norm(way):
            found.append(left / np.linalg.norm(left))
    return np.column_stack(found)


def _grid(n: int) -> NDArray[Any]:
    """Return the axes of a new figure with a panel each."""
    columns = min(n, MOST_COLUMNS)
    rows = -(-n // columns)
    _, axes = plt.subplots(rows, columns, figsize=(0.3 + 3.1 * columns, 0.2 + 3.1 * rows), squeeze=False,
                           layout="constrained")  # fmt: skip
    for empty in axes.ravel()[n:]:
        empty.remove()
    return axes.ravel()[:n]


def _draw(
    ax: Axes, panel: Panel, plane: Floats, layer: str, *, max_cells: int, rng: np.random.Generator
) -> None:
    """Draw the three populations about the controls' mean, and the two arrows."""
    name, control, real, twins = panel
    start = control.mean(axis=0)
    kinds = (
        ("control", control, QUIET, "o", 0.35),
        ("real", real, ACCENT, "o", 0.5),
        (layer, twins, RIVAL, "^", 0.5),
    )
    for z, (label, cells, tint, marker, alpha) in enumerate(kinds, start=1):
        at = (cells[some(np.arange(len(cells)), max_cells, rng)] - start) @ plane
        label = f"{shorten(label)} ({len(cells):,})"
        ax.scatter(
            *at.T, s=9, c=tint, marker=marker, alpha=alpha, linewidths=0, zorder=z, label=label
        )
    shifts = real.mean(axis=0) - start, twins.mean(axis=0) - start
    for shift, tint, width in zip(shifts, (ACCENT, RIVAL), (3.4, 2.2), strict=True):
        for colour, more in (("white", 1.6), (tint, 0.0)):
            arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
            ax.annotate(
                "",
                shift @ plane,
                (0, 0),
                arrowprops=arrow | {"color": colour, "lw": width + more},
                zorder=6,
            )
    ax.set_title(f"{shorten(name)}\n{_agreement(*shifts)}", loc="left", fontsize="small", color=INK)
    tidy(ax)


def _agreement(real: Floats, predicted: Floats) -> str:
    """Say how alike two shifts are."""
    size, other = np.linalg.norm(real), np.linalg.norm(predicted)
    if not size * other > 0:
        return "one of the shifts is zero"
    return f"cosine {real @ predicted / (size * other):.2f}, length × {other / size:.2f}".replace(
        "-", "−"
    )
