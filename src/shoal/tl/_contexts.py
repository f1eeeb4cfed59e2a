"""The same response in every context? Perturbation x context, and what the contexts explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from ._explain import explain
from ._parts import LEAST, Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints
    from ..core._matrix import Rows
    from ._measure import Measured

SHOWN = (
    "n_cells",
    "magnitude",
    "coherence",
    "coherence_se",
    "ci_low",
    "ci_high",
    "pvalue",
    "qvalue",
    "residual",
    "residual_z",
    "residual_pvalue",
    "residual_qvalue",
    "cause",
)


def by_context(rows: Rows, parts: Parts, measured: Measured, names: Sequence[str]) -> pd.DataFrame:
    """Return the table of perturbation x context."""
    columns = measured.columns | explain(rows, parts.plan, measured)
    table = pd.DataFrame({name: columns[name] for name in SHOWN})
    table.insert(0, "perturbation", [names[g] for g in parts.owner])
    table.insert(1, "context", list(parts.label))
    return table


@dataclass(frozen=True)
class Within:
    """How much of the residual is left within contexts.

    Attributes
    ----------
    residual, z
        (G,) mean residual within contexts, and over its standard error. NaN for perturbations in
        one context only, or with less than half of their cells in contexts of at least 8 of them.
    between
        (G,) share of the residual that lies between contexts, where it is significantly negative.
    several
        (G,) whether the perturbation is in several contexts.
    part
        (n_obs,) number of perturbation x context of each cell, -1 for none.
    """

    residual: Floats
    z: Floats
    between: Floats
    several: Bools
    part: Ints


def within(parts: Parts, measured: Measured, *, alpha: float = 0.05) -> Within:
    r"""Split the residual into what lies within contexts and what lies between them.

    With :math:`T` the residual of a perturbation over all its cells, and :math:`T_k` that of its
    cells in context k, a share :math:`q_k` of them,

    .. math:: T = \sum_k q_k T_k + T_\mathrm{between}.

    All of these are free of the bias of cell numbers, and so is the difference. It is 0 where a
    translation by one shift describes all contexts.
    """
    fine, whole = measured.finer, measured.columns
    if fine is None:
        msg = "the groups were not measured by context"
        raise ValueError(msg)
    size, n_all = np.asarray(fine.columns["n_cells"]), np.asarray(whole["n_cells"])
    used = (size >= LEAST) & np.isfinite(fine.residual_se)
    count = _sum(parts, used * size, n_all)
    share = np.where(used, size / np.maximum(count, 1)[parts.owner], 0.0)
    several = np.asarray(measured.made.n_parts) > 1
    if parts.kind == "contexts":
        several = _sum(parts, np.ones(len(size)), n_all) > 1
    known = several & (2 * count >= n_all) & (count > 0)
    residual = _sum(parts, share * np.nan_to_num(fine.columns["residual"]), n_all)
    se = np.sqrt(_sum(parts, (share * np.nan_to_num(fine.residual_se)) ** 2, n_all))
    residual = np.where(known, residual, np.nan)
    lost = (whole["residual_qvalue"] < alpha) & (whole["residual"] < 0) & known
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(lost, 1 - residual / whole["residual"], np.nan)
        z = np.where(se > 0, residual / se, np.nan)
    group = parts.plan.perturbed
    kept = np.append(used, False)  # the last entry is for cells without a group
    return Within(residual, z, between, several, np.where(kept[group], group, -1))


def causes(found: Floats, parts: Parts, split: Within, *, alpha: float = 0.05) -> Floats:
    """Return causes of incoherence that also hold within contexts, and are the larger part.

    Parameters
    ----------
    found
        (G,) causes by the excess covariance about the mean of each context.
    parts
        What perturbations are split by.
    split
        The residual within and between them.
    alpha
        Level of the test within contexts, two-sided.

    Returns
    -------
    (G,) the same, but for perturbations in several contexts:

    - ``"differs between contexts"`` where more than half of the residual lies between them;
    - ``"unclear"`` where else they are not less coherent than a translation within contexts.

    Strata that are no contexts are thought to respond alike, so that only the first applies.
    """
    named = found != "none"
    holds = (split.z < 0) & (2 * special.ndtr(-np.abs(split.z)) < alpha)
    apart = named & split.several & (split.between > 0.5)
    causes = np.where(apart, f"differs between {parts.kind}", found)
    if parts.kind == "contexts":
        causes = np.where(named & split.several & ~holds & ~apart, "unclear", causes)
    return causes.astype(object)


def _sum(parts: Parts, values: Floats, like: Floats) -> Floats:
    """Return sums over the parts of each perturbation."""
    return np.bincount(parts.owner, weights=values, minlength=len(like))
