"""Raw counts in a suite of another package that normalises them itself: as that package does it.

cell-eval scales every cell of an AnnData to the median total of that AnnData, and takes log(1 + x).
Cells without counts enter the median of a sparse matrix and not that of a dense one, as in scanpy.
The real cells, the predicted cells and those that its baseline is made of are three AnnDatas, each
with a median of its own. Several contexts are as many runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._keys import SPLIT
from .._logging import logger
from ..core._choose import choose
from ..core._matrix import as_rows
from ..core._population import SPLITS, population, read_once
from ..core._scale import look
from ..core._scale_check import require_kind
from ..metrics._cells import repeated, sizes_of
from ..metrics._comparison import Populations
from ._checks import whole_numbers
from ._condition_means import ConditionMeans
from ._peer_scale import log_normalised, median_total, targets_of, totals_of
from ._task import take

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core._scale import Kind, Scale
    from ..core._screen import Screen
    from ._task import EvaluationTask


@dataclass(frozen=True, eq=False)
class PeerCounts:
    """A screen of raw counts, normalised for the real cells and for the baseline of the package.

    Attributes
    ----------
    real
        The screen in which control cells and cells that are scored give the median.
    baseline
        The screen in which control cells and all others give it.
    """

    real: AnnData
    baseline: AnnData


def peer_counts(
    adata: AnnData, screen: Screen, *, layer: str | None, split: str | None
) -> PeerCounts | None:
    """Return a screen of raw counts as the package normalises it; ``None`` if it holds no counts.

    Raises
    ------
    ValueError
        If the counts are in a file or a dask array.
    """
    matrix, slot = choose(adata, layer=layer)
    rows = as_rows(matrix)
    if look(rows.head()).kind != "counts":
        return None
    if not rows.in_memory:
        msg = (
            f"{slot} holds raw counts, which this suite normalises as its package does, and is not "
            "in memory: load it with adata.to_memory(), or store log-normalised values"
        )
        raise ValueError(msg)
    cells = population(adata, screen, layer=layer)
    scored = cells.perturbed
    if split in SPLITS and SPLIT in adata.obs:
        scored = scored & (cells.split == SPLITS.index(split))
    others = cells.perturbed & ~scored
    logger.info(
        "%s holds raw counts: scaled to their median total and logged, as the package does", slot
    )
    values = rows.matrix
    control, context = cells.labels.is_control, cells.context
    made = (
        _screen_of(adata, log_normalised(values, targets_of(values, chosen | control, context)))
        for chosen in (scored, others if others.any() else scored)
    )
    return PeerCounts(*made)


def refuse_signed(scale: Scale, suite: str) -> None:
    """Raise ``ValueError`` if real values are below 0, of which the package computes nothing."""
    logged: tuple[Kind, ...] = ("log",)
    what = f"suite={suite!r}, as its package,"
    require_kind(scale, slot="the real matrix", what=what, accept=logged)


def predicted_counts(made: Populations) -> Populations:
    """Return predicted counts as the package normalises them; other values as they are."""
    several = (*made.cells, *(made.controls or ()))
    if not whole_numbers(several):
        return made
    group = made.truth.group
    contexts = np.concatenate([group, np.arange(len(several) - len(group))])
    totals = [totals_of(cells) for cells in several]
    targets = [
        median_total(
            np.concatenate([own for own, at in zip(totals, contexts, strict=True) if at == c]),
            of_sparse=sparse.issparse(several[0]),
        )
        for c in range(int(contexts.max()) + 1)
    ]
    cells = [
        log_normalised(own, np.full(own.shape[0], targets[at]))
        for own, at in zip(several, contexts, strict=True)
    ]
    n = len(made.cells)
    return replace(made, cells=cells[:n], controls=cells[n:] or None)


def mean_baseline_of(task: EvaluationTask, counts: PeerCounts) -> Populations:
    """Return the mean baseline of the package, with control cells normalised as its other cells."""
    cells = read_once(population(counts.baseline, task.cells.screen))
    means = ConditionMeans(cells, task.means.training)
    centre = [means.centre(code) for code in task.codes]
    real = task.truth.cells
    made = repeated(centre, sizes_of(real).tolist(), real[0].dtype)
    controls = take(cells.rows, [np.sort(own) for own in task.controls])
    return Populations(task.truth, made, controls=controls)


def _screen_of(adata: AnnData, values: Any) -> AnnData:
    """Return the screen with other values in ``X``."""
    from anndata import AnnData

    return AnnData(values, obs=adata.obs.copy(), var=adata.var[[]].copy(), uns=dict(adata.uns))
