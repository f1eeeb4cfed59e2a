"""The matrix that a statistic is computed on: a representation, a layer, or genes of X."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._keys import PCA
from ..core._gene_names import genes_called, targets_of
from ..core._matrix import Rows, as_rows, choose
from ..core._scale import look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..core._plan import Plan
    from ..core._screen import Screen

MOST_FEATURES = 5000


def features(
    adata: AnnData,
    screen: Screen,
    names: Sequence[str],
    *,
    layer: str | None,
    use_rep: str | None,
    exclude: object,
) -> tuple[Rows, str, list[str]]:
    """Return the rows to measure, the name of their slot, and the genes left out.

    Raises
    ------
    ValueError
        If the matrix holds raw counts, has too many or no features, or `exclude` cannot apply to
        it.
    KeyError
        If a slot or a gene does not exist.
    """
    if layer is None and use_rep is None and PCA in adata.obsm and exclude is None:
        use_rep = PCA
    matrix, slot = choose(adata, layer=layer, use_rep=use_rep)
    if slot.startswith("obsm/"):
        if exclude is not None:
            msg = (
                f"exclude= leaves genes out of X or a layer, not out of {slot}: fit it without "
                "them, "
                "sh.pp.prepare(adata, exclude=...), or pass use_rep='X'"
            )
            raise ValueError(msg)
        return as_rows(matrix).held(), slot, []
    dropped = _excluded(adata, screen, names, exclude)
    keep = None if not dropped else np.flatnonzero(~adata.var_names.isin(dropped))
    rows = as_rows(matrix, keep).held()
    if rows.shape[1] == 0:
        msg = f"exclude= leaves no gene of {slot}"
        raise ValueError(msg)
    if rows.shape[1] > MOST_FEATURES:
        msg = (
            f"{slot} has {rows.shape[1]} features; coherence needs a features x features matrix "
            "and takes at most "
            f"{MOST_FEATURES}. Reduce it first: sh.pp.prepare(adata) writes 'X_pca', or keep "
            "the variable genes"
        )
        raise ValueError(msg)
    _refuse_counts(rows, slot)
    return rows, slot, dropped


def whitened(rows: Rows, plan: Plan) -> Rows:
    """Return dense rows in which the controls' covariance is the identity.

    The covariance is that of Ledoit and Wolf, within strata.

    Raises
    ------
    ValueError
        If the rows are not a dense representation or there are fewer than 3 controls per dimension.
    """
    from sklearn.covariance import ledoit_wolf

    if not isinstance(rows.matrix, np.ndarray):
        msg = (
            "whiten=True works on a dense representation such as 'X_pca', not on genes: rare "
            "genes would rule it"
        )
        raise ValueError(msg)
    control = np.flatnonzero(plan.is_control)
    n, d = len(control), rows.shape[1]
    if n < 3 * d:
        msg = (
            f"whitening {d} dimensions needs at least {3 * d} control cells, not {n}; reduce "
            "n_comps in sh.pp.prepare"
        )
        raise ValueError(msg)
    cells = np.asarray(rows.matrix[control], dtype=np.float64)
    count = np.bincount(plan.stratum[control], minlength=plan.n_strata)
    mean = np.zeros((plan.n_strata, d))
    np.add.at(mean, plan.stratum[control], cells)
    mean /= np.maximum(count, 1)[:, None]
    values, vectors = np.linalg.eigh(
        ledoit_wolf(cells - mean[plan.stratum[control]], assume_centered=True)[0]
    )
    return as_rows(np.asarray(rows.matrix, dtype=np.float64) @ (vectors / np.sqrt(values)))


def _excluded(adata: AnnData, screen: Screen, names: Sequence[str], exclude: object) -> list[str]:
    """Return the genes to leave out; ``"targets"`` are those that perturbations are named after."""
    if exclude is None:
        return []
    if isinstance(exclude, str) and exclude == "targets":
        return targets_of(adata, screen, names)
    listed = [exclude] if isinstance(exclude, str) else exclude
    return genes_called(adata, screen, [str(gene) for gene in listed])  # type: ignore[union-attr]


def _refuse_counts(rows: Rows, slot: str) -> None:
    """Look at the first block: whole numbers above 1 are raw counts, which have no direction."""
    scale = look(rows.head())
    if scale.kind == "counts" and scale.maximum > 1:
        msg = (
            f"{slot} holds {scale.words}; coherence needs log-normalised values: call "
            "sh.pp.prepare(adata, normalize='log1p'), or name another layer= or use_rep="
        )
        raise ValueError(msg)
