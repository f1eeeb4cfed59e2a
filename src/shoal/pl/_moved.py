"""Predicted cells with the cells that they start from, and the axes for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from .._validate import key_in
from ..core._choose import choose
from ..core._codes import places
from ..core._matrix import as_rows
from ..core._predicted_cells import axes_of, is_in_genes
from ..core._predictions import PREDICTED, SOURCE, column_of, prediction_slot, refuse_counts
from ..core._scale import look
from ..core._scale_check import WITH_EMPTY, require_kind
from ..core._screen import labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._typing import Floats, Ints
    from ..core._matrix import Rows
    from ..core._screen import Screen


@dataclass(frozen=True)
class Moved:
    """Predicted cells with their sources.

    Attributes
    ----------
    names
        (n,) perturbation of each cell.
    source
        (n,) name of the cell that each starts from.
    at
        (n,) row of each cell in `rows`.
    rows
        Values of the cells.
    in_genes
        Whether these are genes; if not, they are dimensions of the basis.
    """

    names: NDArray[Any]
    source: NDArray[Any]
    at: Ints
    rows: Rows
    in_genes: bool


def read_moved(
    adata: AnnData, screen: Screen, prediction: str | AnnData, *, layer: str | None, basis: str
) -> tuple[Moved, Rows, Floats]:
    """Return the predicted cells, the real values, and the axes that both are projected on.

    Parameters
    ----------
    adata, screen
        The screen and its design.
    prediction
        Name of a prediction in the screen, or predicted cells.
    layer
        Layer of the real values. None for ``X``.
    basis
        Key of ``obsm``.
    """
    given = isinstance(prediction, AnnData)
    if given:  # the features of a model of the basis are called X_pca_0, X_pca_1, ...
        refuse_counts(prediction, "X", what="a plot")
        in_genes = not prediction.n_vars or prediction.var_names[0] != f"{basis}_0"
    else:
        in_genes = is_in_genes(adata, prediction)
    axes, genes = axes_of(adata, basis, in_genes=in_genes), None
    if axes is None:
        real, axes = as_rows(choose(adata, use_rep=basis)[0]), np.eye(adata.obsm[basis].shape[1])
    else:
        genes = np.flatnonzero((axes != 0).any(axis=1))
        matrix, slot = choose(adata, layer=layer)
        require_kind(look(as_rows(matrix).head()), slot=slot, what="a plot", accept=WITH_EMPTY)
        real, axes = as_rows(matrix, genes), axes[genes]
    find = _given if given else _recorded
    return find(adata, screen, prediction, genes), real, axes


def _recorded(adata: AnnData, screen: Screen, prediction: str, genes: Ints | None) -> Moved:
    """Return the cells of a prediction in the screen."""
    is_predicted, source = prediction + PREDICTED, prediction + SOURCE
    hint = f"sh.tl.predict(..., key_added={prediction!r}) writes it."
    for key in (is_predicted, source):
        key_in(key, adata.obs.columns, where="adata.obs", hint=hint)
    at = np.flatnonzero(adata.obs[is_predicted].to_numpy(dtype=bool))
    labelled = labels(adata, screen)
    where, key = prediction_slot(adata, prediction)
    matrix = getattr(adata, where)[key]
    names = np.asarray(labelled.names, dtype=object)[labelled.code[at]]
    start = adata.obs[source].astype(str).to_numpy()[at]
    return Moved(names, start, at, as_rows(matrix, genes), genes is not None)


def _given(adata: AnnData, screen: Screen, prediction: AnnData, genes: Ints | None) -> Moved:
    """Return the cells that a model returned; of an interpolation those of the last time."""
    hint = "model.transport(cells, perturbation) returns such cells."
    source = column_of(prediction, "source", taken=screen.columns) or "source"
    time = column_of(prediction, "time", taken=screen.columns)
    for key in (screen.perturbation_key, source):
        key_in(key, prediction.obs.columns, where="prediction.obs", hint=hint)
    columns = None
    if genes is not None:
        columns = places(prediction.var_names, adata.var_names[genes])
        lost = adata.var_names[genes[columns < 0]]
        if len(lost):
            shown = ", ".join(map(str, lost[:8]))
            msg = f"{len(lost)} genes of the PCA are not in prediction.var_names: {shown}"
            raise KeyError(msg)
    obs, at = prediction.obs, np.arange(prediction.n_obs)
    if time is not None:
        at = np.flatnonzero(obs[time].to_numpy() == obs[time].max())
    names = obs[screen.perturbation_key].astype(str).map(screen.canonical).to_numpy()[at]
    start = obs[source].astype(str).to_numpy()[at]
    return Moved(names, start, at, as_rows(prediction.X, columns), genes is not None)
