"""Differential expression, predicted against real: which genes respond, which way and how strongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._lists import average_precision, by_row, checked_tables, first_hits, roc_area, spearman

if TYPE_CHECKING:
    from .._typing import Bools, Floats

ALPHA = 0.05


def de_auprc(
    predicted: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    r"""Average precision with which predicted evidence finds the genes that really respond.

    Genes are sorted by predicted evidence; :math:`\sum_i (R_i - R_{i-1}) P_i` over the distinct values, with precision P and
    recall R for a real FDR below `alpha` as truth. From 0 to 1, higher is better, 1 perfect. **Chance is not 1/2 but the
    share of genes that respond**, so values of two perturbations do not compare; that of a constant prediction is exactly
    that share. It does not see the direction of an effect, and a real test on few cells finds few genes.

    Parameters
    ----------
    predicted
        (P, G) evidence, larger for more: absolute z. Avoid -log10 p, which ties all genes whose p is 0 in float64.
    real_fdr
        (P, G) false discovery rates of the real cells.
    mask
        (P, G) genes that count, all by default; leave out the target of the perturbation.
    alpha
        Level of significance.

    Returns
    -------
    (P,) average precision; NaN where no gene that counts, or every one, responds.

    Raises
    ------
    ValueError
        If shapes differ, or a value that counts is not finite or, as an FDR, not between 0 and 1.

    References
    ----------
    Miller et al. (2025); cell-eval's ``pr_auc``, with ``-log10(clip(FDR, 1e-10, 1))`` as the evidence.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._de import de_auprc
    >>> de_auprc(np.array([[9.0, 5, 7, 1]]), np.array([[0.01, 0.01, 0.9, 0.9]])).round(4)
    array([0.8333])
    """
    tables, counted = checked_tables({"predicted": predicted, "real_fdr": real_fdr}, mask, alpha)
    return by_row(lambda score, fdr: average_precision(score, fdr < alpha), tables, counted)


def de_roc_auc(
    predicted: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Probability that a gene that really responds has more predicted evidence than one that does not, ties half.

    From 0 to 1, higher is better, 1 perfect, 1/2 by chance. Where few genes respond it looks good long before the top of
    the list does; :func:`de_auprc` looks at the top.

    Parameters
    ----------
    predicted, real_fdr, mask, alpha
        As for :func:`de_auprc`.

    Returns
    -------
    (P,) areas; NaN where no gene that counts, or every one, responds.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._de import de_roc_auc
    >>> de_roc_auc(np.array([[9.0, 5, 7, 1]]), np.array([[0.01, 0.01, 0.9, 0.9]]))
    array([0.75])
    """
    tables, counted = checked_tables({"predicted": predicted, "real_fdr": real_fdr}, mask, alpha)
    return by_row(lambda score, fdr: roc_area(score, fdr < alpha), tables, counted)


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
    """Share of the strongest real responders that are among as many of the strongest predicted ones.

    Both lists hold significant genes only, by falling absolute effect. With K = min(k, real hits), or all real hits
    without `k`, the value is ``|first K real ∩ first K predicted| / K``; a predicted list may be shorter than K. From 0 to
    1, higher is better, 1 perfect; by chance about the share of genes in the predicted list. Genes tied at the end of a
    list share the places that are left, so the order of the genes does not matter.

    It misleads where predicted cells vary too little, for then every gene is significant, and the fold changes of genes
    that are hardly expressed fill the lists. **Precision at k** of cell-eval is this function with predicted and real
    exchanged.

    Parameters
    ----------
    predicted, real
        (P, G) signed effects, such as log fold changes.
    predicted_fdr, real_fdr
        (P, G) false discovery rates.
    k
        Longest list; ``None`` for as many as there are real hits (the DE score of the Virtual Cell Challenge).
    mask, alpha
        As for :func:`de_auprc`.

    Returns
    -------
    (P,) shares; NaN where no gene that counts responds, 0 where none is predicted to.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`, and if `k` is below 1.

    References
    ----------
    cell-eval, ``overlap_at_N``, ``overlap_at_k`` and ``precision_at_k``, which give 0 where this gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._de import de_overlap
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


def de_lfc_spearman(
    predicted: Floats,
    real: Floats,
    *,
    real_fdr: Floats,
    mask: Bools | None = None,
    alpha: float = ALPHA,
) -> Floats:
    """Spearman correlation of predicted and real effects over the genes that really respond.

    From -1 to 1, higher is better, 1 perfect, 0 by chance. Genes were chosen because the real effect is large, and up and
    down genes make two clouds: predicting no more than the sign of a response already correlates.

    Parameters
    ----------
    predicted, real
        (P, G) signed effects, such as log fold changes.
    real_fdr, mask, alpha
        As for :func:`de_auprc`.

    Returns
    -------
    (P,) correlations; NaN where fewer than 2 genes respond, or where predicted or real effects are all the same.

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
    >>> from shoal.metrics._de import de_lfc_spearman
    >>> de_lfc_spearman(
    ...     np.array([[1.0, 2, 9]]), np.array([[2.0, 4, 1]]), real_fdr=np.array([[0.01, 0.01, 0.9]])
    ... ).round(6)
    array([1.])
    """
    tables, counted = checked_tables(
        {"predicted": predicted, "real": real, "real_fdr": real_fdr}, mask, alpha
    )
    return by_row(lambda a, b, fdr: spearman(a[fdr < alpha], b[fdr < alpha]), tables, counted)


def de_direction(
    predicted: Floats,
    real: Floats,
    *,
    real_fdr: Floats,
    mask: Bools | None = None,
    alpha: float = ALPHA,
) -> Floats:
    """Share of the genes that really respond whose predicted effect has the same sign.

    From 0 to 1, higher is better, 1 perfect, 1/2 for coin tosses. A predicted effect of exactly 0 is wrong, unless the real
    one is 0 too. Where most responses go one way, a prediction of that one sign for every gene scores high.

    Parameters
    ----------
    predicted, real, real_fdr, mask, alpha
        As for :func:`de_lfc_spearman`.

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
    >>> from shoal.metrics._de import de_direction
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


def de_recall(
    predicted_fdr: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Share of the genes that really respond that are significant in the predicted cells.

    From 0 to 1, higher is better, 1 perfect. Calling every gene is perfect too: read it beside :func:`de_count_error`.

    Parameters
    ----------
    predicted_fdr, real_fdr
        (P, G) false discovery rates; of equal numbers of cells, on which significance depends.
    mask, alpha
        As for :func:`de_auprc`.

    Returns
    -------
    (P,) shares; NaN where no gene that counts responds.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    References
    ----------
    cell-eval, ``de_sig_genes_recall``.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._de import de_recall
    >>> de_recall(np.array([[0.01, 0.5, 0.5, 0.01]]), np.array([[0.01, 0.01, 0.5, 0.5]]))
    array([0.5])
    """
    tables, counted = checked_tables(
        {"predicted_fdr": predicted_fdr, "real_fdr": real_fdr}, mask, alpha
    )
    return by_row(
        lambda p, r: float((p[r < alpha] < alpha).mean()) if (r < alpha).any() else np.nan,
        tables,
        counted,
    )


def de_count_error(
    predicted_fdr: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Log2 ratio of the numbers of significant genes, predicted over real, with 1 added to both.

    0 is perfect; +1 is twice as many genes as there are, -1 half as many. Predicted cells that vary too little have far
    too many; a prediction of control cells has none.

    Parameters
    ----------
    predicted_fdr, real_fdr, mask, alpha
        As for :func:`de_recall`.

    Returns
    -------
    (P,) log ratios, defined also where nothing is significant; NaN where no gene counts.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._de import de_count_error
    >>> de_count_error(np.array([[0.01, 0.01, 0.01, 0.9]]), np.array([[0.01, 0.9, 0.9, 0.9]]))
    array([1.])
    """
    of_predicted, of_real, defined = _counts(predicted_fdr, real_fdr, mask, alpha)
    return np.where(defined, np.log2((of_predicted + 1) / (of_real + 1)), np.nan)


def de_spearman_sig(
    predicted_fdr: Floats,
    real_fdr: Floats,
    *,
    mask: Bools | None = None,
    alpha: float = ALPHA,
    responding_only: bool = False,
) -> float:
    """Spearman correlation, over conditions, of the predicted and the real number of significant genes.

    One number for a screen, -1 to 1, higher is better, 1 perfect, 0 by chance. The number of significant genes follows the
    number of cells: with the cells of a condition equal in both, part of the agreement is that.

    Parameters
    ----------
    predicted_fdr, real_fdr, mask, alpha
        As for :func:`de_recall`.
    responding_only
        Whether conditions without a real hit are left out, as cell-eval does (which says 1 where none is left).

    Returns
    -------
    Correlation; NaN for fewer than 2 conditions, or where all numbers are the same.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._de import de_spearman_sig
    >>> real = np.array([[0.9, 0.9], [0.01, 0.9], [0.01, 0.01]])
    >>> round(de_spearman_sig(real, real), 6)
    1.0
    """
    of_predicted, of_real, defined = _counts(predicted_fdr, real_fdr, mask, alpha)
    kept = defined & (of_real > 0) if responding_only else defined
    return spearman(of_predicted[kept], of_real[kept])


def _counts(
    predicted_fdr: Floats, real_fdr: Floats, mask: Bools | None, alpha: float
) -> tuple[Floats, Floats, Bools]:
    """Return (P,) numbers of predicted and real hits, and where any gene counts."""
    tables, counted = checked_tables(
        {"predicted_fdr": predicted_fdr, "real_fdr": real_fdr}, mask, alpha
    )
    of_predicted, of_real = (
        ((table < alpha) & counted).sum(axis=1).astype(np.float64) for table in tables
    )
    return of_predicted, of_real, np.asarray(counted.any(axis=1))
