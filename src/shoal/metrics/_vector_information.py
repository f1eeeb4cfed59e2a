"""Do vectors say which responses are alike: leave-one-out errors against permuted vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._kernel_ridge import RIDGES, ROUNDING, CentredRidge, weight_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats


@dataclass(frozen=True)
class Information:
    """What vectors say of responses.

    Attributes
    ----------
    error
        Smallest mean squared leave-one-out error, as a share of that of the mean of the others.
        Below 1 the vectors help.
    permuted
        (B,) the same with the vectors dealt anew.
    pvalue
        (1 + b) / (1 + B), where b permutations have an error at most as large.
    weights
        (M,) weights of the kernels at the smallest error.
    """

    error: float
    permuted: Floats
    pvalue: float
    weights: Floats


def vector_information(
    kernels: Sequence[Floats],
    responses: Floats,
    *,
    n_perms: int,
    rng: np.random.Generator,
    ridges: Floats = RIDGES,
) -> Information:
    """Compare the leave-one-out error of kernel ridge regression with that of permuted vectors.

    The error is the smallest over all ridges and, of several kernels, over all weights of
    `weight_grid`. Each permutation makes the same choice, so the choice is paid for. If vectors and
    responses have nothing to do with one another, all orders of the vectors are equally likely, and
    the p-value is at most u with a probability of at most u.

    For residual matrices R, with L = R / diag(R), the mean error is the inner product of L'L / n
    with the Gram matrix of the responses. A permutation changes the order of that matrix only.

    Parameters
    ----------
    kernels
        M kernels (n, n) of the observations, of like scale.
    responses
        (n, d) responses.
    n_perms
        Number B of permutations.
    rng
        Draws them.
    ridges
        Penalties to choose from, in units of the mean diagonal of the centred kernel.
    """
    n = len(responses)
    gram = responses @ responses.T
    gram = gram / max(float(np.trace(gram)), np.finfo(float).tiny)
    orders = [np.arange(n), *(rng.permutation(n) for _ in range(n_perms))]
    least, best = np.full(len(orders), np.inf), np.ones(len(kernels))
    for weights in weight_grid(len(kernels)):
        forms = _forms(CentredRidge(np.tensordot(weights, kernels, 1)), ridges)
        errors = np.array([(forms @ gram[np.ix_(o, o)].ravel()).min() for o in orders])
        best = weights if errors[0] < least[0] * (1 - ROUNDING) else best
        least = np.minimum(least, errors)
    centring = np.eye(n) - 1 / n
    of_mean = float(np.einsum("ij,ji->", centring, gram)) * n / (n - 1) ** 2
    if of_mean <= ROUNDING:
        return Information(1.0, np.ones(n_perms), 1.0, best)
    least = least / of_mean
    below = int((least[1:] <= least[0] * (1 + ROUNDING)).sum())
    return Information(float(least[0]), least[1:], (1 + below) / (1 + n_perms), best)


def _forms(fit: CentredRidge, ridges: Floats) -> Floats:
    """Return (k, n * n) matrices L'L / n, whose inner product with a Gram matrix is the error."""
    forms = []
    for ridge in ridges:
        residual = fit.residual(ridge)
        left = residual / np.maximum(np.diag(residual), 1e-12)[:, None]
        forms.append((left.T @ left / len(left)).ravel())
    return np.array(forms)
