"""False discovery rates over the genes of each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Bools, Floats


def benjamini_hochberg(pvalue: Floats, *, mask: Bools | None = None) -> Floats:
    """Adjust p-values over the genes of every group, one group at a time.

    Parameters
    ----------
    pvalue
        (n_groups, n_genes) p-values; NaN where there was no test.
    mask
        (n_groups, n_genes) booleans: the genes that were tested. All by default.

    Returns
    -------
    (n_groups, n_genes) false discovery rates. NaN for genes that `mask` leaves out and for p-values
    that are NaN.

    Raises
    ------
    ValueError
        If the shapes differ, or a p-value is not between 0 and 1.

    References
    ----------
    Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._fdr import benjamini_hochberg
    >>> benjamini_hochberg(np.array([[0.01, 0.02, 0.5]])).round(3)
    array([[0.03, 0.03, 0.5 ]])
    """
    pvalue = np.asarray(pvalue, dtype=np.float64)
    tested = ~np.isnan(pvalue)
    if mask is not None:
        if np.shape(mask) != pvalue.shape:
            msg = f"mask must have the shape of pvalue, {pvalue.shape}, not {np.shape(mask)}"
            raise ValueError(msg)
        tested &= mask
    odd = int(((pvalue < 0) | (pvalue > 1))[tested].sum())
    if odd:
        msg = f"{odd} p-values are not between 0 and 1"
        raise ValueError(msg)
    order = np.argsort(np.where(tested, pvalue, np.inf), axis=1)
    n, rank = tested.sum(axis=1, keepdims=True), np.arange(1, pvalue.shape[1] + 1)
    ordered = np.where(rank <= n, np.take_along_axis(pvalue, order, axis=1), 1.0) * (n / rank)
    adjusted = np.minimum(
        np.minimum.accumulate(np.where(rank <= n, ordered, 1.0)[:, ::-1], axis=1)[:, ::-1], 1.0
    )
    fdr = np.empty(pvalue.shape)
    np.put_along_axis(fdr, order, adjusted, axis=1)
    return np.where(tested, fdr, np.nan)
