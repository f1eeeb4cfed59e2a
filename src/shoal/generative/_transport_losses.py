"""Losses from optimal transport with an entropic regularisation ε, batched over sets.

- :func:`sinkhorn_divergence` is a distance between populations.
- :func:`monge_gap` is how much more a map costs than the cheapest way to the same cells.

Their gradient is that of the cost under the optimal plan, which is held fixed (the envelope
theorem).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._validate import one_of, positive
from ._sinkhorn import sinkhorn
from ._tensors import full, root
from ._texts import documented

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._sinkhorn import Transport


@documented
def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    epsilon_relative: bool = False,
    power: int = 1,
    biased: bool = False,
    x_weight: Tensor | None = None,
    y_weight: Tensor | None = None,
    n_iterations: int = 2000,
    tolerance: float = 1e-3,
    unsolved: Callable[[Tensor], None] | None = None,
) -> Tensor:
    r"""Entropic transport cost between populations, less the cost within each of them.

    There are two forms, with OT the entropic cost between two populations.

    *Biased*, as published, is the debiased Sinkhorn divergence of all cells: OT(x, y) − OT(x, x) /
    2 − OT(y, y) / 2.

    - Between two point masses it is their distance to the `power`.
    - For ε → ∞ and distances it is half the biased energy distance.
    - For squared distances between Gaussians of one covariance it is the squared distance of their
      means, for every ε.
    - Between two *samples* of one population it is above 0, and larger for a wider population. A
      map that minimises it makes populations too narrow.

    *Unbiased*, the default, cuts each population into halves and compares independent samples: the
    mean of OT(x₁, y₁), OT(x₁, y₂), OT(x₂, y₁) and OT(x₂, y₂), less OT(x₁, x₂) / 2 and OT(y₁, y₂) /
    2. It is half the energy distance of samples, with OT as the distance of two samples (Salimans
    et al. 2018). It is 0 on average between samples of one population, and nowhere lower on
    average. With squared distances and much regularisation it sees nothing but the means, so a
    population can spread at no cost. Train on distances, or on squares with little regularisation
    in few dimensions.

    Parameters
    ----------
    x
        {cells}
        Slots are in random order.
    y
        {other_cells}
        Slots are in random order.
    epsilon
        {epsilon}
    epsilon_relative
        {epsilon_relative}
    power
        {power}
    biased
        Whether to compare all cells with themselves. The unbiased form needs two cells that count
        on either side.
    x_weight, y_weight
        {weights}
        There are no means over pairs here, so a repeated cell may also get a share of the mass.
    n_iterations
        {n_iterations}
    tolerance
        {tolerance}
    unsolved
        {unsolved}

    Returns
    -------
    (K,) divergences. The biased form is used for a population without two cells that count.

    Raises
    ------
    ValueError
        If `epsilon` is not above 0 or there is no such `power`.

    References
    ----------
    genevay2018learning, feydy2019interpolating, salimans2018improving
    """
    x, y = full(x), full(y)
    a, b = (
        torch.ones_like(cells[..., 0]) if weight is None else weight.to(cells)
        for cells, weight in ((x, x_weight), (y, y_weight))
    )
    cost = costs(x, y, power)
    epsilons = _regularisation(cost, epsilon, epsilon_relative=epsilon_relative)
    solver = _Solver(power, epsilons, n_iterations, tolerance, unsolved)
    if biased:
        return _against_itself(solver, cost, x, y, a, b)
    (x1, a1), (x2, a2), (y1, b1), (y2, b2) = *_halves(x, a), *_halves(y, b)
    across = [(x1, y1, a1, b1), (x1, y2, a1, b2), (x2, y1, a2, b1), (x2, y2, a2, b2)]
    between = solver.transported(across).mean(0)
    within_x, within_y = (
        solver.transported([pair])[0] for pair in ((x1, x2, a1, a2), (y1, y2, b1, b2))
    )
    return between - (within_x + within_y) / 2


@documented
def monge_gap(
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    epsilon_relative: bool = False,
    power: int = 1,
    weight: Tensor | None = None,
    n_iterations: int = 2000,
    tolerance: float = 1e-3,
    unsolved: Callable[[Tensor], None] | None = None,
) -> Tensor:
    r"""How much more a map costs than the cheapest way to the same cells.

    It is the cost of moving each x to its y, less the entropic transport cost between x and y: the
    gap of Uscidda & Cuturi 2023. That gap cannot fall below ε H(mass), which is ε log n for n
    cells, and this value is subtracted. So the result is 0, up to ε, where the map is optimal, and
    above 0 elsewhere.

    Parameters
    ----------
    x
        (K, S, D) cells.
    y
        (K, S, D) cells to which a map takes them, slot by slot.
    epsilon
        {epsilon}
    epsilon_relative
        {epsilon_relative}
    power
        {power}
    weight
        (K, S) weights of the slots; 0 leaves a slot out. By default all count the same.
    n_iterations
        {n_iterations}
    tolerance
        {tolerance}
    unsolved
        {unsolved}

    Returns
    -------
    (K,) gaps in the units of the cost.

    Raises
    ------
    ValueError
        If `epsilon` is not above 0 or there is no such `power`.

    References
    ----------
    uscidda2023monge
    """
    cost = costs(full(x), full(y), power)
    epsilons = _regularisation(cost, epsilon, epsilon_relative=epsilon_relative)
    solver = _Solver(power, epsilons, n_iterations, tolerance, unsolved)
    transport = solver.checked(cost, weight, weight)
    mass = torch.ones_like(cost[..., 0]) if weight is None else weight.to(cost)
    mass = mass / mass.sum(1, keepdim=True)
    floor = epsilons * torch.special.entr(mass).sum(1)
    moved = (mass * cost.diagonal(dim1=1, dim2=2)).sum(1)
    return moved - _under_plan(cost, transport) + floor


def costs(x: Tensor, y: Tensor, power: int) -> Tensor:
    """Return (K, S, T) Euclidean distances, or their squares for ``power=2``."""
    one_of(power, (1, 2), name="power")
    centre = y.detach().mean(1, keepdim=True)
    x, y = x - centre, y - centre
    with torch.autocast(x.device.type, enabled=False):
        square = x.square().sum(2)[:, :, None] + y.square().sum(2)[:, None, :] - 2 * x @ y.mT
    return square.clamp_min(0) if power == 2 else root(square)


@dataclass(frozen=True)
class _Solver:
    """The settings of all transport problems of one loss.

    Attributes
    ----------
    power
        1 for Euclidean distances, 2 for their squares.
    epsilon
        (K,) regularisation of each set, in the units of the cost.
    n_iterations, tolerance
        Limits of :func:`shoal.generative.sinkhorn`.
    unsolved
        Called with the errors of the marginals if they are not below `tolerance`.
    """

    power: int
    epsilon: Tensor
    n_iterations: int
    tolerance: float
    unsolved: Callable[[Tensor], None] | None

    def solve(
        self, cost: Tensor, a: Tensor | None, b: Tensor | None, *, symmetric: bool = False
    ) -> Transport:
        """Solve (P K,) problems of transport: P times those of the K sets, one after another."""
        return sinkhorn(
            cost.detach(),
            epsilon=self.epsilon.repeat(len(cost) // len(self.epsilon)),
            a=a,
            b=b,
            symmetric=symmetric,
            n_iterations=self.n_iterations,
            tolerance=self.tolerance,
        )

    def checked(self, cost: Tensor, a: Tensor | None, b: Tensor | None) -> Transport:
        """Solve problems of transport, and report those that are not solved."""
        transport = self.solve(cost, a, b)
        if self.unsolved is not None and bool((transport.error >= self.tolerance).any()):
            self.unsolved(transport.error)
        return transport

    def transported(self, pairs: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Tensor:
        """Return the costs (P, K) of P pairs of populations with their weights, solved together."""
        left, right, a, b = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        cost = costs(left, right, self.power)
        return _under_plan(cost, self.checked(cost, a, b)).reshape(len(pairs), -1)


def _against_itself(
    solver: _Solver, cost: Tensor, x: Tensor, y: Tensor, a: Tensor, b: Tensor
) -> Tensor:
    """Return the biased divergences (K,)."""
    cost_x = costs(x, x.detach(), solver.power)  # holds half of the gradient of OT(x, x)
    between = solver.checked(cost, a, b)
    of_x = solver.solve(cost_x, a, a, symmetric=True)
    of_y = solver.solve(costs(y, y, solver.power), b, b, symmetric=True)
    within = _under_plan(cost_x, of_x, share=2) + of_y.value
    return _under_plan(cost, between) - within / 2


def _halves(cells: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return two sets of different slots, with their weights.

    Where only one slot counts, both sets are that slot.
    """
    order = (weight > 0).to(torch.int8).argsort(dim=1, descending=True, stable=True)
    if cells.shape[1] % 2:
        order = torch.cat([order, order[:, :1]], dim=1)
    halves = []
    for half in (order[:, ::2], order[:, 1::2]):
        mass = weight.gather(1, half)
        first = torch.zeros_like(mass)
        first[:, 0] = 1
        lone = mass.sum(1, keepdim=True) == 0
        half = torch.where(lone, order[:, :1], half)
        halves.append(
            (torch.take_along_dim(cells, half[..., None], dim=1), torch.where(lone, first, mass))
        )
    return halves


def _regularisation(cost: Tensor, epsilon: float, *, epsilon_relative: bool) -> Tensor:
    positive(epsilon, name="epsilon")
    scale = (
        cost.detach().mean((1, 2)).clamp_min(torch.finfo(cost.dtype).tiny)
        if epsilon_relative
        else torch.ones_like(cost[:, 0, 0])
    )
    return epsilon * scale


def _under_plan(cost: Tensor, transport: Transport, *, share: float = 1) -> Tensor:
    """Return the optimal values, with the gradient of the cost under the optimal plan.

    The gradient is multiplied by `share`.
    """
    moved = (transport.plan * cost).sum((1, 2))
    return transport.value + share * (moved - moved.detach())
