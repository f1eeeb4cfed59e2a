r"""Entropic optimal transport of many small problems at once.

Each problem has a cost C between n sources and m targets with masses a and b, and a regularisation
ε. It minimises the cost of transport plus ε times the relative entropy of the plan P with respect
to the product of the masses. With potentials f and g, the plan is
:math:`P_{ij} = a_i b_j \exp((f_i + g_j - C_{ij}) / ε)`, and the least cost is
:math:`\sum_i a_i f_i + \sum_j b_j g_j`.

The algorithm (Schmitzer 2019):

1. Potentials are kept as logarithms. ε is halved from the largest cost down to its final value.
2. Rows and columns of the plan are then scaled in turn. A scaling is a product of a matrix with a
   vector, which is faster than a sum of exponentials.
3. After some scalings the marginals are checked, and the scales are moved into the potentials
   before they can overflow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROUND = 10  # number of scalings between two checks of the marginals
BOUND = 1e8  # largest scale within a round


@dataclass(frozen=True)
class Transport:
    """Solved problems.

    Attributes
    ----------
    plan
        (K, n, m) plans; each column sums to its mass.
    value
        (K,) costs, entropy included. A lower bound where a problem has not converged.
    error
        (K,) sums of the absolute errors of the row sums.
    n_iterations
        Number of iterations made.
    """

    plan: Tensor
    value: Tensor
    error: Tensor
    n_iterations: int


@torch.no_grad()
def sinkhorn(
    cost: Tensor,
    *,
    epsilon: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    symmetric: bool = False,
    n_iterations: int = 2000,
    tolerance: float = 1e-3,
) -> Transport:
    """Solve K problems of entropic transport.

    Parameters
    ----------
    cost
        (K, n, m) costs; infinite for pairs that may not be formed.
    epsilon
        (K,) regularisation of each problem, in the units of the cost.
    a, b
        (K, n) and (K, m) masses; 0 leaves a cell out. Uniform by default. Each is scaled to a sum
        of 1.
    symmetric
        Whether rows and columns are the same cells with the same masses. There is then one
        potential, and fewer iterations are needed.
    n_iterations
        Largest number of iterations.
    tolerance
        Largest error of a solved problem: the sum of the absolute errors of the row sums.

    References
    ----------
    cuturi2013sinkhorn, schmitzer2019stabilized; feydy2019interpolating for the symmetric problem

    Examples
    --------
    >>> import torch
    >>> cost = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> transport = sinkhorn(cost, epsilon=torch.full((2,), 0.1))
    >>> bool((transport.plan.sum(2) - 1 / 5).abs().sum(1).max() < 1e-3)
    True
    """
    # autocast would round the scalings to half precision
    with torch.autocast(cost.device.type, enabled=False):
        return _solved(cost, epsilon, a, b, n_iterations, tolerance, symmetric=symmetric)


def _solved(
    cost: Tensor,
    epsilon: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    n_iterations: int,
    tolerance: float,
    *,
    symmetric: bool,
) -> Transport:
    log_a, log_b = (
        _log_masses(mass, cost[..., 0] if i == 0 else cost[:, 0]) for i, mass in enumerate((a, b))
    )
    final = epsilon[:, None, None].to(cost)
    outer = log_a[:, :, None] + log_b[:, None, :]
    f, g = torch.zeros_like(log_a)[:, :, None], torch.zeros_like(log_b)[:, None, :]
    current = torch.where(cost.isinf(), 0, cost).amax(dim=(1, 2), keepdim=True)
    done = 0
    while True:
        current = torch.maximum(current / 2, final)
        f = _soft_min(cost - g, log_b[:, None, :], current, 2)
        g = _soft_min(cost - f, log_a[:, :, None], current, 1)
        done += 1
        if bool((current <= final).all()):
            break
    if symmetric:
        f = (f + g.mT) / 2
        g = f.mT
    a, b = log_a.exp(), log_b.exp()
    while True:
        plan = ((f + g - cost) / final + outer).exp()
        error = (plan.sum(2) - a).abs().sum(1) if not symmetric else (plan.sum(1) - b).abs().sum(1)
        if done >= n_iterations or bool((error < tolerance).all()):
            break
        u, v = _scaled(plan, a, b, symmetric=symmetric)
        f = f + final * u.log()[:, :, None]
        g = g + final * v.log()[:, None, :]
        done += ROUND
    f, g = f.squeeze(2), g.squeeze(1)
    value = (a * f).sum(1) + (b * g).sum(1) - epsilon.to(cost) * (plan.sum((1, 2)) - 1)
    return Transport(plan, value, error, done)


def _log_masses(mass: Tensor | None, like: Tensor) -> Tensor:
    mass = torch.ones_like(like) if mass is None else mass.to(like)
    return (mass / mass.sum(1, keepdim=True)).log()


def _soft_min(cost: Tensor, log_mass: Tensor, epsilon: Tensor, dim: int) -> Tensor:
    return -epsilon * (log_mass - cost / epsilon).logsumexp(dim, keepdim=True)


def _scaled(plan: Tensor, a: Tensor, b: Tensor, *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Return the scales of rows and columns after some scalings; 1 for cells without mass."""
    tiny = torch.finfo(plan.dtype).tiny

    def scale(mass: Tensor, product: Tensor) -> Tensor:
        return torch.where(mass > 0, mass / product.clamp_min(tiny), 1).clamp(1 / BOUND, BOUND)

    u, v = torch.ones_like(a), torch.ones_like(b)
    for _ in range(ROUND):
        if symmetric:
            u = v = (u * scale(a, torch.bmm(plan, u[:, :, None])[..., 0])).sqrt()
            continue
        u = scale(a, torch.bmm(plan, v[:, :, None])[..., 0])
        v = scale(b, torch.bmm(u[:, None, :], plan)[:, 0])
    return u, v
