"""One perturbation's cells as arrows, which show whether they go the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh

from .._keys import COHERENCE
from .._random import RNGLike, as_generator
from .._responses import BY_REPLICATE
from .._validate import get_adata, key_in, text, whole
from ..core._choose import choose
from ..core._design import make_plan
from ..core._matrix import Rows, as_rows
from ..core._plan import shifts_of
from ..core._predicted_cells import some
from ..core._results import read_result
from ..core._scale import look
from ..core._scale_check import require_kind
from ..core._screen import labels, of_result
from ..metrics._cells import densify
from ._canvas import Canvas
from ._style import FAINT, INK, QUIET, SIGNED, plain, shorten, tidy
from ._texts import fill

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from .._typing import Floats
    from ..core._plan import Plan

MAX_FEATURES = 4096  # the plane takes a features x features eigenproblem
MAX_CONTROLS = 5000


@fill
def geometry(
    data: AnnData | MuData,
    perturbation: str,
    *,
    key: str | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    max_cells: int = 300,
    rng: RNGLike = 0,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool | None = None,
    save: str | PathLike[str] | None = None,
    mod: str | None = None,
) -> Axes:
    """Draw the shift of every cell of one perturbation, in the plane that tells most about it.

    The horizontal axis is the mean shift. The vertical axis is the direction across it in which the
    perturbed cells vary most beyond the controls: the first eigenvector of the excess covariance,
    after the mean shift is projected out. How to read the arrows:

    - a sheaf to the right: the response is coherent;
    - some of them around the origin: only a part of the cells responds;
    - a fan: there are several programmes.

    The colour of an arrow is its cosine with the mean of the other cells, in all dimensions.

    Parameters
    ----------
    data
        {coherent}
    perturbation
        Name of the perturbation.
    key
        {coherence_key}
    use_rep, layer
        Values to draw. If neither is given, they are those that coherence was measured in, without
        whitening. Strata, depth adjustment and excluded genes are always those of the result.
    max_cells
        Most arrows, and most control cells, to draw. Means and variances use all cells of the
        perturbation and up to 5,000 controls.
    rng
        Seed or Generator that chooses the cells to draw.
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
        If the result, the perturbation or the values do not exist.
    ValueError
        If there are fewer than 2 or more than 4,096 features, or fewer than 3 cells.

    Examples
    --------
    {coherence_example}
    >>> ax = sh.pl.geometry(adata, adata.uns["coherence"]["table"].index[0])
    """
    canvas = Canvas(ax, figsize, title, show, save)
    adata = get_adata(data, mod)
    max_cells = whole(max_cells, name="max_cells")
    key = COHERENCE if key is None else key
    result = read_result(adata, key, kind="coherence", written_by="sh.tl.coherence(adata)")
    params: Mapping[str, Any] = result["params"]
    if use_rep is None and layer is None:
        use_rep, layer = params["use_rep"] or None, params["layer"] or None
    screen = of_result(adata, params)
    text(perturbation, name="perturbation")
    name = screen.canonical(perturbation)
    key_in(name, result["table"].index, where=f"the table of adata.uns[{key!r}]")
    labelled = labels(adata, screen)
    key_in(name, labelled.names, where=f"the cells of adata.obs[{screen.perturbation_key!r}]")
    strata = tuple(s for s in str(params.get("strata", "")).split(",") if s)
    plan = make_plan(adata, labelled, strata=strata, depth_key=params.get("depth_key") or None)
    matrix, slot = choose(adata, layer=layer, use_rep=use_rep)
    left_out = str(params.get("exclude", "")).split(",") if not slot.startswith("obsm/") else []
    rows = as_rows(
        matrix, np.flatnonzero(~adata.var_names.isin(left_out)) if any(left_out) else None
    )
    if not slot.startswith("obsm/"):
        require_kind(look(rows.head()), slot=slot, what="sh.pl.geometry")
    _check_size(rows, name, n_cells=int(np.sum(plan.group == labelled.names.get_loc(name))))

    rng = as_generator(rng)
    cells, controls = _shifts(rows, plan, labelled.names.get_loc(name), rng)
    if not (np.isfinite(cells).all() and np.isfinite(controls).all()):
        msg = (
            f"{slot} holds NaN or infinite values in cells of {name!r} or in their controls; drop "
            "or fill them"
        )
        raise ValueError(msg)
    plane = _plane(cells, controls)
    ax = canvas.axes(width=5.6, height=4.6)
    _draw(ax, cells, controls, plane, max_cells=max_cells, rng=rng)
    ax.set_title(_title(name, result["table"].loc[name]), fontsize="medium", loc="left", color=INK)
    return canvas.done(ax)


def _check_size(rows: Rows, name: str, *, n_cells: int) -> None:
    """Refuse what cannot be drawn."""
    d = rows.shape[1]
    if not 2 <= d <= MAX_FEATURES:
        msg = (
            f"the plane is found among 2 to {MAX_FEATURES} features, not {d}; pass use_rep='X_pca'"
        )
        raise ValueError(msg)
    if n_cells < 3:
        msg = f"{name!r} has {n_cells} cells; their directions take at least 3"
        raise ValueError(msg)


def _shifts(rows: Rows, plan: Plan, group: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return shifts from the controls: of a group, and of the controls of its strata."""
    own = np.flatnonzero(plan.group == group)
    strata = np.unique(plan.stratum[own])
    most = max(MAX_CONTROLS // len(strata), 1)
    chosen = [
        some(np.flatnonzero(plan.is_control & (plan.stratum == s)), most, rng) for s in strata
    ]
    control = np.sort(np.concatenate(chosen))
    dense = densify(rows.take(control)).astype(np.float64, copy=False)
    coef = np.zeros((plan.n_strata, plan.basis.shape[1], rows.shape[1]))
    for s in strata:
        here = plan.stratum[control] == s
        coef[s] = np.linalg.lstsq(plan.basis[control[here]], dense[here], rcond=None)[0]
    flat = coef.reshape(-1, rows.shape[1])
    return shifts_of(rows.take(own), plan, own, flat), shifts_of(dense, plan, control, flat)


def _plane(cells: Floats, controls: Floats) -> Floats:
    """Return (d, 2): the mean shift, and the direction of most excess variance across it."""
    shift = cells.mean(axis=0)
    length = np.linalg.norm(shift)
    along = shift / length if length > 0 else np.eye(len(shift))[0]
    excess = np.cov(cells, rowvar=False) - np.cov(controls, rowvar=False)
    across = np.eye(len(along)) - np.outer(along, along)
    barrier = (
        2 * np.abs(excess).sum(axis=1).max() * np.outer(along, along)
    )  # the shift itself is never the answer
    _, vectors = eigh(
        across @ excess @ across - barrier, subset_by_index=[len(along) - 1, len(along) - 1]
    )
    top = vectors[:, 0]
    return np.column_stack([along, top * np.sign(top[np.argmax(np.abs(top))])])


def _draw(
    ax: Axes,
    cells: Floats,
    controls: Floats,
    plane: Floats,
    *,
    max_cells: int,
    rng: np.random.Generator,
) -> None:
    """Draw controls as a cloud, cells as arrows, and their mean as one thick arrow."""
    shown = some(np.arange(len(cells)), max_cells, rng)
    cloud = controls[some(np.arange(len(controls)), max_cells, rng)] @ plane
    tips, mean = cells[shown] @ plane, cells.mean(axis=0) @ plane
    ax.axhline(0, color=FAINT, lw=0.8, zorder=0)
    ax.axvline(0, color=FAINT, lw=0.8, zorder=0)
    ax.scatter(*cloud.T, s=10, c=QUIET, alpha=0.35, linewidths=0, label="control cells", zorder=1)
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1}
    origin = np.zeros(len(tips))
    cosine = _cosines(cells)[shown]
    widest = float(np.nanquantile(np.abs(cosine), 0.98)) if np.isfinite(cosine).any() else 1.0
    drawn = ax.quiver(
        origin,
        origin,
        *tips.T,
        cosine,
        cmap=SIGNED,
        clim=(-widest, widest),
        width=0.0022,
        zorder=2,
        **arrows,
    )
    ax.quiver(0, 0, *mean, color=INK, width=0.009, zorder=4, label="mean shift", **arrows)
    ax.update_datalim(np.vstack([tips, mean]))
    ax.set_aspect("equal", adjustable="datalim")
    ax.autoscale_view()
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7)
    bar.set_label("cosine with the other cells' mean", size="small")
    bar.ax.tick_params(labelsize="x-small")
    bar.outline.set_visible(False)
    ax.set(xlabel="along the mean shift", ylabel="across it, most excess variance")
    ax.legend(loc="best", fontsize="x-small", frameon=False)
    tidy(ax)


def _cosines(cells: Floats) -> Floats:
    """Return each cell's cosine with the mean of the others (NaN where one has no length)."""
    others = cells.sum(axis=0) - cells
    norm = np.linalg.norm(cells, axis=1) * np.linalg.norm(others, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.einsum("ij,ij->i", cells, others) / norm


def _title(name: str, row: Any) -> str:
    """Say what was measured; a part that was not measured is left out."""
    parts = [shorten(name)]
    if np.isfinite(row["coherence"]):
        parts.append(f"$r$ = {row['coherence']:.2f}")
    by_replicate = np.isfinite(row.get(BY_REPLICATE, np.nan))
    q = row[BY_REPLICATE if by_replicate else "qvalue"]
    if np.isfinite(q):
        unit = " by replicates" if by_replicate else ""
        parts.append((f"q = {q:.1g}" if q >= 1e-300 else "q < 1e-300") + unit)
    if row["cause"] not in ("none", ""):
        parts.append(plain(row["cause"]))
    return "   ".join(parts)
