"""Generated cells with the cells that they start from, and the axes on which they and real cells are projected alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._keys import PCA
from .._validate import key_in
from ..core._matrix import as_rows, choose
from ..core._screen import labels
from ._cells import PREDICTED

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._typing import Bools, Floats, Ints
    from ..core._matrix import Rows
    from ..core._screen import Screen

SOURCE = "source"  # obs of generated cells, and with the name of a layer and _ before it of a screen: where they start
TIME = "time"  # obs of cells on their way


@dataclass(frozen=True)
class Moved:
    """Generated cells: perturbation and source of each, by name, and the rows of a matrix that hold them."""

    names: NDArray[Any]
    source: NDArray[Any]
    at: Ints
    rows: Rows


def in_genes_of(made: AnnData | None, adata: AnnData, layer: str | None, basis: str) -> bool:
    """Return whether the cells were generated in genes; else they are in the basis itself."""
    if made is not None:
        return not made.n_vars or made.var_names[0] != f"{basis}_0"
    if f"X_{layer}" in adata.obsm and layer not in adata.layers:
        return False
    hint = f"sh.tl.predict(adata, model, key_added={layer!r}) writes it."
    key_in(
        str(layer),
        [name for name in adata.layers if name is not None],
        where="adata.layers",
        hint=hint,
    )
    return True


def basis_of(
    adata: AnnData, basis: str, real_layer: str | None, *, in_genes: bool
) -> tuple[Rows, Floats, Ints | None]:
    """Return the real values, the axes (d, k) that they and generated ones are projected on, and which genes these have."""
    key_in(
        basis, adata.obsm.keys(), where="adata.obsm", hint="sh.pp.prepare(adata) writes 'X_pca'."
    )
    k = adata.obsm[basis].shape[1]
    if k < 2:
        msg = f"adata.obsm[{basis!r}] has {k} dimension; a picture takes 2"
        raise ValueError(msg)
    if not in_genes:
        return as_rows(choose(adata, use_rep=basis)[0]), np.eye(k), None
    if basis != PCA or "PCs" not in adata.varm:
        msg = (
            f"cells in genes are projected on {PCA!r} by its axes in adata.varm['PCs'], which sh.pp.prepare(adata) writes; "
            f"they cannot be on {basis!r}" + ("" if basis != PCA else " without them")
        )
        raise ValueError(msg)
    axes = np.asarray(adata.varm["PCs"], dtype=np.float64)
    genes = np.flatnonzero((axes != 0).any(axis=1))
    return as_rows(choose(adata, layer=real_layer)[0], genes), axes[genes], genes


def in_layer(adata: AnnData, screen: Screen, layer: str, genes: Ints | None) -> Moved:
    """Return the twins of a prediction."""
    is_twin, source = layer + PREDICTED, f"{layer}_{SOURCE}"
    for key in (is_twin, source):
        key_in(
            key,
            adata.obs.columns,
            where="adata.obs",
            hint=f"sh.tl.predict(..., key_added={layer!r}) writes it.",
        )
    at, found = np.flatnonzero(adata.obs[is_twin].to_numpy(dtype=bool)), labels(adata, screen)
    matrix = adata.obsm[f"X_{layer}"] if genes is None else adata.layers[layer]
    names = np.asarray(found.names, dtype=object)[found.code[at]]
    return Moved(names, adata.obs[source].astype(str).to_numpy()[at], at, as_rows(matrix, genes))


def in_made(adata: AnnData, screen: Screen, made: AnnData, genes: Ints | None) -> Moved:
    """Return the cells that a model returned; the last of those on their way."""
    for key in (screen.perturbation_key, SOURCE):
        key_in(
            key,
            made.obs.columns,
            where="made.obs",
            hint="model.transport(cells, perturbation) returns such cells.",
        )
    columns = None
    if genes is not None:
        columns = made.var_names.get_indexer(adata.var_names[genes])
        lost = adata.var_names[genes[columns < 0]]
        if len(lost):
            msg = f"{len(lost)} genes of the PCA are not in made.var_names: {', '.join(map(str, lost[:8]))}"
            raise KeyError(msg)
    at = np.arange(made.n_obs)
    if TIME in made.obs:
        at = np.flatnonzero(made.obs[TIME].to_numpy() == made.obs[TIME].max())
    names = made.obs[screen.perturbation_key].astype(str).map(screen.canonical).to_numpy()[at]
    return Moved(names, made.obs[SOURCE].astype(str).to_numpy()[at], at, as_rows(made.X, columns))


def inside_of(adata: AnnData, screen: Screen, context: str | None) -> Bools:
    """Return (n_obs,) cells of the context that is shown."""
    if context is None:
        return np.ones(adata.n_obs, dtype=bool)
    if screen.context_key is None:
        msg = f"context={context!r}, but this screen has no contexts; name their column in sh.pp.annotate(context_key=)"
        raise ValueError(msg)
    value = adata.obs[screen.context_key].astype(str).to_numpy()
    key_in(str(context), sorted(set(value)), where=f"adata.obs[{screen.context_key!r}]")
    return value == str(context)
