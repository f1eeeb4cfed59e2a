"""P-values adjusted for the number of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats

CORRECTIONS = ("fdr_bh", "fdr_by", "holm", "holm-sidak", "sidak", "bonferroni")


def adjusted(pvalue: Floats, correction: str) -> Floats:
    """Return p-values adjusted by a method of ``statsmodels.stats.multitest.multipletests``.

    Parameters
    ----------
    pvalue
        (n,) p-values. A NaN stands for a test that was not made: it stays NaN and does not count.
    correction
        One of :data:`CORRECTIONS`.
    """
    from statsmodels.stats.multitest import multipletests

    found, known = np.full(len(pvalue), np.nan), np.isfinite(pvalue)
    if known.any():
        with np.errstate(divide="ignore"):  # Šidák takes the logarithm of 1 - p, also of p = 1
            found[known] = multipletests(pvalue[known], method=correction)[1]
    return found
