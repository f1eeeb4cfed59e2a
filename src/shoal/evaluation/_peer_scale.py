"""Counts as scanpy normalises them: to the median total of an AnnData, then logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints, Matrix


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
    factor = totals_of(counts) / targets
    factor = np.where(factor > 0, factor, 1.0).astype(values.dtype)
    if sparse.issparse(values):
        values.data /= np.repeat(factor, np.diff(values.indptr))
        values.data = np.log1p(values.data)
        return values
    return np.log1p(values / factor[:, None])


def targets_of(counts: Matrix, chosen: Bools, context: Ints) -> Floats:
    """Return (n,) medians of the totals of the chosen cells of the context of each cell."""
    totals, of_sparse = totals_of(counts), sparse.issparse(counts)
    targets = np.full(len(totals), median_total(totals[chosen], of_sparse=of_sparse))
    for code in np.unique(context[chosen]):
        here = context == code
        targets[here] = median_total(totals[chosen & here], of_sparse=of_sparse)
    return targets


def median_total(totals: Floats, *, of_sparse: bool) -> float:
    """Return the median of the totals, or 1 if there is none."""
    some = totals if of_sparse else totals[totals > 0]
    return float(np.median(some)) if some.any() else 1.0


def totals_of(counts: Matrix) -> Floats:
    """Return (n,) counts of the cells."""
    return np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
