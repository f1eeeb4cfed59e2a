r"""Whether anything responds in a screen: one test of all conditions together.

*Null*: within a stratum (context and batch) the cells of all conditions and the control cells are
exchangeable. *Estimand*: the shifts :math:`\bar x_{pg} - \bar c_{pg}` of the genes g of the
conditions p from controls of the same strata.

The statistic is the sum of fourth powers of the standardised shifts,

.. math:: T = \sum_{p,g} z_{pg}^4, \qquad
    z_{pg} = \sqrt{\frac{n_p m_p}{n_p + m_p}}\, \frac{\bar x_{pg} - \bar c_{pg}}{s_g}

so that a few genes that respond strongly count as much as many that respond a little. Cells change
places at random within strata, which makes the p-value exact.
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
    control = condition < 0
    both = np.isin(stratum, stratum[control]) & np.isin(stratum, stratum[~control])
    x, code, place = cells[both], condition[both], np.unique(stratum[both], return_inverse=True)[1]
    if not len(x):
        return float("nan")
    spread = x.std(axis=0)
    varies = spread > 0
    x = (x - x.mean(axis=0))[:, varies] / spread[varies]
    counts = mask[:, varies]
    order = np.argsort(place, kind="stable")
    x, code, place = x[order], code[order], place[order]
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


def _sums(x: Floats, group: Ints, n: int) -> tuple[Floats, Ints]:
    """Return (n, G) sums and (n,) numbers of the rows of each group."""
    member = sparse.csr_matrix(
        (np.ones(len(group), dtype=x.dtype), (group, np.arange(len(group)))), shape=(n, len(group))
    )
    return np.asarray(member @ x), np.bincount(group, minlength=n)
