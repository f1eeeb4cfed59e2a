"""Highly variable genes, by scanpy's ``"seurat"`` flavour, from one walk in double precision."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from ..core._block_sums import add_to_groups
from ..core._walk import walk

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints, Matrix
    from ..core._matrix import Rows
    from ..core._walk import Totals, Values

N_BINS = 20  # of mean expression; a gene is compared with those of its bin
ROUNDING = 1e-12  # share of the sum of squares below which a variance is rounding
DIGITS = 9  # of the score: the two genes of a bin of two have +-0.707..., which is a tie


def highly_variable(rows: Rows, fit: Bools, n_top: int, *, base: float | None = None) -> Bools:
    """Return (d,) which features are the most variable ones for their mean, over some rows.

    Mean and variance are those of the values before the logarithm. The dispersion is the logarithm
    of their ratio, standardised among the genes of similar mean. scanpy computes this in the
    precision of the matrix. Here it is double precision whatever the matrix is, so that the genes
    do not depend on how it is stored; they are scanpy's, but for ties.

    Source: satija2015spatial.

    Parameters
    ----------
    rows
        (n_obs, d) log-normalised values.
    fit
        (n_obs,) rows that are looked at, at least 2.
    n_top
        Number of features; more are returned where the last ones tie.
    base
        Base of the logarithm; e if ``None``.
    """
    code = np.where(fit, 0, -1)
    shape = (1, rows.shape[1])
    visit = partial(_add, code, 1.0 if base is None else float(np.log(base)))
    totals = walk(rows, visit, lambda: {"sum": np.zeros(shape), "square": np.zeros(shape)})[0]
    n = int(fit.sum())
    mean = totals["sum"][0] / n
    scatter = totals["square"][0] - n * mean**2
    variance = np.where(scatter > ROUNDING * totals["square"][0], scatter, 0.0) / (n - 1)
    score = _standardised(np.where(mean == 0, 1e-12, mean), variance)
    known = np.sort(score[~np.isnan(score)])[::-1]
    if not len(known):
        return np.zeros(len(score), dtype=bool)
    return np.nan_to_num(score, nan=-np.inf) >= known[min(n_top, len(known)) - 1]


def _add(code: Ints, log_base: float, where: slice, block: Matrix, totals: Totals) -> Values:
    """Add the values of a block before the logarithm, and their squares."""
    linear = block.astype(np.float64)
    if sparse.issparse(linear):
        linear.data = np.expm1(linear.data * log_base)
        square = linear.multiply(linear).tocsr()
    else:
        linear = np.expm1(linear * log_base)
        square = linear**2
    add_to_groups(totals["sum"], linear, code[where])
    add_to_groups(totals["square"], square, code[where])
    return {}


def _standardised(mean: Floats, variance: Floats) -> Floats:
    """Return the dispersion of each gene less the mean of its bin, over the spread of its bin.

    The one gene of a bin has 1; a gene without variance has NaN.
    """
    with np.errstate(divide="ignore"):
        dispersion = np.log(np.where(variance == 0, np.nan, variance / mean))
    bins = pd.Series(dispersion).groupby(pd.cut(np.log1p(mean), N_BINS), observed=False)
    centre, spread = bins.transform("mean").to_numpy(), bins.transform("std").to_numpy()
    alone = np.isnan(spread)
    centre, spread = np.where(alone, 0.0, centre), np.where(alone, dispersion, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(alone & ~np.isnan(dispersion), 1.0, (dispersion - centre) / spread)
    return np.round(score, DIGITS)
