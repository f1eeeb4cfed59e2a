r"""Whether anything responds in a screen, and in which conditions nothing does.

*Estimand*: the shifts :math:`\bar x_{pg} - \bar c_{pg}` of the genes g of the conditions p from
controls of the same strata (context and batch). The statistic is the sum of fourth powers of the
standardised shifts,

.. math:: T_p = \sum_g z_{pg}^4, \qquad
    z_{pg} = \sqrt{\frac{n_p m_p}{n_p + m_p}}\, \frac{\bar x_{pg} - \bar c_{pg}}{s_g}

so that a few genes that respond strongly count as much as many that respond a little. Cells change
places at random within strata, which makes the p-values exact.

- *All conditions together*, :math:`T = \sum_p T_p`. Null: within a stratum the cells of all
  conditions and the controls are exchangeable.
- *Each condition*, :math:`T_p`. Null: its own cells and the controls are. Other conditions take no
  part, so that their responses do not hide or make one. Of the conditions without a response, a
  share :math:`1 - \lambda` has p above :math:`\lambda`. So the share of such conditions is at most
  :math:`\#\{p > \lambda\} / (P (1 - \lambda))` in expectation (Storey 2002, J. R. Stat. Soc. B 64,
  479).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._permutation import n_reached, permutation_pvalue

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

N_PERMS = 199
ALPHA = 0.01  # p-value at which something responds: at most 2 of 200 screens without a response
SILENT = 0.1  # p-value above which a condition is silent; of those without a response, 9 of 10 are


def response_pvalue(
    cells: Floats,
    condition: Ints,
    stratum: Ints,
    *,
    mask: Bools,
    n_perms: int = N_PERMS,
    rng: np.random.Generator,
) -> float:
    """Return the p-value that nothing responds.

    Parameters
    ----------
    cells
        (n, G) cells of all conditions and controls.
    condition
        (n,) condition of each cell, 0 to P - 1; -1 for a control.
    stratum
        (n,) stratum of each cell. Cells of strata without controls tell nothing and are left out.
    mask
        (P, G) genes that count.
    n_perms
        Permutations.
    rng
        Draws them.

    Returns
    -------
    P-value; NaN if no stratum has both controls and cells of a condition.
    """
    x, code, place, counts = _comparable(cells, condition, stratum, mask)
    if not len(x):
        return float("nan")
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    sizes = np.diff([*starts, len(place)])

    def statistic(permuted: Ints) -> float:
        return float((_standardised(x, code[permuted], place, len(mask)) ** 4 * counts).sum())

    null = [
        statistic(
            np.concatenate(
                [start + rng.permutation(n) for start, n in zip(starts, sizes, strict=True)]
            )
        )
        for _ in range(n_perms)
    ]
    observed = statistic(np.arange(len(x)))
    return float(permutation_pvalue(n_reached(np.array([null]), np.array([observed])), n_perms)[0])


def condition_pvalues(
    cells: Floats,
    condition: Ints,
    stratum: Ints,
    *,
    mask: Bools,
    n_perms: int = N_PERMS,
    rng: np.random.Generator,
) -> Floats:
    """Return the p-value of each condition that it does not respond.

    Parameters
    ----------
    cells, condition, stratum, mask, n_perms, rng
        As for :func:`response_pvalue`.

    Returns
    -------
    (P,) p-values; NaN for a condition none of whose strata has controls.
    """
    x, code, place, counts = _comparable(cells, condition, stratum, mask)
    controls = {int(s): np.flatnonzero((code < 0) & (place == s)) for s in np.unique(place)}
    found = np.full(len(mask), np.nan)
    for p in np.unique(code[code >= 0]):
        own = np.flatnonzero(code == p)
        shift, variance = np.zeros((n_perms + 1, x.shape[1])), 1 / len(own)
        for here in np.unique(place[own]):
            members, others = own[place[own] == here], controls[int(here)]
            k, m = len(members), len(others)
            pool = x[np.concatenate([members, others])]
            sums = _exchanged(pool, k, n_perms, rng)
            shift += sums - k / m * (pool.sum(axis=0) - sums)
            variance += k**2 / m / len(own) ** 2
        z = shift / len(own) / np.sqrt(variance)
        statistic = (z**4 * counts[p]).sum(axis=1)
        reached = n_reached(statistic[None, 1:], statistic[:1])
        found[p] = permutation_pvalue(reached, n_perms)[0]
    return found


def share_silent(silent: Bools) -> float:
    """Return the share of conditions without a response, of (P,) booleans whether p > `SILENT`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._responds import share_silent
    >>> share_silent(np.arange(20) < 9)
    0.5
    """
    return min(1.0, float(np.mean(silent)) / (1 - SILENT))


def _comparable(
    cells: Floats, condition: Ints, stratum: Ints, mask: Bools
) -> tuple[Floats, Ints, Ints, Bools]:
    """Return the cells of strata that have controls and others, scaled gene by gene.

    They are in the order of their strata, with condition and stratum of each, and the genes that
    count. Genes that do not vary are left out.
    """
    control = condition < 0
    both = np.isin(stratum, stratum[control]) & np.isin(stratum, stratum[~control])
    x, code, place = cells[both], condition[both], np.unique(stratum[both], return_inverse=True)[1]
    if not len(x):
        return x, code, place, mask
    spread = x.std(axis=0)
    varies = spread > 0
    x = (x - x.mean(axis=0))[:, varies] / spread[varies]
    order = np.argsort(place, kind="stable")
    return x[order], code[order], place[order], mask[:, varies]


def _standardised(x: Floats, code: Ints, place: Ints, n_conditions: int) -> Floats:
    """Return (P, G) standardised shifts of conditions from controls of the same strata."""
    n_strata = int(place.max()) + 1
    sums, numbers = _sums(
        x,
        np.where(code < 0, n_conditions, code) * n_strata + place,
        (n_conditions + 1) * n_strata,
    )
    sums = sums.reshape(n_conditions + 1, n_strata, -1)
    numbers = numbers.reshape(n_conditions + 1, n_strata)
    own, controls = numbers[:-1], np.maximum(numbers[-1], 1)
    expected = own @ (sums[-1] / controls[:, None])
    total = own.sum(axis=1)
    n = np.maximum(total, 1)
    shift = (sums[:-1].sum(axis=1) - expected) / n[:, None]
    variance = 1 / n + (own**2 / controls).sum(axis=1) / n**2
    return np.where(total[:, None] > 0, shift / np.sqrt(variance)[:, None], 0.0)


def _exchanged(pool: Floats, k: int, n_perms: int, rng: np.random.Generator) -> Floats:
    """Return (B + 1, G) sums of k of the cells, the first k of them and then B times any k."""
    n = len(pool)
    order = rng.permuted(np.tile(np.arange(n), (n_perms, 1)), axis=1)
    chosen = np.vstack([np.arange(k), order[:, :k]])
    row = np.repeat(np.arange(n_perms + 1), k)
    taken = sparse.csr_matrix((np.ones(row.size), (row, chosen.ravel())), shape=(n_perms + 1, n))
    return np.asarray(taken @ pool)


def _sums(x: Floats, group: Ints, n: int) -> tuple[Floats, Ints]:
    """Return (n, G) sums and (n,) numbers of the rows of each group."""
    member = sparse.csr_matrix(
        (np.ones(len(group), dtype=x.dtype), (group, np.arange(len(group)))), shape=(n, len(group))
    )
    return np.asarray(member @ x), np.bincount(group, minlength=n)
