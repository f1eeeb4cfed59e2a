"""Wilcoxon's rank-sum test of every group of cells, with one sort per gene for all groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from .._validate import one_of
from ._cells import parts_of, sizes_of
from ._ranks import columns, rank_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints, Matrix
    from ._cells import Part


@dataclass(frozen=True)
class RankSum:
    """Result of `rank_sum`.

    Attributes
    ----------
    z
        (n_groups, n_genes) standardised rank sums. Above 0 where cells of the group are higher than
        those of the reference.
    pvalue
        (n_groups, n_genes) two-sided p-values of the normal approximation, not adjusted.
    auc
        (n_groups, n_genes) probability that a cell of the group is above one of the reference: U /
        (n m). A tie counts as half.
    n_cells
        (n_groups,) cells of the group.
    n_reference
        (n_groups,) cells that the group is compared with.
    """

    z: Floats
    pvalue: Floats
    auc: Floats
    n_cells: Ints
    n_reference: Ints


@dataclass(frozen=True)
class RankSums:
    """Rank sums before they are standardised.

    Attributes
    ----------
    u
        (n_groups, n_genes) numbers of pairs in which the cell of the group is higher.
    ties
        (n_groups, n_genes) sums of t³ - t over sets of t tied values.
    n
        (n_groups,) cells of the group.
    m
        (n_groups,) cells that the group is compared with.
    """

    u: Floats
    ties: Floats
    n: Ints
    m: Ints

    def standardised(self, *, tie_correct: bool = True, continuity: bool = False) -> RankSum:
        """Return z, p-values and areas under the ROC curve."""
        n, m, u = self.n, self.m, self.u
        defined = (n > 0) & (m > 0)
        pairs = np.where(defined, n * m, 1).astype(np.float64)[:, None]
        total = np.where(defined, n + m, 2).astype(np.float64)[:, None]
        variance = (
            pairs / 12 * (total + 1 - (self.ties / (total * (total - 1)) if tie_correct else 0.0))
        )
        shift = u - pairs / 2
        if continuity:
            shift = np.sign(shift) * np.maximum(np.abs(shift) - 0.5, 0.0)
        z = np.zeros_like(u)
        np.divide(
            shift, np.sqrt(np.maximum(variance, 0.0)), out=z, where=(shift != 0) & (variance > 0)
        )
        z[~defined] = np.nan
        auc = np.where(defined[:, None], u / pairs, np.nan)
        return RankSum(z, 2 * special.ndtr(-np.abs(z)), auc, n, m)


def rank_sum(
    X: Matrix,
    group: Ints,
    n_groups: int,
    control: Bools | None = None,
    *,
    stratum: Ints | None = None,
    reference: Literal["control", "rest"] = "control",
    tie_correct: bool = True,
    continuity: bool = False,
) -> RankSum:
    r"""Wilcoxon's rank-sum test of every group against the controls, in every gene.

    Let U be the number of pairs (cell of the group, cell of the reference) in which the first is
    higher, with ties as half. Then

    .. math::
        z = \frac{U - nm/2}{\sqrt{\frac{nm}{12}
            \left(N + 1 - \frac{\sum_t t^3 - t}{N(N - 1)}\right)}}, \qquad N = n + m,

    where the sum over sets of t tied values corrects for ties.

    A gene is sorted once, and all groups read their ranks from that order. Zeros are one set of
    ties and are never sorted, so the time grows with the number of values that are not 0.

    Two cautions. The normal approximation is poor for fewer than about 10 cells in a group. And
    cells are not replicates: the p-values rank genes, and are no error rates over donors or wells.

    Parameters
    ----------
    X
        (n_obs, n_genes) values of any sign; dense, or sparse of scipy. CSR is turned into CSC, and
        nothing is made dense.
    group
        (n_obs,) group of every cell: 0 to `n_groups` - 1, or -1 for none.
    n_groups
        Number of groups, with or without cells.
    control
        (n_obs,) booleans: which cells are controls. They are in no group.
    stratum
        (n_obs,) integers, such as the context. A group is compared with cells of its own stratum,
        and all cells of a group must be of one stratum.
    reference
        ``"control"``: the controls. ``"rest"``: all other groups together, without the controls.
    tie_correct
        Whether to correct the variance for ties, as is right where there are zeros. The default of
        scanpy is not to.
    continuity
        Whether to move U towards its mean by 1/2, as :func:`scipy.stats.mannwhitneyu` does.

    Returns
    -------
    `RankSum`, float64. A gene in which all values are equal has z 0, p 1 and AUC 1/2. A group
    without cells, or without cells to compare with, has NaN.

    Raises
    ------
    ValueError
        If shapes differ, a value of a cell that counts is not finite, a code is out of range, a
        control is in a group, or a group has cells in several strata.

    References
    ----------
    Mann and Whitney (1947), Ann. Math. Stat. 18, 50.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._ranksum import rank_sum
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> test = rank_sum(
    ...     x, np.array([-1, -1, -1, 0, 0]), 1, np.array([True, True, True, False, False])
    ... )
    >>> test.auc, test.z.round(4)
    (array([[1.]]), array([[1.7321]]))
    """
    one_of(reference, ("control", "rest"), name="reference")
    code, where = _checked_codes(X, group, n_groups, control, stratum, reference)
    test = _sums_of([(X, np.arange(X.shape[0]))], code, where, n_groups, rest=reference == "rest")
    return test.standardised(tie_correct=tie_correct, continuity=continuity)


def sums_against(cells: Sequence[Matrix], controls: Sequence[Matrix], group: Ints) -> RankSums:
    """Return the rank sums of P populations against the controls of their context.

    No matrix is copied as a whole.

    Parameters
    ----------
    cells
        P populations (n_p, G), dense or CSR, such as `Cells`.
    controls
        Controls (m, G) of each context.
    group
        (P,) context of each population, an index into `controls`.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    n, sizes = len(cells), np.concatenate([sizes_of(cells), sizes_of(controls)])
    code = np.repeat(np.minimum(np.arange(len(sizes)), n), sizes)
    where = np.repeat(np.concatenate([group, np.arange(len(controls))]), sizes)
    parts = [*parts_of(cells), *parts_of(controls)]
    if len(parts) == 2 and parts[0][0] is parts[1][0]:  # read one common matrix only once
        parts = [(parts[0][0], np.concatenate([parts[0][1], parts[1][1]]))]
    return _sums_of(parts, code, where, n, rest=False)


def _checked_codes(
    X: Matrix,
    group: Ints,
    n_groups: int,
    control: Bools | None,
    stratum: Ints | None,
    reference: str,
) -> tuple[Ints, Ints]:
    """Return the code and the stratum of every cell.

    Codes are `n_groups` for controls and -1 for cells of no use.
    """
    n_obs = X.shape[0]
    code = np.array(group, dtype=np.int64)
    where = np.zeros(n_obs, dtype=np.int64) if stratum is None else np.asarray(stratum)
    if reference == "control" and control is None:
        msg = (
            "which cells are the controls? Pass control=, a boolean for every cell, "
            "or reference='rest'"
        )
        raise ValueError(msg)
    is_control = np.zeros(n_obs, dtype=bool) if control is None else np.asarray(control)
    for name, values in (("group", code), ("control", is_control), ("stratum", where)):
        if values.shape != (n_obs,):
            msg = (
                f"{name} must hold one value for each of the {n_obs} cells, "
                f"not be of shape {values.shape}"
            )
            raise ValueError(msg)
    if is_control.dtype != bool:
        msg = f"control must be booleans, one for every cell, not {is_control.dtype}"
        raise ValueError(msg)
    if ((code < -1) | (code >= n_groups)).any():
        msg = (
            f"group must hold codes from -1 (no group) to {n_groups - 1}; "
            f"it holds {code.min()} to {code.max()}"
        )
        raise ValueError(msg)
    if (code[is_control] >= 0).any():
        msg = (
            f"{int((code[is_control] >= 0).sum())} cells are controls and in a group; "
            "give controls the group -1"
        )
        raise ValueError(msg)
    grouped = np.flatnonzero(code >= 0)
    first = np.zeros(n_groups, dtype=where.dtype)
    first[code[grouped]] = where[grouped]
    apart = np.unique(code[grouped[first[code[grouped]] != where[grouped]]])
    if len(apart):
        msg = f"group {apart[0]} has cells in several strata; make a group of each (group, stratum)"
        raise ValueError(msg)
    if reference == "control":
        code[is_control] = n_groups
    return code, where


def _sums_of(
    parts: Sequence[Part], code: Ints, where: Ints, n_groups: int, *, rest: bool
) -> RankSums:
    """Return the statistics, computed stratum by stratum.

    Codes and strata are those of the rows of all parts, one after another.
    """
    n_genes = parts[0][0].shape[1]
    u, ties = np.full((n_groups, n_genes), np.nan), np.zeros((n_groups, n_genes))
    n, m = np.zeros(n_groups, dtype=np.int64), np.zeros(n_groups, dtype=np.int64)
    ends = np.cumsum([len(rows) for _, rows in parts])
    for level in np.unique(where[(code >= 0) & (code < n_groups)]):
        at = np.flatnonzero((where == level) & (code >= 0))
        present = np.setdiff1d(code[at], [n_groups])
        present_code = np.searchsorted(
            present, code[at]
        )  # the controls have the highest code and come last
        sizes = np.bincount(present_code, minlength=len(present) + 1)
        n[present] = sizes[:-1]
        m[present] = sizes.sum() - sizes[:-1] if rest else sizes[-1]
        cuts = np.split(at, np.searchsorted(at, ends[:-1]))
        used = [
            (x, rows[cut - end + len(rows)])
            for (x, rows), cut, end in zip(parts, cuts, ends, strict=True)
            if len(cut)
        ]
        for block in columns(used):
            u[present, block.genes], ties[present, block.genes] = rank_sums(
                block, present_code, sizes, rest=rest
            )
    return RankSums(u, ties, n, m)
