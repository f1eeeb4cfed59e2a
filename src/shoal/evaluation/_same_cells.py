"""Whether two predictions are the same cells, told without keeping the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Matrix

N_SUMS = 4  # random sums of each condition
TOLERANCE = 3e-6  # of the size of the values; rounding of float32 makes some 1e-7


def fingerprint(cells: Sequence[Matrix]) -> Floats:
    r"""Return a few numbers of each predicted condition that tell whether its cells are the same.

    The first is the size of the values, the root of their mean square. The others are random sums
    over all cells :math:`i` and genes :math:`g` of the condition:

    .. math:: s_j = \sum_{i,g} u_{ji} v_{jg} x_{ig}

    The weights are random directions, vectors of length 1. They are the same in every call, process
    and version, and so is the order of the cells where task and seed are the same. The sums of two
    predictions differ by about the root of the mean square of what the predictions differ by. So
    cells that are the same up to rounding have sums that are the same up to rounding.

    Parameters
    ----------
    cells
        (n_p, G) cells of each of P conditions, dense or CSR.

    Returns
    -------
    (P, 1 + 4) numbers.
    """
    found, genes = np.zeros((len(cells), 1 + N_SUMS)), np.zeros((0, N_SUMS))
    for at, own in enumerate(cells):
        n, d = own.shape
        if len(genes) != d:
            genes = _directions(d, seed=0)
        stored = own.data if sparse.issparse(own) else own
        found[at, 0] = np.sqrt(np.square(stored, dtype=np.float64).sum() / (n * d))
        found[at, 1:] = (_directions(n, seed=1) * (own @ genes)).sum(axis=0)
    return found


def same(one: Floats, other: Floats) -> bool:
    """Return whether two fingerprints are those of the same cells, up to rounding of float32.

    Fingerprints without a condition are those of no prediction, and the same as none.
    """
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if one.shape != other.shape or not one.size:
        return False
    size = np.maximum(one[:, :1], other[:, :1])
    return bool((np.abs(one - other) <= TOLERANCE * size).all())


def _directions(n: int, *, seed: int) -> Floats:
    """Return (n, 4) random vectors of length 1, as columns."""
    drawn = np.random.default_rng(seed).standard_normal((n, N_SUMS))
    return drawn / np.linalg.norm(drawn, axis=0)
