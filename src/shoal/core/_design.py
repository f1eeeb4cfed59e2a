"""Turn the columns of a screen into a Plan: groups, strata, covariates of the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._validate import is_auto, key_in, listed
from ._codes import joined, members
from ._label_notices import tell_of_groups
from ._plan import Plan
from ._screen import raw_counts
from ._screen_checks import check_columns, dropped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ._screen import Labels, Screen

LEAST_CONTROLS = 5


def strata_keys(
    adata: AnnData, screen: Screen, strata: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the obs columns that make strata; ``"auto"`` is the recorded context and batch.

    What is odd about the values of other columns is logged: `pp.annotate` has not seen them.
    """
    if strata is None:
        return ()
    if is_auto(strata):
        keys = [k for k in (screen.context_key, screen.batch_key) if k is not None]
    else:
        keys = listed(strata, name="strata")
        check_columns(adata, [("strata", key) for key in keys])
        for key in keys:
            tell_of_column(adata, screen, key, what="strata")
    return tuple(dict.fromkeys(keys))


def tell_of_column(adata: AnnData, screen: Screen, key: str, *, what: str) -> None:
    """Log which values of a column that is not recorded are groups by mistake."""
    if key not in screen.columns:
        tell_of_groups(raw_counts(adata.obs[key]), key=key, what=what)


def strata_of(adata: AnnData, keys: tuple[str, ...], *, used: Bools) -> tuple[Ints, list[str]]:
    """Return the (n_obs,) stratum of each cell, all 0 without `keys`, and the names of the strata.

    Parameters
    ----------
    adata
        Screen.
    keys
        Columns of ``obs``.
    used
        (n_obs,) cells that need a value.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a cell that is used has no value.
    """
    if not keys:
        return np.zeros(adata.n_obs, dtype=np.int64), ["all"]
    check_columns(adata, [("strata", key) for key in keys])
    missing = adata.obs[list(keys)].isna().any(axis=1).to_numpy() & used
    if missing.any():
        msg = (
            f"{int(missing.sum())} cells have no value in strata={list(keys)}: drop them with "
            f"{dropped(keys)}, fill in a value of their own, or leave the column out of strata="
        )
        raise ValueError(msg)
    return joined(adata.obs[list(keys)])


def make_plan(
    adata: AnnData, labels: Labels, *, strata: tuple[str, ...], depth_key: str | None
) -> Plan:
    """Return the Plan of a screen.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a stratum has too few controls, a stratum label is missing, a depth is missing or not
        positive, or the depths of a stratum's controls are too few to adjust for.
    """
    group = labels.code.copy()
    stratum, names = strata_of(adata, strata, used=group >= 0)
    basis = (
        np.ones((adata.n_obs, 1)) if depth_key is None else _depth_basis(adata, depth_key, labels)
    )
    need = LEAST_CONTROLS + (0 if depth_key is None else 3 * basis.shape[1])
    control = np.bincount(stratum[labels.is_control], minlength=len(names))
    cells = np.bincount(stratum[group >= 0], minlength=len(names))
    poor = np.flatnonzero((control < need) & (cells > control))
    if len(poor) and not strata:
        msg = (
            f"the screen has {control[0]} control cells, and {need} are needed to compare with; "
            "name more labels of unperturbed cells in control="
        )
        raise ValueError(msg)
    if len(poor):
        what = ", ".join(
            f"{names[i]!r} ({control[i]} controls, {cells[i] - control[i]} perturbed)"
            for i in poor[:6]
        )
        msg = (
            f"strata {list(strata)} need at least {need} control cells each; too few in {what}"
            f"{' and others' if len(poor) > 6 else ''}. Drop these cells, or pass strata=None "
            "to pool the controls"
        )
        raise ValueError(msg)
    lonely = np.isin(
        stratum, np.flatnonzero(cells == control)
    )  # strata without perturbed cells say nothing
    if len(names) > 1 and len(labels.names):  # of controls only, all strata say something
        group[lonely & labels.is_control] = -1
    if depth_key is not None:
        used = np.where(group == len(labels.names), stratum, -1)
        _check_depths(basis, depth_key, used, names)
    kept, stratum = np.unique(
        np.where(group >= 0, stratum, stratum[group >= 0][0]), return_inverse=True
    )
    names = adata.obs_names
    return Plan(group, len(labels.names), stratum.astype(np.int64), len(kept), basis, names)


def codes(adata: AnnData, key: str) -> Ints:
    """Return (n_obs,) codes of an obs column, -1 where it is missing."""
    key_in(key, adata.obs.columns, where="adata.obs")
    return np.asarray(pd.factorize(adata.obs[key], sort=True)[0], dtype=np.int64)


def depth(adata: AnnData, key: str) -> Floats:
    """Return (n_obs,) natural logarithms of a positive obs column.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If it is not numeric, or missing, not positive or infinite for some cells.
    """
    key_in(key, adata.obs.columns, where="adata.obs")
    if not pd.api.types.is_numeric_dtype(adata.obs[key]):
        msg = (
            f"adata.obs[{key!r}] is not numeric; the depth must be counts per cell, such as "
            "'total_counts'"
        )
        raise ValueError(msg)
    values = adata.obs[key].to_numpy(dtype=np.float64)
    bad = ~((values > 0) & np.isfinite(values))
    if bad.any():
        msg = (
            f"adata.obs[{key!r}] is missing, not positive or infinite for {int(bad.sum())} cells; "
            "drop them before adjusting"
        )
        raise ValueError(msg)
    return np.log(values)


def _depth_basis(adata: AnnData, key: str, labels: Labels) -> Floats:
    """Cubic polynomial in the standardised log depth, held at the ends of the controls' range."""
    log = depth(adata, key)
    control = log[labels.is_control]
    spread = float(control.std())
    if np.ptp(control) == 0:
        msg = f"all controls have the same {key!r}; there is no depth to adjust for"
        raise ValueError(msg)
    low, high = np.quantile(control, [0.005, 0.995])
    z = (np.clip(log, low, high) - control.mean()) / spread
    return np.vander(z, 4, increasing=True)


def _check_depths(basis: Floats, key: str, stratum: Ints, names: list[str]) -> None:
    """Raise ``ValueError`` if the controls of a stratum have too few depths to fit a curve to.

    Parameters
    ----------
    basis
        (n_obs, q) polynomial in the depth.
    key
        Column of the depth.
    stratum
        (n_obs,) stratum of every control cell, -1 for all other cells.
    names
        Names of the strata.
    """
    for cells in members(stratum):
        of, own = stratum[cells[0]], basis[cells]
        if of >= 0 and np.linalg.matrix_rank(own) < basis.shape[1]:
            n = len(np.unique(own[:, 1]))
            msg = (
                f"depth_key={key!r}: the controls of stratum {names[of]!r} have {n} different "
                f"depths, and {basis.shape[1]} are needed to adjust for depth; name a column of "
                "counts per cell, or leave depth_key out"
            )
            raise ValueError(msg)
