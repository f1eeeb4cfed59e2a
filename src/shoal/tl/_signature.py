"""Signature scores: how far a column, or the mean of a gene set, moves from the controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import PCA
from .._logging import logger
from .._validate import key_in
from ..core._choose import choose
from ..core._gene_names import gene_names, tell_symbols
from ..core._gene_sets import read_gene_sets
from ..core._matrix import Rows, as_rows
from ..core._scale import look
from ..core._scale_check import WITH_EMPTY, require, require_kind
from ..core._walk import group_sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from .._typing import Floats
    from ..core._gene_names import GeneNames
    from ..core._gene_sets import GeneSets
    from ..core._plan import Plan
    from ..core._screen import Screen


@dataclass(frozen=True)
class GeneScores:
    """Scores of gene sets.

    Attributes
    ----------
    shift
        (n_perturbations, n_sets) mean over the genes of a set of the shift in expression; NaN
        without genes.
    used
        Set -> ``var_names`` of the genes that were found.
    """

    shift: pd.DataFrame
    used: dict[str, list[str]]


def control_shift(rows: Rows, plan: Plan) -> Floats:
    """Return (n_groups, n_columns) means of each group, less those of controls of its strata.

    A group is compared with controls mixed from the strata in its own proportions.
    """
    perturbed, is_control = plan.perturbed, plan.is_control
    code = np.where(is_control, plan.n_groups + plan.stratum, plan.group)
    sums = group_sums(rows, code, plan.n_groups + plan.n_strata)
    total, control = sums[: plan.n_groups], sums[plan.n_groups :]
    cells = np.zeros((plan.n_groups, plan.n_strata))
    np.add.at(cells, (perturbed[perturbed >= 0], plan.stratum[perturbed >= 0]), 1)
    control /= np.bincount(plan.stratum[is_control], minlength=plan.n_strata)[:, None]
    with np.errstate(invalid="ignore"):
        return (total - cells @ control) / cells.sum(axis=1)[:, None]


def column_shift(
    adata: AnnData, plan: Plan, keys: Sequence[str], names: pd.Index, *, where: str
) -> pd.DataFrame:
    """Return the shift of numeric obs columns, one row per perturbation.

    `where` is the argument that named the columns, for messages.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If a column is not numeric, or missing for a cell that is used.
    """
    if not keys:
        return pd.DataFrame(index=names)
    values = np.empty((adata.n_obs, len(keys)))
    for j, key in enumerate(keys):
        key_in(key, adata.obs.columns, where="adata.obs", hint=f"(given in {where}=)")
        if not pd.api.types.is_numeric_dtype(adata.obs[key]):
            msg = f"{where}: adata.obs[{key!r}] is not numeric (dtype {adata.obs[key].dtype})"
            raise ValueError(msg)
        values[:, j] = adata.obs[key].to_numpy(dtype=np.float64, na_value=np.nan)
        n_bad = int((~np.isfinite(values[plan.group >= 0, j])).sum())
        if n_bad:
            msg = (
                f"{where}: adata.obs[{key!r}] is missing or infinite for {n_bad} cells; fill or "
                "drop them"
            )
            raise ValueError(msg)
    values[plan.group < 0] = 0
    return pd.DataFrame(control_shift(as_rows(values), plan), index=names, columns=list(keys))


def gene_set_shift(
    adata: AnnData,
    plan: Plan,
    screen: Screen,
    names: pd.Index,
    gene_set: GeneSets,
    *,
    layer: str | None,
) -> GeneScores:
    """Return the shift of the mean expression of gene sets, one row per perturbation.

    The gene that a perturbation targets is left out of its score.

    Raises
    ------
    ValueError
        If no gene of any set is measured, or the values are not log-normalised.
    """
    names_of = gene_names(adata, screen)
    used = _measured(names_of, read_gene_sets(gene_set))
    tell_symbols(names_of)
    column = np.flatnonzero(adata.var_names.isin({g for genes in used.values() for g in genes}))
    genes = adata.var_names[column]
    matrix, slot = choose(adata, layer=layer)
    rows = as_rows(matrix, column).held()
    what, head = "a gene-set score", look(as_rows(matrix).head())
    require_kind(head, slot=slot, what=what, accept=WITH_EMPTY)
    # genes of a small set may be off in all cells, and tell less of the scale than all genes do
    require(look(rows), slot=slot, what=what, accept=WITH_EMPTY, cells=adata.obs_names)
    shift = control_shift(rows, plan)
    member = np.column_stack([genes.isin(found) for found in used.values()]).astype(np.float64)
    targets = [names_of.of(screen.parts(name)) for name in names]
    other = np.array([~genes.isin(own) for own in targets], dtype=np.float64).reshape(shift.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = (shift * other) @ member / (other @ member)
    return GeneScores(pd.DataFrame(scores, index=names, columns=list(used)), used)


def overlap(
    adata: AnnData, params: Mapping[str, object], used: dict[str, list[str]]
) -> dict[str, float]:
    """Return how many genes of each set coherence was computed from; NaN if not known."""
    features = _feature_genes(adata, params)
    if features is None:
        logger.info(
            "the genes behind %r are not known, so gene sets cannot be checked against them",
            params["use_rep"],
        )
        return dict.fromkeys(used, np.nan)
    return {name: float(len(features & set(genes))) for name, genes in used.items()}


def _feature_genes(adata: AnnData, params: Mapping[str, object]) -> set[str] | None:
    use_rep = params.get("use_rep", "")
    if use_rep in ("", "X"):
        return set(adata.var_names) - set(str(params.get("exclude", "")).split(","))
    if use_rep != PCA:
        return None
    if "PCs" in adata.varm:
        return set(adata.var_names[(np.asarray(adata.varm["PCs"]) != 0).any(axis=1)])
    if "highly_variable" in adata.var:
        return set(adata.var_names[adata.var["highly_variable"].to_numpy(dtype=bool)])
    return None


def _measured(names: GeneNames, sets: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the ``var_names`` of the genes of each set; say which genes are not in the data."""
    used = {name: names.of(genes) for name, genes in sets.items()}
    if not any(used.values()):
        name, genes = next(iter(sets.items()))
        msg = (
            f"no gene of {len(sets)} gene set(s) is in {names.words}; {name!r} "
            f"holds {', '.join(genes[:5])}, ...: do both use the same kind of name? If adata.var "
            "has a column of such names, call sh.pp.annotate(..., gene_key=...)"
        )
        raise ValueError(msg)
    for name, found in used.items():
        absent = [g for g in sets[name] if g not in names]
        if not found:
            said = "%s is left out: none of its %d genes is in %s"
            logger.warning(said, name, len(absent), names.where)
        elif absent:
            shown = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
            logger.info(
                "%s: %d of %d genes are not in %s: %s",
                name,
                len(absent),
                len(sets[name]),
                names.where,
                shown,
            )
    return {name: found for name, found in used.items() if found}
