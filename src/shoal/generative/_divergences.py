r"""Distances between populations that a model can be trained on: batched over sets, weighted, differentiable.

All are of the form :math:`2\,E h(x, y) - E h(x, x') - E h(y, y')` with the means within a population over pairs of
different slots (U-statistics), so that they are 0 on average between samples of one population, and may fall below 0. The
numbers are those of :mod:`shoal.metrics`; there is gradient here. The energy distance can be had `biased` as well, with
the pairs of a slot and itself (V-statistic), as losses in the literature have it.

Two more come from optimal transport with an entropic regularisation ε: the debiased :func:`sinkhorn_divergence` between
populations, and the :func:`monge_gap`, how much more a map costs than the cheapest way to the same cells. Their gradient is that
of the cost under the optimal plan, which is held fixed (the envelope theorem).

Slots of weight 0 are left out. A population with less than two slots that count has no pairs, and its own term is
taken as 0: the value is then too large, and its gradient is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._validate import one_of, positive
from ._sinkhorn import sinkhorn
from ._tensors import full

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._sinkhorn import Transport


def energy_distance(
    x: Tensor,
    y: Tensor,
    *,
    x_weight: Tensor | None = None,
    y_weight: Tensor | None = None,
    biased: bool = False,
) -> Tensor:
    """Energy distance of Euclidean distances between sets of cells.

    Parameters
    ----------
    x
        (K, S, D) cells of K populations.
    y
        (K, T, D) cells of those they are compared with.
    x_weight, y_weight
        (K, S) and (K, T) weights of the slots, 0 for those to leave out. By default all count the same.
    biased
        Whether a slot is a pair with itself, at distance 0: never below 0, above it between samples of one population,
        and pulling predictions together. Half of it is geomloss's ``SamplesLoss("energy")`` and the loss of PerturbDiff.

    Returns
    -------
    (K,) distances in the units of the columns, in single precision at least. The gradient between two cells at
    one place is 0.

    References
    ----------
    szekely2013energy: equal to :func:`shoal.metrics.energy_distance`.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.randn(2, 3, 64, 5, generator=torch.Generator().manual_seed(0))
    >>> loss = energy_distance(x.requires_grad_(), y).mean()
    """
    return _statistic(lambda distance: distance, x, y, x_weight, y_weight, biased=biased)


def mmd(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: float | Sequence[float],
    x_weight: Tensor | None = None,
    y_weight: Tensor | None = None,
) -> Tensor:
    """Squared maximum mean discrepancy with a mean of Gaussian kernels exp(−d² / 2w²).

    Parameters
    ----------
    x
        (K, S, D) cells of K populations.
    y
        (K, T, D) cells of those they are compared with.
    bandwidth
        Width w of the kernel in the units of the columns, or several, whose kernels are averaged.
    x_weight, y_weight
        As for :func:`energy_distance`.

    Returns
    -------
    (K,) squared discrepancies, in single precision at least.

    References
    ----------
    gretton2012kernel: equal to :func:`shoal.metrics.mmd`.
    """
    widths = [bandwidth] if isinstance(bandwidth, int | float) else list(bandwidth)

    def link(distance: Tensor) -> Tensor:
        kernels = [(-distance.square() / (2 * width**2)).exp() for width in widths]
        return -torch.stack(kernels).mean(0)

    return _statistic(link, x, y, x_weight, y_weight)


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
    r"""Entropic transport cost between populations, less what it is within each of them.

    As published, `biased`: OT(x, y) − OT(x, x) / 2 − OT(y, y) / 2 of all cells, the debiased Sinkhorn divergence. Between two point masses
    it is their distance to the `power`; for ε → ∞ and distances half the biased energy distance; for squared distances between
    Gaussians of one covariance the squared distance of their means, whatever ε. Between two *samples* of one population it is above
    0, the more so the wider the population: a map that minimises it makes populations too narrow.

    Else each population is cut into halves, and the same is taken of independent samples: the mean of OT(x₁, y₁), OT(x₁, y₂), OT(x₂, y₁)
    and OT(x₂, y₂), less OT(x₁, x₂) / 2 and OT(y₁, y₂) / 2. It is 0 on average between samples of one population, and nowhere less on
    average: half the energy distance of samples, with OT as the distance of two (Salimans et al. 2018). With much regularisation that of
    squares sees the means alone, so that a population may spread at no cost: train on distances, or on squares with little
    regularisation in few dimensions.

    Parameters
    ----------
    x, y
        (K, S, D) and (K, T, D) cells of K populations and of those they are compared with; slots in random order.
    epsilon
        Regularisation: in the units of the cost or, if `epsilon_relative`, as a share of the mean cost between x and y.
    epsilon_relative
        Whether `epsilon` is such a share.
    power
        1 for Euclidean distances, 2 for their squares.
    biased
        Whether to compare all cells with themselves; else it takes two cells that count on either side.
    x_weight, y_weight
        As for :func:`energy_distance`. As there are no means over pairs, repeats may as well be given their part of the mass.
    n_iterations, tolerance
        Of the solver, see :func:`shoal.generative.sinkhorn`.
    unsolved
        Called with the errors of the marginals if the solver did not get as far as `tolerance`.

    Returns
    -------
    (K,) divergences; those of a population without two cells that count are `biased`.

    Raises
    ------
    ValueError
        If `epsilon` is not above 0 or there is no such `power`.

    References
    ----------
    genevay2018learning, feydy2019interpolating, salimans2018improving
    """
    x, y = full(x), full(y)
    weights = [
        torch.ones_like(cells[..., 0]) if weight is None else weight.to(cells)
        for cells, weight in ((x, x_weight), (y, y_weight))
    ]
    limits: dict[str, Any] = {"n_iterations": n_iterations, "tolerance": tolerance}
    cost = costs(x, y, power)
    limits["epsilon"] = _regularisation(cost, epsilon, epsilon_relative=epsilon_relative)
    if biased:
        return _against_itself(cost, x, y, *weights, power, limits, unsolved)
    (x1, a1), (x2, a2), (y1, b1), (y2, b2) = *_halves(x, weights[0]), *_halves(y, weights[1])
    across = [(x1, y1, a1, b1), (x1, y2, a1, b2), (x2, y1, a2, b1), (x2, y2, a2, b2)]
    values = [_transported(across, power, limits, unsolved).mean(0)]
    values += [
        _transported([pair], power, limits, unsolved)[0]
        for pair in ((x1, x2, a1, a2), (y1, y2, b1, b2))
    ]
    return values[0] - (values[1] + values[2]) / 2


def _transported(
    pairs: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
    power: int,
    limits: dict[str, Any],
    unsolved: Callable[[Tensor], None] | None,
) -> Tensor:
    """Return the costs (P, K) of P pairs of populations with their weights, all solved at once."""
    left, right, a, b = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    cost = costs(left, right, power)
    found = sinkhorn(
        cost.detach(), a=a, b=b, **{**limits, "epsilon": limits["epsilon"].repeat(len(pairs))}
    )
    _tell(found, limits["tolerance"], unsolved)
    return _under_plan(cost, found).unflatten(0, (len(pairs), -1))


def _halves(cells: Tensor, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return two sets of different slots, with their weights; where only one slot counts, both are that slot."""
    order = (weight > 0).to(torch.int8).argsort(dim=1, descending=True, stable=True)
    if cells.shape[1] % 2:
        order = torch.cat([order, order[:, :1]], dim=1)
    found = []
    for half in (order[:, ::2], order[:, 1::2]):
        own = weight.gather(1, half)
        first = torch.zeros_like(own)
        first[:, 0] = 1
        lone = own.sum(1, keepdim=True) == 0
        half = torch.where(lone, order[:, :1], half)
        found.append(
            (torch.take_along_dim(cells, half[..., None], dim=1), torch.where(lone, first, own))
        )
    return found


def _against_itself(
    cost: Tensor,
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    power: int,
    limits: dict[str, Any],
    unsolved: Callable[[Tensor], None] | None,
) -> Tensor:
    own = costs(x, x.detach(), power)  # with half of the whole gradient of OT(x, x)
    between = sinkhorn(cost.detach(), a=a, b=b, **limits)
    of_x = sinkhorn(own.detach(), a=a, b=a, symmetric=True, **limits)
    of_y = sinkhorn(costs(y, y, power).detach(), a=b, b=b, symmetric=True, **limits)
    _tell(between, limits["tolerance"], unsolved)
    return _under_plan(cost, between) - (_under_plan(own, of_x, share=2) + of_y.value) / 2


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
    r"""How much dearer it is to move each x to its y than to reach the same y in the cheapest way.

    The entropic gap of Uscidda & Cuturi 2023, less the value ε H(mass) (ε log n for n cells) below which it cannot fall: 0, up to
    ε, where the map is optimal; otherwise above 0.

    Parameters
    ----------
    x, y
        (K, S, D) cells and where a map takes them, slot by slot.
    epsilon, epsilon_relative, power, n_iterations, tolerance, unsolved
        As for :func:`sinkhorn_divergence`.
    weight
        (K, S) weights of the slots.

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
    found = sinkhorn(
        cost.detach(),
        epsilon=epsilons,
        a=weight,
        b=weight,
        n_iterations=n_iterations,
        tolerance=tolerance,
    )
    _tell(found, tolerance, unsolved)
    mass = torch.ones_like(cost[..., 0]) if weight is None else weight.to(cost)
    mass = mass / mass.sum(1, keepdim=True)
    floor = epsilons * torch.special.entr(mass).sum(1)
    return (mass * cost.diagonal(dim1=1, dim2=2)).sum(1) - _under_plan(cost, found) + floor


def costs(x: Tensor, y: Tensor, power: int) -> Tensor:
    """Return (K, S, T) Euclidean distances, or their squares for ``power=2``."""
    one_of(power, (1, 2), name="power")
    centre = y.detach().mean(1, keepdim=True)
    x, y = x - centre, y - centre
    with torch.autocast(x.device.type, enabled=False):
        square = x.square().sum(2)[:, :, None] + y.square().sum(2)[:, None, :] - 2 * x @ y.mT
    return square.clamp_min(0) if power == 2 else _root(square)


def _root(square: Tensor) -> Tensor:
    apart = square > 0
    return (
        torch.where(apart, square, 1).sqrt() * apart
    )  # 0, and no gradient, between cells at one place


def _regularisation(cost: Tensor, epsilon: float, *, epsilon_relative: bool) -> Tensor:
    positive(epsilon, name="epsilon")
    scale = (
        cost.detach().mean((1, 2)).clamp_min(torch.finfo(cost.dtype).tiny)
        if epsilon_relative
        else torch.ones_like(cost[:, 0, 0])
    )
    return epsilon * scale


def _tell(found: Transport, tolerance: float, unsolved: Callable[[Tensor], None] | None) -> None:
    if unsolved is not None and bool((found.error >= tolerance).any()):
        unsolved(found.error)


def _under_plan(cost: Tensor, found: Transport, *, share: float = 1) -> Tensor:
    """Return the optimal values, with `share` times the gradient of the cost under the optimal plan."""
    moved = (found.plan * cost).sum((1, 2))
    return found.value + share * (moved - moved.detach())


def _statistic(
    link: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    x_weight: Tensor | None,
    y_weight: Tensor | None,
    *,
    biased: bool = False,
) -> Tensor:
    """Return 2 E h(x, y) − E h(x, x') − E h(y, y') with h a function of the distance; `biased` only if h(0) = 0."""
    x, y = full(x), full(y)
    centre = y.detach().mean(
        1, keepdim=True
    )  # distances near 0 are differences of squares: keep the squares small
    x, y = x - centre, y - centre
    wx, wy = (
        torch.ones_like(cells[..., 0]) if weight is None else weight.to(cells)
        for cells, weight in ((x, x_weight), (y, y_weight))
    )

    def mean(distance: Tensor, pairs: Tensor, total: Tensor) -> Tensor:
        return (pairs * link(distance)).sum((1, 2)) / total.clamp_min(torch.finfo(total.dtype).tiny)

    def within(distance: Tensor, weight: Tensor) -> Tensor:
        pairs = _others(weight)
        return mean(distance, pairs, weight.sum(1).square() if biased else pairs.sum((1, 2)))

    xx, yy, xy = _distances(x, y)
    between = mean(xy, wx[:, :, None] * wy[:, None, :], wx.sum(1) * wy.sum(1))
    return 2 * between - within(xx, wx) - within(yy, wy)


def _distances(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distances within x, within y and between the two, from inner products: `cdist` takes twice as long."""
    with torch.autocast(
        x.device.type, enabled=False
    ):  # which would round the products to half precision
        xx, yy, xy = _products(x), _products(y), x @ y.mT
    x2, y2 = (products.diagonal(dim1=1, dim2=2) for products in (xx, yy))

    def distance(a2: Tensor, b2: Tensor, products: Tensor) -> Tensor:
        return _root(a2[:, :, None] + b2[:, None, :] - 2 * products)

    return distance(x2, x2, xx), distance(y2, y2, yy), distance(x2, y2, xy)


def _products(x: Tensor) -> Tensor:
    """Return ``x @ x.mT`` (K, S, S); both cells of a pair being alike, the gradient of one is taken, twice."""
    products = x @ x.detach().mT
    return 2 * products - products.detach()


def _others(weight: Tensor) -> Tensor:
    """Return (K, S, S) weights of the pairs of different slots."""
    return (weight[:, :, None] * weight[:, None, :]) * (
        1 - torch.eye(weight.shape[1], device=weight.device)
    )
