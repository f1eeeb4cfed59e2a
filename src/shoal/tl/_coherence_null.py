"""Does the test hold? Control cells treated as if they were perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._docs import shared
from .._keys import COHERENCE
from .._logging import logger, progress
from .._random import RNGLike, spawn
from .._threads import one_thread
from .._validate import get_adata, text, whole
from ..core._claims import claim_result
from ..core._combinations import as_text
from ..core._design import LEAST_CONTROLS, make_plan, strata_keys, tell_of_column
from ..core._matrix import as_rows
from ..core._order import stable_order
from ..core._plan import Plan
from ..core._results import write_table
from ..core._screen import labels, resolve
from ..core._screen_checks import check_columns
from ._features import features
from ._measure import measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from mudata import MuData

    from .._typing import Bools, Ints, Matrix
    from ..core._screen import Screen

ALPHAS = (0.05, 0.01)


@one_thread()
@shared()
def coherence_null(
    data: AnnData | MuData,
    perturbation_key: str | None = None,
    *,
    control: str | Sequence[str] | None = None,
    n_cells: Sequence[int] = (30, 100, 300),
    n_draws: int = 400,
    by: str | None = "auto",
    layer: str | None = None,
    use_rep: str | None = None,
    strata: str | Sequence[str] | None = "auto",
    depth_key: str | None = None,
    min_cells: int = 20,
    rng: RNGLike = 0,
    key_added: str | None = None,
    overwrite: bool = False,
    mod: str | None = None,
) -> None:
    """Check the null distribution of the coherence test on the screen's own control cells.

    Random sets of control cells take the place of a perturbation. They are measured against the
    remaining controls, exactly as perturbations are by :func:`shoal.tl.coherence`. Nothing was done
    to them, so a fraction alpha of the tests should reject at level alpha.

    Each label of the column `by`, such as each non-targeting guide or each donor, is also left out
    in turn and measured against the others. A guide that rejects has an effect of its own. A donor
    nearly always rejects. Where labels reject, cells are not replicates, and ``pvalue_replicate``
    of :func:`shoal.tl.coherence` is the p-value to read.

    Parameters
    ----------
    data
        Screen, prepared as for :func:`shoal.tl.coherence`.
    perturbation_key, control
        {design}
    n_cells
        Sizes of the random sets, 2 or more. A size above half the controls is left out, and so is
        one for which strata would keep too few of them.
    n_draws
        Random sets of each size.
    by
        Column of ``obs`` whose labels are left out one at a time. Labels of fewer than `min_cells`
        cells that can be compared are passed over.

        - ``"auto"``: the recorded guides, if the controls have two or more, else the labels of the
          control, if there are several.
        - ``None``: none.
    layer, use_rep
        As in :func:`shoal.tl.coherence`.
    strata
        {strata}
    depth_key, min_cells
        As in :func:`shoal.tl.coherence`.
    rng
        Seed or generator. One generator is spawned for each set.
    key_added
        Name of the result. By default ``"coherence_null"``.
    overwrite
        {overwrite}
    mod
        {mod}

    Returns
    -------
    Nothing; writes

    ``uns[key_added]["table"]`` : DataFrame, one row per set of control cells
        ``held_out`` (``"random split"``, or the label that was left out), ``n_cells``, ``kappa``,
        ``pvalue``, ``residual_pvalue``, ``magnitude``.
    ``uns[key_added]["rates"]`` : DataFrame, one row per left-out population, size and level
        ``held_out``, ``n_cells`` (0 for all labels together), ``alpha``, ``n_draws``,
        ``n_rejected``, ``rate`` and its exact binomial interval ``ci_low``, ``ci_high``.

    Raises
    ------
    KeyError
        If a column or slot does not exist.
    TypeError
        If a number is no number.
    ValueError
        If there are too few controls for any of the sizes, if a number is not whole or too small,
        or if no label of `by` can be compared with others, as where `by` makes the strata.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.simulate_gaussian(n_perturbations=2, n_cells=50, n_control=300, rng=0)
    >>> sh.tl.coherence_null(adata, "perturbation", control="control", n_cells=[50], n_draws=20)
    >>> rates = adata.uns["coherence_null"]["rates"]
    """
    adata = get_adata(data, mod)
    n_draws = whole(n_draws, name="n_draws")
    min_cells = whole(min_cells, name="min_cells")
    wanted = np.atleast_1d(np.asarray(n_cells, dtype=object))
    if not len(wanted):
        msg = "n_cells is empty; name at least one number of cells, as in n_cells=[30, 100]"
        raise ValueError(msg)
    for n in wanted:
        whole(n, name="n_cells", least=2)
    screen = resolve(adata, perturbation_key, control=control)
    key = claim_result(
        adata,
        f"{COHERENCE}_null" if key_added is None else key_added,
        schema="coherence_null/1",
        screen=screen,
        overwrite=overwrite,
    )
    labelled = labels(adata, screen)
    keys = strata_keys(adata, screen, strata)
    plan = make_plan(adata, labelled, strata=keys, depth_key=depth_key)
    rows, slot, _ = features(
        adata, screen, labelled.names, layer=layer, use_rep=use_rep, exclude=None
    )
    order = stable_order(adata)
    cells = order[plan.is_control[order]]
    label_key, named = _labels_to_leave_out(adata, screen, plan, cells, by, min_cells, keys)
    sizes = _usable(n_cells, plan.stratum[cells])
    if not sizes and not named:
        msg = (
            f"{len(cells)} controls are too few for pseudo-perturbations of {n_cells} "
            "cells; pass a smaller n_cells"
        )
        raise ValueError(msg)
    block = rows.take(np.sort(cells))[np.argsort(np.argsort(cells))]
    draws = list(
        _random_sets(plan.stratum[cells], sizes, n_draws, spawn(rng, len(sizes) * n_draws))
    )
    draws += named
    found_rows = [
        {
            "held_out": held_out,
            "n_cells": n,
            **_measure_one(block, plan, cells, chosen, min(min_cells, n), slot=slot),
        }
        for held_out, n, chosen in progress(draws, total=len(draws), desc="null")
    ]
    columns = ["held_out", "n_cells", "kappa", "pvalue", "residual_pvalue", "magnitude"]
    table = pd.DataFrame(found_rows, columns=columns)
    params = {
        **screen.params(),
        "n_draws": n_draws,
        "by": label_key,
        "slot": slot,
        "strata": keys,
        "depth_key": depth_key,
        "n_control": len(cells),
    }
    write_table(
        adata,
        key,
        table,
        schema="coherence_null/1",
        params=params,
        rates=_rates(table),
    )


def _random_sets(
    stratum: Ints, sizes: list[int], n_draws: int, rngs: list[np.random.Generator]
) -> Iterator[tuple[str, int, Bools]]:
    """Draw sets of controls that leave every stratum enough controls to be compared with."""
    per_stratum = np.bincount(stratum)
    for i, n in enumerate(sizes):
        for rng in rngs[i * n_draws : (i + 1) * n_draws]:
            order = rng.permutation(len(stratum))
            rank = np.empty(
                len(stratum), dtype=np.int64
            )  # position of a cell within its stratum, in random order
            for h in range(len(per_stratum)):
                inside = order[stratum[order] == h]
                rank[inside] = np.arange(len(inside))
            free = order[rank[order] < (per_stratum - LEAST_CONTROLS)[stratum[order]]]
            chosen = np.zeros(len(stratum), dtype=bool)
            chosen[free[:n]] = True
            yield "random split", n, chosen


def _usable(n_cells: int | Sequence[int], stratum: Ints) -> list[int]:
    """Return the sizes that leave half of the controls, and enough of every stratum."""
    free = int(np.maximum(np.bincount(stratum) - LEAST_CONTROLS, 0).sum())
    most = min(free, len(stratum) // 2)
    sizes = [int(n) for n in np.atleast_1d(n_cells)]
    if max(sizes, default=0) > most:
        logger.info(
            "sizes %s are left out: sets of control cells may have %d cells here",
            [n for n in sizes if n > most],
            most,
        )
    return [n for n in sizes if n <= most]


def _labels_to_leave_out(
    adata: AnnData,
    screen: Screen,
    plan: Plan,
    cells: Ints,
    by: str | None,
    min_cells: int,
    strata: tuple[str, ...],
) -> tuple[str | None, list[tuple[str, int, Bools]]]:
    """Return the column whose labels are left out, and the set of each label.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If the column was asked for, and none of its labels can be compared with others.
    """
    if by is None:
        return None, []
    text(by, name="by")
    automatic = by == "auto" and by not in adata.obs
    for key in (screen.guide_key, screen.perturbation_key) if automatic else (by,):
        if key is not None:
            check_columns(adata, [("by", key)])
            tell_of_column(adata, screen, key, what="replicates")
            found = list(_label_sets(adata.obs[key].iloc[cells], plan, cells, min_cells))
            if found:
                return key, found
    if automatic:
        return None, []
    key = by
    several = adata.obs[key][labels(adata, screen).is_control].nunique()
    if several < 2:
        why = f"the controls have {several} label of it"
    elif strata:
        why = (
            f"within the strata {list(strata)} no label has {min_cells} cells beside other "
            "controls. Pass strata=None to compare across strata, or the column of guides or "
            "donors"
        )
    else:
        why = f"no label has {min_cells} cells and leaves {LEAST_CONTROLS} other controls"
    msg = f"by={key!r}: no label can be left out and compared with the other controls: {why}"
    raise ValueError(msg)


def _label_sets(
    column: pd.Series, plan: Plan, cells: Ints, min_cells: int
) -> Iterator[tuple[str, int, Bools]]:
    """Leave each label out in turn, unless it has too few cells or leaves too few."""
    text = column.astype(object).map(as_text, na_action="ignore")
    for label in sorted(set(text.dropna()) - {""}):
        chosen = (text == label).to_numpy()
        n = int((chosen & _has_others(plan, cells, chosen)[plan.stratum[cells]]).sum())
        if n >= min_cells and (~chosen).sum() >= LEAST_CONTROLS:
            yield label, n, chosen


def _has_others(plan: Plan, cells: Ints, chosen: Bools) -> Bools:
    """Return (n_strata,) whether enough controls that are not chosen are left."""
    left = np.bincount(plan.stratum[cells[~chosen]], minlength=plan.n_strata)
    return left > plan.basis.shape[1]


def _measure_one(
    block: Matrix, plan: Plan, cells: Ints, chosen: Bools, min_cells: int, *, slot: str
) -> dict[str, float]:
    """Measure one set of control cells against the others.

    Cells of strata that have no other controls are left out.
    """
    stratum = plan.stratum[cells]
    left = _has_others(plan, cells, chosen)
    group = np.where(left[stratum], np.where(chosen, 0, 1), -1)
    stratum = np.cumsum(left)[stratum] - 1
    basis, names = plan.basis[cells], None if plan.names is None else plan.names[cells]
    pseudo = Plan(group, 1, np.maximum(stratum, 0), int(left.sum()), basis, names)
    columns = measure(as_rows(block, slot=slot), pseudo, min_cells=min_cells, cross={}).columns
    return {
        name: float(columns[name][0])
        for name in ("kappa", "pvalue", "residual_pvalue", "magnitude")
    }


def _rates(table: pd.DataFrame) -> pd.DataFrame:
    """Count rejections of each kind of pseudo-perturbation, with exact binomial intervals."""
    from scipy import stats

    random = table["held_out"] == "random split"
    groups = [("random split", int(n), part) for n, part in table[random].groupby("n_cells")]
    if (~random).any():
        groups.append(("left-out labels", 0, table[~random]))
    rates = []
    for held_out, n, part in groups:
        tested = part["pvalue"].dropna()
        for alpha in ALPHAS:
            hits = int((tested < alpha).sum())
            ci = (
                stats.binomtest(hits, len(tested)).proportion_ci()
                if len(tested)
                else (np.nan, np.nan)
            )
            rate = hits / len(tested) if len(tested) else np.nan
            rates.append((held_out, n, alpha, len(tested), hits, rate, *ci))
    names = ["held_out", "n_cells", "alpha", "n_draws", "n_rejected", "rate", "ci_low", "ci_high"]
    return pd.DataFrame(rates, columns=names)
