"""Differential expression of predicted against real cells, gene by gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._arguments import arrays
from ._lists import average_precision, by_row, checked_tables, roc_area, spearman
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats

ALPHA = 0.05


@arrays
@documented
def de_auprc(
    predicted: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    r"""Average precision with which predicted evidence finds the genes that really respond.

    Genes are sorted by predicted evidence, and a gene responds if its real FDR is below `alpha`.
    The value is :math:`\sum_i (R_i - R_{i-1}) P_i` over the distinct values of evidence, with
    precision P and recall R. From 0 to 1; higher is better and 1 is perfect.

    **Chance is not 1/2 but the share of genes that respond.** A constant prediction has exactly
    that value, and values of two perturbations do not compare. The metric does not see the
    direction of an effect. A real test on few cells finds few genes.

    Parameters
    ----------
    predicted
        (P, G) evidence, larger for more: absolute z. Avoid -log10 p, which ties all genes whose p
        is 0 in float64.
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) average precisions; NaN where none or all of the genes that count respond.

    Raises
    ------
    ValueError
        If shapes differ, a value that counts is not finite, or an FDR that counts is not between 0
        and 1.

    References
    ----------
    Miller et al. (2025). cell-eval's ``pr_auc`` with ``-log10(clip(FDR, 1e-10, 1))`` as the
    evidence.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_auprc
    >>> de_auprc(np.array([[9.0, 5, 7, 1]]), np.array([[0.01, 0.01, 0.9, 0.9]])).round(4)
    array([0.8333])
    """
    tables, counted = checked_tables({"predicted": predicted, "real_fdr": real_fdr}, mask, alpha)
    return by_row(lambda score, fdr: average_precision(score, fdr < alpha), tables, counted)


@arrays
@documented
def de_roc_auc(
    predicted: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Probability that a gene that responds has more predicted evidence than one that does not.

    A tie counts as half. From 0 to 1; higher is better, 1 is perfect and 1/2 is chance. Where few
    genes respond the value looks good long before the top of the list does; :func:`de_auprc` looks
    at the top.

    Parameters
    ----------
    predicted
        (P, G) evidence, as for :func:`de_auprc`.
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) areas under the ROC curve; NaN where none or all of the genes that count respond.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_roc_auc
    >>> de_roc_auc(np.array([[9.0, 5, 7, 1]]), np.array([[0.01, 0.01, 0.9, 0.9]]))
    array([0.75])
    """
    tables, counted = checked_tables({"predicted": predicted, "real_fdr": real_fdr}, mask, alpha)
    return by_row(lambda score, fdr: roc_area(score, fdr < alpha), tables, counted)


@arrays
@documented
def de_recall(
    predicted_fdr: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Share of the genes that really respond that are significant in the predicted cells.

    From 0 to 1; higher is better and 1 is perfect. A prediction in which every gene is significant
    is perfect too, so read it beside :func:`de_count_error`.

    Parameters
    ----------
    predicted_fdr
        {predicted_fdr}
        Take as many predicted as real cells: significance depends on their number.
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
    cell-eval, ``de_sig_genes_recall``.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_recall
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


@arrays
@documented
def de_count_error(
    predicted_fdr: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Log2 ratio of the numbers of significant genes, predicted over real.

    1 is added to both numbers. 0 is perfect, +1 is twice as many genes as there are and -1 half as
    many. Predicted cells that vary too little have far too many significant genes; a prediction of
    control cells has none.

    Parameters
    ----------
    predicted_fdr
        {predicted_fdr}
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) log ratios, also where nothing is significant; NaN where no gene counts.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_count_error
    >>> de_count_error(np.array([[0.01, 0.01, 0.01, 0.9]]), np.array([[0.01, 0.9, 0.9, 0.9]]))
    array([1.])
    """
    of_predicted, of_real, defined = _counts(predicted_fdr, real_fdr, mask, alpha)
    return np.where(defined, np.log2((of_predicted + 1) / (of_real + 1)), np.nan)


@arrays
@documented
def de_wrong(
    predicted_fdr: Floats, real_fdr: Floats, *, mask: Bools | None = None, alpha: float = ALPHA
) -> Floats:
    """Count the genes that are called wrongly: significant on one side only.

    These are missed genes and false genes together. A prediction of control cells misses all genes
    that respond and calls no false ones, so a prediction that invents a response is worse than that
    where nothing responds. :func:`de_recall` and :func:`de_auprc` do not see false genes there.

    Parameters
    ----------
    predicted_fdr
        {predicted_fdr}
        Take as many predicted as real cells: significance depends on their number.
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}

    Returns
    -------
    (P,) numbers of genes, also where nothing is significant; NaN where no gene counts.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_wrong
    >>> de_wrong(np.array([[0.01, 0.01, 0.5, 0.9]]), np.array([[0.01, 0.9, 0.01, 0.9]]))
    array([2.])
    """
    tables, counted = checked_tables(
        {"predicted_fdr": predicted_fdr, "real_fdr": real_fdr}, mask, alpha
    )
    one, other = (table < alpha for table in tables)
    wrong = ((one != other) & counted).sum(axis=1).astype(np.float64)
    return np.where(counted.any(axis=1), wrong, np.nan)


@arrays
@documented
def de_spearman_sig(
    predicted_fdr: Floats,
    real_fdr: Floats,
    *,
    mask: Bools | None = None,
    alpha: float = ALPHA,
    responding_only: bool = False,
) -> float:
    """Spearman correlation of the numbers of significant genes, over conditions.

    One number for a screen, -1 to 1; higher is better, 1 is perfect and 0 is chance. The number of
    significant genes grows with the number of cells. Where a condition has equally many real and
    predicted cells, part of the agreement comes from that alone.

    Parameters
    ----------
    predicted_fdr
        {predicted_fdr}
    real_fdr
        {real_fdr}
    mask
        {de_mask}
    alpha
        {alpha}
    responding_only
        Whether to leave out conditions without a real hit, as cell-eval does. (cell-eval returns 1
        where none is left.)

    Returns
    -------
    Correlation; NaN for fewer than 2 conditions, or where all numbers on one side are equal.

    Raises
    ------
    ValueError
        As for :func:`de_auprc`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import de_spearman_sig
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
    """Return (P,) numbers of predicted and of real hits, and (P,) whether any gene counts."""
    tables, counted = checked_tables(
        {"predicted_fdr": predicted_fdr, "real_fdr": real_fdr}, mask, alpha
    )
    of_predicted, of_real = (
        ((table < alpha) & counted).sum(axis=1).astype(np.float64) for table in tables
    )
    return of_predicted, of_real, np.asarray(counted.any(axis=1))
