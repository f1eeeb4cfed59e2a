"""Signs that values are not logged, though none of them is large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from .._typing import Floats, Matrix

Sign: TypeAlias = Literal["", "totals", "wholes", "spread"]
SAMPLE = 256  # most cells that the signs of linear values are looked for in
FEWEST_CELLS, FEWEST_FEATURES = 20, 8  # below these a matrix shows none of the signs
WHOLE_SHARE = 0.2  # share of whole numbers among values above 0; logarithms have next to none
ALIKE = 1e-4  # relative difference of totals that are the same, in single precision
OFTEN_ON = 0.6  # share of cells in which a feature is above 0, if its spread is looked at
UNIT = 1.1  # a count of 1 is at most about 1 where counts were corrected and not scaled up
AS_COUNTS = 0.85  # variance by mean over cells: 1 or more of counts, .3 to .8 of their logarithms
ZEROS = 0.05  # counts have zeros; positive values without any may be anything
WIDE = 0.7  # variance by mean of all values above 0, over features: .8 or more of counts


def sign_of(block: Matrix) -> Sign:
    """Return what tells that values below 20 are not logged; ``""`` for nothing.

    Up to 256 cells are looked at, evenly spaced in the block. ``benchmarks/scales.py`` prints what
    the signs say of real screens under all common transformations.

    - The totals of normalised cells are all the same. Those of logarithms are not.
    - Counts that were estimated (alevin) are whole numbers in good part. Logarithms are not, but
      log2(1 + count) and the roots of counts are; these are recognised by the counts behind them.
    - The variance of a count is its mean or more. That of its logarithm is far less, in features
      that most cells express.
    """
    n = int(block.shape[0])
    rows = block[:: -(-n // SAMPLE)]
    cells = np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float64)
    if cells.shape[0] < FEWEST_CELLS or cells.shape[1] < FEWEST_FEATURES:
        return ""
    has_zeros = bool((cells == 0).mean() >= ZEROS)
    if has_zeros and _same_totals(cells):
        return "totals"
    positive = cells[cells > 0]
    if _often_whole(positive):
        return "wholes"
    return "spread" if has_zeros and _spread_as_counts(cells, positive) else ""


def _same_totals(cells: Floats) -> bool:
    """Return whether cells that differ have one total above 1, which is that of proportions."""
    total, top = cells.sum(axis=1), cells.max(axis=1)
    alike, differ = np.ptp(total) < ALIKE * total.max(), np.ptp(top) > ALIKE * top.max()
    return bool(alike and differ and total.max() > 1 + ALIKE)


def _often_whole(positive: Floats) -> bool:
    """Return whether many values are whole numbers, several of them, and no logarithms or roots."""
    whole, n = np.unique(positive[positive == np.rint(positive)], return_counts=True)
    if len(whole) < 2 or n.sum() <= WHOLE_SHARE * len(positive):
        return False
    if n.sum() - n.max() <= WHOLE_SHARE / 4 * len(positive):
        return False
    return not any(map(_are_whole, (positive**2, 2**positive - 1)))


def _spread_as_counts(cells: Floats, positive: Floats) -> bool:
    """Return whether features that most cells express vary by their mean or more."""
    often = cells[:, (cells > 0).mean(axis=0) >= OFTEN_ON]
    if often.shape[1] < FEWEST_FEATURES or np.quantile(positive, 0.1) > UNIT:
        return False
    if positive.var() < WIDE * positive.mean():
        return False
    return bool(np.median(often.var(axis=0, ddof=1) / often.mean(axis=0)) >= AS_COUNTS)


def _are_whole(values: Floats) -> bool:
    return bool((np.abs(values - np.rint(values)) <= 1e-5 * (1 + values)).all())
