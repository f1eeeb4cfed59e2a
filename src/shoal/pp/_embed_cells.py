"""Methods of pp.embed that read cells of the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import PCA, SPLIT
from .._logging import logger
from ..core._choose import choose
from ..core._codes import joined, places
from ..core._design import make_plan, strata_keys
from ..core._gene_names import gene_names
from ..core._matrix import Rows, as_rows
from ..core._scale import look
from ..core._scale_check import require
from ..core._screen import Labels
from ._embed_expression import coexpression, mean_shifts, scores
from ._embed_mds import root_energies, scaled, to_unit
from ._embed_source import Vectors
from ._split_fits import is_stale, pca_fit

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ..core._plan import Plan
    from ._embed_request import EmbeddingRequest

MOST_CELLS = (
    512  # of a perturbation, for the distances between populations, which take all pairs of cells
)


def by_coexpression(request: EmbeddingRequest) -> Vectors:
    """Components of the control cells, as the target genes correlate with them."""
    genes = gene_names(request.adata, request.screen)
    called = {key: genes.of([key]) for key in request.keys}
    held = [key for key in request.keys if len(called[key]) == 1]
    absent = {
        key: f"the symbol of {len(own)} genes" if own else f"not in {genes.where}"
        for key, own in called.items()
        if len(own) != 1
    }
    fit = request.labels.is_control & ~_held_out(request.adata)
    columns = list(strata_keys(request.adata, request.screen, request.strata))
    stratum = np.where(fit, 0, -1)
    if columns:
        stratum[fit] = joined(request.adata.obs.loc[fit, columns])[0]
    if fit.sum() - len(np.unique(stratum[fit])) < 3:
        msg = (
            f"{int(fit.sum())} control cells in {len(np.unique(stratum[fit]))} strata are too few "
            "for correlations"
        )
        raise ValueError(msg)
    table, varies = coexpression(
        _log_values(request),
        stratum,
        places(request.adata.var_names, [called[key][0] for key in held]),
        request.n_comps,
    )
    absent |= {
        key: "does not vary in control cells"
        for key, moves in zip(held, varies, strict=True)
        if not moves
    }
    values = pd.DataFrame(table[varies], index=pd.Index(held, dtype=object)[varies])
    return Vectors(values, absent, pd.Index(genes.symbols), "control", int(fit.sum()))


def by_effects(request: EmbeddingRequest) -> Vectors:
    """PCA of the mean shifts of single perturbations, in training cells if there is a split."""
    names, plan, absent = measured(request, least=1)
    if plan is None:
        return Vectors(pd.DataFrame(), absent)
    table = scores(mean_shifts(_log_values(request), plan), request.n_comps)
    _tell_fewer(request, table)
    fitted_on, used = "train" if SPLIT in request.adata.obs else "all", int((plan.group >= 0).sum())
    return Vectors(pd.DataFrame(table, index=names), absent, names, fitted_on, used)


def by_mds(request: EmbeddingRequest) -> Vectors:
    """Scaling of the distances between populations, in training cells if there is a split."""
    fit = pca_fit(request.adata)
    if fit is None:
        msg = (
            f"method='mds' compares populations in obsm[{PCA!r}], which is not there: "
            "call sh.pp.prepare(adata) first"
        )
        raise ValueError(msg)
    names, plan, absent = measured(request, least=2)
    if plan is None:
        return Vectors(pd.DataFrame(), absent)
    values, chosen = (
        np.asarray(request.adata.obsm[PCA], dtype=np.float64),
        _few_of_each(request.adata, plan),
    )
    bad = int((~np.isfinite(values[plan.group >= 0]).all(axis=1)).sum())
    if bad:
        msg = (
            f"obsm[{PCA!r}] holds NaN or infinite values in {bad} cells; "
            "call sh.pp.prepare(adata) again"
        )
        raise ValueError(msg)
    control = np.array(
        [values[plan.is_control & (plan.stratum == s)].mean(axis=0) for s in range(plan.n_strata)]
    )
    distances = root_energies(
        values[chosen] - control[plan.stratum[chosen]], np.bincount(plan.group[chosen])
    )
    if not distances.any():
        msg = (
            f"no distance between the {len(names)} measured perturbations is above 0; "
            "there is nothing to embed"
        )
        raise ValueError(msg)
    table = to_unit(scaled(distances, request.n_comps))
    _tell_fewer(request, table)
    train = _train(request.adata)
    blind = (
        SPLIT in request.adata.obs
        and fit.on in ("control", "train")
        and not is_stale(request.adata, fit, train)
    )
    used = len(chosen) + int(plan.is_control.sum())
    return Vectors(
        pd.DataFrame(table, index=names), absent, names, "train" if blind else "all", used
    )


def _few_of_each(adata: AnnData, plan: Plan) -> Ints:
    """Return the rows of at most `MOST_CELLS` cells of each group, group by group.

    The choice does not depend on the order of the cells.
    """
    rows = np.flatnonzero(plan.perturbed >= 0)
    key = pd.util.hash_array(adata.obs_names.to_numpy(dtype=object)[rows])
    order = rows[np.lexsort((key, plan.group[rows]))]
    size = np.bincount(plan.group[order], minlength=plan.n_groups)
    place = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    return order[place < MOST_CELLS]


def _tell_fewer(request: EmbeddingRequest, table: Floats) -> None:
    if table.shape[1] < request.n_comps:
        logger.info(
            "%d perturbations span %d components, not n_comps=%d", *table.shape, request.n_comps
        )


def _train(adata: AnnData) -> Bools:
    """(n_obs,) training cells; all where there is no split."""
    if SPLIT not in adata.obs:
        return np.ones(adata.n_obs, dtype=bool)
    found: Bools = (adata.obs[SPLIT] == "train").to_numpy()
    return found


def measured(
    request: EmbeddingRequest, *, least: int
) -> tuple[pd.Index, Plan | None, dict[str, str]]:
    """Return the perturbations with at least `least` training cells, and why others have no vector.

    The second of the three is the plan that compares the perturbations with the controls.
    """
    train = _train(request.adata)
    place = {key: i for i, key in enumerate(request.keys)}
    parts = [request.screen.parts(name) for name in request.labels.names]
    lookup = np.array(
        [place.get(p[0], -1) if len(p) == 1 else -1 for p in parts] + [len(request.keys), -1]
    )
    code = np.where(train, lookup[request.labels.code], -1)
    cells = np.bincount(code[code >= 0], minlength=len(request.keys) + 1)[:-1]
    measured = np.flatnonzero(cells >= least)
    absent = _why_not_measured(request, cells, train)
    absent |= {
        request.keys[i]: "a single training cell"
        for i in np.flatnonzero((cells > 0) & (cells < least))
    }
    if len(measured) == 0:
        return pd.Index([]), None, absent
    short = np.full(len(request.keys) + 2, -1)
    short[measured], short[len(request.keys)] = np.arange(len(measured)), len(measured)
    names = pd.Index([request.keys[i] for i in measured], dtype=object)
    plan = make_plan(
        request.adata,
        Labels(names, short[code]),
        strata=strata_keys(request.adata, request.screen, request.strata),
        depth_key=None,
    )
    return names, plan, absent


def _why_not_measured(request: EmbeddingRequest, cells: Ints, train: Bools) -> dict[str, str]:
    """Say of every key without training cells of its own why it has none."""
    names, seen = request.labels.names, np.unique(request.labels.code[request.labels.code >= 0])
    alone, joint = set(), set()
    for name in names[seen[seen < len(names)]]:
        parts = request.screen.parts(name)
        (alone if len(parts) == 1 else joint).update(parts)
    return {
        key: "not in the training cells"
        if key in alone and not train.all()
        else "measured only in combinations"
        if key in joint
        else "not measured"
        for key, n in zip(request.keys, cells, strict=True)
        if n == 0
    }


def _held_out(adata: AnnData) -> Bools:
    """(n_obs,) cells that belong to validation or test; nothing is fitted on them."""
    if SPLIT not in adata.obs:
        return np.zeros(adata.n_obs, dtype=bool)
    found: Bools = adata.obs[SPLIT].isin(["val", "test"]).to_numpy()
    return found


def _log_values(request: EmbeddingRequest) -> Rows:
    """Return the matrix; raise ``ValueError`` if its values are not log-normalised."""
    matrix, slot = choose(request.adata, layer=request.layer)
    rows = as_rows(matrix)
    require(look(rows), slot=slot, what="an embedding", cells=request.adata.obs_names)
    return rows
