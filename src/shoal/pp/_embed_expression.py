"""Embeddings from the screen itself: co-expression in control cells, effects in training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core._block_sums import add_to_groups
from ..core._matrix import Rows
from ..metrics._pca import axes_of_rows, principal_axes
from ._pca import _dense_pieces

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints
    from ..core._plan import Plan

MAX_GENES = 5000  # the correlation matrix is genes x genes


def coexpression(rows: Rows, stratum: Ints, genes: Ints, n_comps: int) -> tuple[Floats, Bools]:
    """Return the correlation of genes with the leading components of the fit cells.

    Correlations are within strata. The components are those of the correlation matrix of `genes`
    and of the `MAX_GENES` most variable genes. Coordinates are loadings times the root of the
    eigenvalue.

    Parameters
    ----------
    rows
        (n_obs, n_vars) values.
    stratum
        (n_obs,) stratum of the fit cells, -1 for all other cells.
    genes
        (m,) columns to embed, each once.
    n_comps
        Most components.

    Returns
    -------
    loadings
        (m, k); rows of genes that do not vary are 0.
    varies
        (m,) which genes vary.
    """
    fit, n_strata = stratum >= 0, int(stratum.max()) + 1
    n = np.bincount(stratum[fit], minlength=n_strata)[:, None]
    free = max(int(fit.sum()) - n_strata, 1)
    sums, squares = np.zeros((n_strata, rows.shape[1])), np.zeros(rows.shape[1])
    for index, piece in _dense_pieces(rows, fit):
        add_to_groups(sums, piece, stratum[index])
        squares += np.einsum("ij,ij->j", piece, piece)
    mean = sums / n
    variance = (squares - (n * mean**2).sum(axis=0)) / free
    varies = variance > 1e-10 * squares / free  # what is left of a constant gene is rounding

    ranked = np.argsort(-variance, kind="stable")[:MAX_GENES]
    used = np.union1d(ranked[varies[ranked]], genes[varies[genes]])
    if not len(used):
        return np.zeros((len(genes), 0)), varies[genes]
    gram = np.zeros((len(used), len(used)))
    for index, piece in _dense_pieces(Rows(rows.matrix, used), fit):
        piece -= mean[stratum[index]][:, used]
        gram += piece.T @ piece
    scale = np.sqrt(np.diag(gram))
    axes, eigenvalues = principal_axes(gram / np.outer(scale, scale), n_comps)
    loadings = np.zeros((len(genes), axes.shape[1]))
    loadings[varies[genes]] = (axes * np.sqrt(eigenvalues))[
        np.searchsorted(used, genes[varies[genes]])
    ]
    return loadings, varies[genes]


def mean_shifts(rows: Rows, plan: Plan) -> Floats:
    """Return the mean of each group less that of the controls of its strata, (n_groups, d)."""
    code = np.where(plan.is_control, plan.n_groups + plan.stratum, plan.group)
    sums = np.zeros((plan.n_groups + plan.n_strata, rows.shape[1]))
    for where, block in rows.blocks():
        add_to_groups(sums, block, code[where])
    n = np.bincount(code[code >= 0], minlength=len(sums))[:, None]
    control = sums[plan.n_groups :] / n[plan.n_groups :]
    where_cells = plan.footprint(plan.perturbed, plan.n_groups)
    return (sums[: plan.n_groups] - where_cells @ control) / n[: plan.n_groups]


def scores(shifts: Floats, n_comps: int) -> Floats:
    """Return (n, k) coordinates by a PCA of the shifts about 0, which is no effect."""
    axes, squares = axes_of_rows(shifts.T, n_comps)
    return axes * np.sqrt(squares)
