"""Populations beyond means and spread: two modes in a gene, dependence between columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._threads import one_thread
from ._arguments import arrays
from ._cells import densify
from ._distance import check_pair
from ._marginals import checked_cells, same_columns
from ._pairs import BLOCK_BYTES
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Matrix

ROUNDING = 1e-12  # a spread below this share of the values is rounding


@arrays
@one_thread()
@documented
def bimodality_error(
    X: Matrix, Y: Matrix, *, least: int = 10, block_bytes: int = BLOCK_BYTES
) -> float:
    r"""Mean over genes of the absolute difference in bimodality.

    The bimodality of a gene is the share of its variance that lies between two groups of cells. The
    groups are cut where this share is largest (Otsu's criterion, or two means). For groups without
    overlap it is :math:`\eta^2 = B^2 / (1 + B^2)`, with B the bimodality index of Wang et al. Some
    values:

    - 1 for two values, such as any on/off gene;
    - 0.75 for a uniform distribution;
    - :math:`2/\pi \approx 0.64` for a normal distribution;
    - 0, by definition, where all cells are equal.

    It does not depend on shift or scale. It is a ratio of variances, and so varies less from sample
    to sample than skewness and kurtosis, from which Sarle's coefficient is made. It also has a
    value for genes that are mostly zeros.

    0 is perfect, lower is better and 1 is the worst. Two samples of one population are not at 0,
    because the best cut of few cells explains too much. In log counts that are mostly zeros they
    differ by about 0.03 at 50 cells and 0.015 at 200, while a prediction of normal distributions in
    place of the counts is at a quarter. Compare with two halves of the real cells, of as many
    cells. The metric says little where all genes are far from zero and have one mode.

    Parameters
    ----------
    X
        {genes_predicted}
        Log-normalised values.
    Y
        {genes_real}
    least
        Number of real cells that must have a value other than 0 for a gene to count. A gene seen in
        very few cells may be missing from a second sample. The choice does not depend on the
        prediction.
    block_bytes
        {block_bytes}
        Sparse columns are made dense a few at a time.

    Returns
    -------
    Mean difference, 0 to 1; NaN if no gene counts.

    Raises
    ------
    ValueError
        If the columns differ, a value is not finite, or a population has fewer than 2 cells.

    References
    ----------
    Wang et al. (2009), Cancer Inform. 7, 199; Otsu (1979), IEEE Trans. Syst. Man Cybern. 9, 62.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import bimodality_error
    >>> rng = np.random.default_rng(0)
    >>> real = 2.0 * (rng.random((200, 5)) < 0.4)
    >>> smooth = real.mean() + real.std() * rng.normal(size=(200, 5))
    >>> round(bimodality_error(smooth, real), 1)
    0.4
    """
    x, y = (checked_cells(values, name, least=2) for name, values in (("X", X), ("Y", Y)))
    same_columns(x, y)
    counted = np.flatnonzero(np.asarray((y != 0).sum(axis=0)).ravel() >= least)
    if not len(counted):
        return float("nan")
    # memory for the sorted cells, sums and shares
    width = max(1, int(block_bytes / (8 * 6 * max(x.shape[0], y.shape[0]))))
    parts = [counted[start : start + width] for start in range(0, len(counted), width)]
    total = sum(
        float(np.abs(two_groups(x[:, part]) - two_groups(y[:, part])).sum()) for part in parts
    )
    return total / len(counted)


def two_groups(values: Matrix) -> Floats:
    """Return (n_genes,) the largest share of variance that a cut into two groups explains."""
    x = np.sort(densify(values).astype(np.float64), axis=0)
    size = np.maximum(np.abs(x[0]), np.abs(x[-1]))
    x -= x.mean(axis=0)
    n = len(x)
    square = np.einsum("ij,ij->j", x, x)
    varies = square > n * (ROUNDING * size) ** 2
    below = np.arange(1, n)[:, None]
    between = np.cumsum(x, axis=0)[:-1] ** 2 * (n / (below * (n - below)))
    return np.where(varies, between.max(axis=0) / np.where(varies, square, 1.0), 0.0)


@arrays
@one_thread()
@documented
def correlation_error(X: Floats, Y: Floats) -> float:
    r"""Mean squared difference of the correlations between columns, less its sampling noise.

    .. math::
        \frac{1}{|P|} \sum_{(i,j) \in P}
        \left[ (r^x_{ij} - r^y_{ij})^2 - v^x_{ij} - v^y_{ij} \right],
        \qquad v_{ij} = \frac{1}{n(n-1)}
        \sum_k \left( z_i z_j - \tfrac{1}{2} r_{ij} (z_i^2 + z_j^2) \right)^2

    over pairs P of columns. Here z are the standardised values of cell k. v is the variance of a
    correlation from its influence function, which holds for any distribution. Distances between
    populations, such as the energy distance, see little of the dependence between columns; this
    metric sees nothing else.

    0 is perfect and lower is better. Between two samples of one population it is 0 on average, to
    first order in 1/n, and may fall below 0. A column that does not vary in the prediction counts
    as independent of all others.

    It misleads in three cases:

    - Few columns depend on each other: the mean is over all pairs.
    - Cells are copies of each other: they are taken for independent cells.
    - Controls are moved as they are: they keep their correlations and score well.

    Parameters
    ----------
    X
        (n, d) predicted cells: principal components, or some hundred genes.
    Y
        {real_cells}

    Returns
    -------
    Mean squared difference, at most 4. NaN if fewer than 2 columns vary among the real cells.

    Raises
    ------
    ValueError
        If the columns differ, a value is not finite, or a population has fewer than 3 cells.

    References
    ----------
    Devlin, Gnanadesikan and Kettenring (1975), Biometrika 62, 531, for the influence function.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import correlation_error
    >>> rng = np.random.default_rng(0)
    >>> real = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=500)
    >>> shuffled = rng.permuted(real, axis=0)  # each column as it was
    >>> round(correlation_error(shuffled, real), 1)
    0.6
    """
    x, y = check_pair(X, Y, biased=False)
    if min(len(x), len(y)) < 3:
        msg = f"each population needs at least 3 cells for correlations, not {len(x)} and {len(y)}"
        raise ValueError(msg)
    varies = varying(y)
    if varies.sum() < 2:
        return float("nan")
    (r_x, v_x), (r_y, v_y) = (correlations_of(cells[:, varies]) for cells in (x, y))
    pairs = np.triu_indices(int(varies.sum()), k=1)
    return float(np.mean(((r_x - r_y) ** 2 - v_x - v_y)[pairs]))


def varying(cells: Floats) -> Bools:
    """Return which columns vary by more than rounding."""
    return np.asarray(cells.std(axis=0) > ROUNDING * np.abs(cells).max(axis=0))


def correlations_of(cells: Floats) -> tuple[Floats, Floats]:
    """Return the correlations of the columns and the variances of these estimates.

    Both are 0 for a column that does not vary.
    """
    n, varies = len(cells), varying(cells)
    z = np.where(varies, cells - cells.mean(axis=0), 0.0)
    z /= np.where(varies, np.sqrt(np.mean(z**2, axis=0)), 1.0)
    square = z**2
    r = z.T @ z / n
    both = square.T @ square / n
    skewed = (square * z).T @ z / n
    fourth = np.mean(square**2, axis=0)
    influence = both - r * (skewed + skewed.T) + r**2 / 4 * (fourth + fourth[:, None] + 2 * both)
    return r, influence / (n - 1)
