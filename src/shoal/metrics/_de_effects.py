"""Differential expression of predicted against real cells: sizes and signs of effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arguments import arrays
from ._de import ALPHA
from ._lists import by_row, checked_tables, first_hits, spearman
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats


@arrays
@documented
def de_overlap(
    predicted: Floats,
    real: Floats,
    *,
    predicted_fdr: Floats,
    real_fdr: Floats,
    k: int | None = None,
    mask: Bools | None = None,
    alpha: float = ALPHA,
) -> Floats:
    """Share of the strongest real genes that are also among the strongest predicted genes.

    Both lists hold significant genes only, sorted by falling absolute effect. Let K be the number
    of real hits, or min(k, real hits) if `k` is given. The value is
    ``|first K real ∩ first K predicted| / K``. The predicted list may be shorter than K. Genes tied
    at the end of a list share the places that are left, so the order of the genes does not matter.
    From 0 to 1; higher is better and 1 is perfect. Chance is about the share of genes in the
    predicted list.

    It misleads where predicted cells vary too little. Then every gene is significant, and genes
    that are hardly expressed fill the lists with large fold changes.

    **Precision at k** of cell-eval is this function with predicted and real exchanged.

    Parameters
    ----------
    predicted
        (P, G) signed effects in the predicted cells, such as log fold changes.
    real
        (P, G) signed effects in the real cells.
    predicted_fdr
        {predicted_fdr}
    real_fdr
        {real_fdr}
    k
        Longest list. With ``None`` it is the number of real hits: the DE score of the Virtual Cell
        Challenge.
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) shares; NaN where no gene that counts responds, 0 where none is predicted to respond.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`, and if `k` is below 1.

    References
    ----------
    cell-eval's ``overlap_at_N``, ``overlap_at_k`` and ``precision_at_k``. They give 0 where this
    gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_overlap
    >>> fdr = np.array([[0.01, 0.01, 0.01, 0.9]])
    >>> de_overlap(
    ...     np.array([[1.0, 2, 3, 4]]),
    ...     np.array([[3.0, -2, 1, 9]]),
    ...     predicted_fdr=fdr,
    ...     real_fdr=fdr,
    ...     k=2,
    ... )
    array([0.5])
    """
    if k is not None and k < 1:
        msg = f"k must be at least 1, or None for as many genes as respond, not {k!r}"
        raise ValueError(msg)
    named = {
        "predicted": predicted,
        "real": real,
        "predicted_fdr": predicted_fdr,
        "real_fdr": real_fdr,
    }
    tables, counted = checked_tables(named, mask, alpha)

    def share(effect: Floats, truth: Floats, fdr: Floats, true_fdr: Floats) -> float:
        length = (
            int((true_fdr < alpha).sum()) if k is None else min(k, int((true_fdr < alpha).sum()))
        )
        if not length:
            return np.nan
        first = (
            first_hits(np.abs(e), q < alpha, length) for e, q in ((effect, fdr), (truth, true_fdr))
        )
        return float(np.minimum(*first).sum() / length)

    return by_row(share, tables, counted)


@arrays
@documented
def de_lfc_spearman(
    predicted: Floats,
    real: Floats,
    *,
    real_fdr: Floats,
    mask: Bools | None = None,
    alpha: float = ALPHA,
) -> Floats:
    """Spearman correlation of predicted and real effects over the genes that really respond.

    From -1 to 1; higher is better, 1 is perfect and 0 is chance. It flatters a prediction of the
    signs alone: the genes were chosen for a large real effect, so up and down genes form two
    clouds, and to get the signs right is enough for a correlation.

    Parameters
    ----------
    predicted
        (P, G) signed effects in the predicted cells, such as log fold changes.
    real
        (P, G) signed effects in the real cells.
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) correlations; NaN where fewer than 2 genes respond, or all effects on one side are equal.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    References
    ----------
    cell-eval, ``de_spearman_lfc_sig``.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_lfc_spearman
    >>> de_lfc_spearman(
    ...     np.array([[1.0, 2, 9]]), np.array([[2.0, 4, 1]]), real_fdr=np.array([[0.01, 0.01, 0.9]])
    ... ).round(6)
    array([1.])
    """
    tables, counted = checked_tables(
        {"predicted": predicted, "real": real, "real_fdr": real_fdr}, mask, alpha
    )
    return by_row(lambda a, b, fdr: spearman(a[fdr < alpha], b[fdr < alpha]), tables, counted)


@arrays
@documented
def de_direction(
    predicted: Floats,
    real: Floats,
    *,
    real_fdr: Floats,
    mask: Bools | None = None,
    alpha: float = ALPHA,
) -> Floats:
    """Share of the genes that really respond whose predicted effect has the right sign.

    From 0 to 1; higher is better, 1 is perfect and 1/2 is a coin toss. A predicted effect of
    exactly 0 is wrong, unless the real effect is 0 too. Where most responses go one way, a
    prediction of that one sign for every gene scores high.

    Parameters
    ----------
    predicted
        (P, G) signed effects in the predicted cells, such as log fold changes.
    real
        (P, G) signed effects in the real cells.
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) shares; NaN where no gene that counts responds.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    References
    ----------
    cell-eval, ``de_direction_match``.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_direction
    >>> de_direction(
    ...     np.array([[1.0, -2, 9]]),
    ...     np.array([[2.0, 4, 1]]),
    ...     real_fdr=np.array([[0.01, 0.01, 0.9]]),
    ... )
    array([0.5])
    """
    tables, counted = checked_tables(
        {"predicted": predicted, "real": real, "real_fdr": real_fdr}, mask, alpha
    )

    def share(effect: Floats, truth: Floats, fdr: Floats) -> float:
        hit = fdr < alpha
        return float(np.mean(np.sign(effect[hit]) == np.sign(truth[hit]))) if hit.any() else np.nan

    return by_row(share, tables, counted)
