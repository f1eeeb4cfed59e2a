"""Raw counts in a suite of another package that normalises them itself: as that package does it.

cell-eval scales every cell of an AnnData to the median total of that AnnData, and takes log(1 + x).
Cells without counts enter the median of a sparse matrix and not that of a dense one, as in scanpy.
The real cells, the predicted cells and those that its baseline is
made of are three AnnDatas, each with a median of its own. Several contexts are as many runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._keys import SPLIT
from .._logging import logger
from ..core._matrix import as_rows, choose
from ..core._population import SPLITS, population, read_once
from ..core._scale import look, require_kind
from ..metrics._cells import repeated, sizes_of
from ..metrics._comparison import Populations
from ._checks import whole_numbers
from ._condition_means import ConditionMeans
from ._task import take

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints, Matrix
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
        _screen_of(adata, log_normalised(values, _targets(values, chosen | control, context)))
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
    totals = [_totals(cells) for cells in several]
    targets = [
        _median(
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


def log_normalised(counts: Matrix, targets: Floats) -> Matrix:
    """Return log(1 + x) of cells that are scaled to a number of counts, as scanpy computes it.

    Parameters
    ----------
    counts
        (n, d) counts, dense or CSR. Whole number types become float32, as in scanpy.
    targets
        (n,) counts of each cell after scaling.
    """
    floating = np.issubdtype(counts.dtype, np.floating)
    values = counts.copy() if floating else counts.astype(np.float32)
    factor = _totals(counts) / targets
    factor = np.where(factor > 0, factor, 1.0).astype(values.dtype)
    if sparse.issparse(values):
        values.data /= np.repeat(factor, np.diff(values.indptr))
        values.data = np.log1p(values.data)
        return values
    return np.log1p(values / factor[:, None])


def _targets(counts: Matrix, chosen: Bools, context: Ints) -> Floats:
    """Return (n,) medians of the totals of the chosen cells of the context of each cell."""
    totals, of_sparse = _totals(counts), sparse.issparse(counts)
    targets = np.full(len(totals), _median(totals[chosen], of_sparse=of_sparse))
    for code in np.unique(context[chosen]):
        here = context == code
        targets[here] = _median(totals[chosen & here], of_sparse=of_sparse)
    return targets


def _median(totals: Floats, *, of_sparse: bool) -> float:
    """Return the median of the totals, or 1 if there is none."""
    some = totals if of_sparse else totals[totals > 0]
    return float(np.median(some)) if some.any() else 1.0


def _totals(counts: Matrix) -> Floats:
    return np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()


def _screen_of(adata: AnnData, values: Any) -> AnnData:
    """Return the screen with other values in ``X``."""
    from anndata import AnnData

    return AnnData(values, obs=adata.obs.copy(), var=adata.var[[]].copy(), uns=dict(adata.uns))
