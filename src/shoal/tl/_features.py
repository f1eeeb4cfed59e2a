"""The matrix that a statistic is computed on: a representation, a layer, or genes of X."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._keys import PCA
from .._validate import listed
from ..core._choose import choose
from ..core._matrix import Rows, as_rows
from ..core._scale import look
from ..core._scale_check import WITH_EMPTY, require_kind
from ..core._targets import genes_called, targets_of

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
        If genes hold raw counts or values that are not logged, there are too many or no features,
        or `exclude` cannot apply to the matrix.
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
        rows = as_rows(matrix, slot=slot).held()
        _check_width(rows, slot, "")
        return rows, slot, []
    dropped = _excluded(adata, screen, names, exclude)
    keep = None if not dropped else np.flatnonzero(~adata.var_names.isin(dropped))
    rows = as_rows(matrix, keep).held()
    _check_width(rows, slot, f" after exclude= took {len(dropped)} away" if dropped else "")
    # the first block is enough: a matrix has one scale, and all of it is read to be measured
    scale = require_kind(look(rows.head()), slot=slot, what="coherence", accept=WITH_EMPTY)
    if rows.shape[1] > MOST_FEATURES:
        reduce = (
            f"keep at most {MOST_FEATURES} of these signed features, "
            "adata = adata[:, names].copy(), or sh.pp.prepare(adata, normalize='log1p') from counts"
            if scale.kind == "signed"
            else "sh.pp.prepare(adata) writes 'X_pca', or keep the variable genes"
        )
        msg = (
            f"{slot} has {rows.shape[1]} features; coherence needs a features x features matrix "
            f"and takes at most {MOST_FEATURES}. Reduce it first: {reduce}"
        )
        raise ValueError(msg)
    return rows, slot, dropped


def _check_width(rows: Rows, slot: str, why: str) -> None:
    """Raise ``ValueError`` if there are too few features for a cell to have a direction."""
    if rows.shape[1] < 2:
        msg = (
            f"{slot} has {rows.shape[1]} features{why}; coherence compares directions of cells "
            "and takes at least 2 features: of one, every direction is +1 or -1 (sh.tl.distance "
            "can measure it)"
        )
        raise ValueError(msg)


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
    return genes_called(adata, screen, listed(exclude, name="exclude"))
