"""How the genes of a population go together: correlations, library sizes, programmes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .._threads import one_thread
from ._arguments import arrays
from ._distance import check_pair
from ._marginals import checked_cells
from ._shape import correlations_of, varying
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Matrix

ROUNDING = 1e-12  # a spread below this share of the values is rounding
HIGHEST = 50  # a logarithm above it is of no number of counts


@arrays
@one_thread()
@documented
def mean_squared_correlation(X: Floats) -> float:
    r"""Mean squared correlation between the columns of a population, less its sampling noise.

    .. math:: \frac{1}{|P|} \sum_{(i,j) \in P} \left[ r_{ij}^2 - v_{ij} \right]

    over all pairs P of columns that vary. v is the variance of a correlation, as in
    :func:`shoal.metrics.correlation_error`.

    It says how strongly genes go together. Compute it for predicted cells and for real ones, in the
    same genes, and compare the two. A model that moves all cells along a few directions, by amounts
    that differ from cell to cell, has a larger value than the real cells.

    - 0 on average for independent columns; it may fall below 0.
    - :math:`\rho^2` if all pairs have the correlation :math:`\rho`.
    - 1 if all columns are copies of one.

    The mean absolute correlation, which is often reported, is not 0 for independent columns: with n
    cells it is about :math:`\sqrt{2 / (\pi n)}`.

    Parameters
    ----------
    X
        (n, d) cells: some hundred genes, or components. Genes that hardly any cell has dilute the
        mean. Choose the genes on training cells.

    Returns
    -------
    Mean, at most 1. NaN if fewer than 2 columns vary.

    Raises
    ------
    ValueError
        If a value is not finite, or there are fewer than 3 cells.

    References
    ----------
    Devlin, Gnanadesikan and Kettenring (1975), Biometrika 62, 531, for the variance.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import mean_squared_correlation
    >>> rng = np.random.default_rng(0)
    >>> cells = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=5000)
    >>> round(mean_squared_correlation(cells), 1)
    0.6
    """
    x, _ = check_pair(X, X, biased=False)
    _enough(len(x))
    varies = varying(x)
    if varies.sum() < 2:
        return float("nan")
    r, v = correlations_of(x[:, varies])
    return float(np.mean((r**2 - v)[np.triu_indices(len(r), k=1)]))


@arrays
@one_thread()
@documented
def correlation_similarity(X: Floats, Y: Floats) -> float:
    r"""Whether the same genes go together in two populations.

    It is the Pearson correlation, over pairs of columns, between the correlations of one population
    and those of the other. 1 is perfect and higher is better. It is 0 on average if one of the two
    has independent columns.

    It sees which pairs go together, and not how strongly: if all correlations were halved, it would
    stay the same. :func:`shoal.metrics.mean_squared_correlation` sees that.

    Correlations of few cells are noisy, so two samples of one population are below 1, and far below
    it if most pairs are independent. Compare with the value of a second sample of as many cells.

    Parameters
    ----------
    X
        {predicted_cells}
    Y
        {real_cells}

    Returns
    -------
    Correlation, -1 to 1. Only columns that vary among the real cells count. A column that does not
    vary in the prediction counts as independent of all others. NaN if fewer than 3 columns count,
    or if all correlations of a population are equal.

    Raises
    ------
    ValueError
        If the columns differ, a value is not finite, or a population has fewer than 3 cells.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import correlation_similarity
    >>> rng = np.random.default_rng(0)
    >>> cells = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 20))
    >>> shuffled = rng.permuted(cells, axis=0)  # each column as it was
    >>> round(correlation_similarity(2 * cells + 1, cells), 6)
    1.0
    >>> abs(correlation_similarity(shuffled, cells)) < 0.2
    True
    """
    x, y = check_pair(X, Y, biased=False)
    _enough(min(len(x), len(y)))
    counted = varying(y)
    if counted.sum() < 3:
        return float("nan")
    pairs = np.triu_indices(int(counted.sum()), k=1)
    of_x, of_y = (correlations_of(cells[:, counted])[0][pairs] for cells in (x, y))
    if min(np.ptp(of_x), np.ptp(of_y)) < ROUNDING:
        return float("nan")
    return float(np.corrcoef(of_x, of_y)[0, 1])


@arrays
@one_thread()
@documented
def library_spread(X: Matrix) -> float:
    r"""Spread of the library sizes of log-normalised cells.

    .. math:: \mathrm{SD}_k \left[ \log \sum_g (e^{x_{kg}} - 1) \right]

    over the cells k. Cells that were normalised to one total, and then logged, have 0. Predicted
    cells that are to be used beside them should have 0 too. A value of 0.1 says that the totals of
    the cells differ by about 10 %, which adds a common factor to all genes of a cell.

    Real cells are not at 0 if they were normalised over more genes than are given here, or by
    another factor than their total. Compare with the real cells.

    Parameters
    ----------
    X
        (n, n_genes) log-normalised cells; dense, or sparse of scipy.

    Returns
    -------
    Standard deviation, at least 0.

    Raises
    ------
    ValueError
        If a value is not finite, below 0 or above 50, which no log-normalised value is, if a cell
        has no counts at all, or if there are fewer than 2 cells.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> counts = np.random.default_rng(0).poisson(2.0, size=(50, 30))
    >>> cells = np.log1p(10_000 * counts / counts.sum(axis=1, keepdims=True))
    >>> round(sh.metrics.library_spread(cells), 6)
    0.0
    """
    total = library_sizes(checked_cells(X, "X", least=2))
    if not (total > 0).all():
        msg = f"X holds {int((total <= 0).sum())} cells without any counts; drop them first"
        raise ValueError(msg)
    return float(np.std(np.log(total), ddof=1))


@arrays
@one_thread()
@documented
def program_spread(X: Matrix, genes: Bools) -> float:
    r"""Spread over cells of the score of a set of genes, such as those of the cell cycle.

    The score of a cell is its mean over the genes of the set, less its mean over all genes. The
    spread is the standard deviation of the scores over the cells.

    It says whether a predicted population still has its states: cells in division beside cells that
    are not. Compute it for predicted cells and for real ones, and compare the two. A model that
    predicts cells near their mean has a smaller value than the real cells.

    A set of few genes, or of genes that few cells have, has a score that is mostly counting noise.
    A model without zeros then has a smaller spread, whatever becomes of the programme.

    Parameters
    ----------
    X
        (n, n_genes) cells, log-normalised; dense, or sparse of scipy.
    genes
        (n_genes,) booleans: the genes of the set, such as
        ``adata.var_names.isin(["MKI67", "TOP2A", ...])``.

    Returns
    -------
    Standard deviation, at least 0, in the units of the values.

    Raises
    ------
    ValueError
        If a value is not finite, there are fewer than 2 cells, `genes` does not hold one value a
        column, or it holds no gene.

    References
    ----------
    Tirosh et al. (2016), Science 352, 189, for scores of the cell cycle. They subtract genes of
    like expression in the place of all genes.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import program_spread
    >>> cells = np.zeros((4, 10))
    >>> cells[:2, :5] = 2.0  # two of four cells are in the state of the first five genes
    >>> round(program_spread(cells, np.arange(10) < 5), 3)
    0.577
    """
    return float(np.std(program_scores(checked_cells(X, "X", least=2), genes), ddof=1))


def program_scores(cells: Matrix, genes: Bools) -> Floats:
    """Return (n,) scores of a set of genes: the mean over the set, less the mean over all genes."""
    inside = np.asarray(genes)
    if inside.dtype != bool or inside.shape != (cells.shape[1],):
        msg = (
            f"genes must hold a boolean for each of the {cells.shape[1]} columns, such as "
            f"adata.var_names.isin(names), not {inside.dtype} of shape {inside.shape}"
        )
        raise ValueError(msg)
    if not inside.any():
        msg = "genes holds no gene of these cells; do the names of the set match adata.var_names?"
        raise ValueError(msg)
    weight = inside / inside.sum() - 1 / len(inside)
    return np.asarray(cells @ weight, dtype=np.float64)


def library_sizes(cells: Matrix) -> Floats:
    """Return (n,) sums of the counts of log-normalised cells.

    Raises
    ------
    ValueError
        If a value is below 0, or too high for a logarithm of counts.
    """
    lowest = cells.min()
    if lowest < 0:
        msg = (
            f"X holds values below 0, such as {lowest:.3g}; library sizes need log-normalised "
            "values, which are not"
        )
        raise ValueError(msg)
    highest = cells.max()
    if highest > HIGHEST:
        msg = (
            f"X holds values up to {highest:.3g}; library sizes need log-normalised values, of "
            f"which none is above {HIGHEST}"
        )
        raise ValueError(msg)
    counts = cells.astype(np.float64)
    counts = counts.expm1() if sparse.issparse(counts) else np.expm1(counts)
    return np.asarray(counts.sum(axis=1)).ravel()


def _enough(n: int) -> None:
    """Raise ``ValueError`` if there are too few cells for correlations."""
    if n < 3:
        msg = f"correlations need at least 3 cells in a population, not {n}"
        raise ValueError(msg)
