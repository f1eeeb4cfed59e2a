r"""Distances between populations that a model can be trained on: batched over sets, weighted, differentiable.

All are of the form :math:`2\,E h(x, y) - E h(x, x') - E h(y, y')` with the means within a population over pairs of
different slots (U-statistics), so that they are 0 on average between samples of one population, and may fall below 0. The
numbers are those of :mod:`shoal.metrics`; there is gradient here. The energy distance can be had `biased` as well, with
the pairs of a slot and itself (V-statistic), as losses in the literature have it.

Slots of weight 0 are left out. A population with less than two slots that count has no pairs, and its own term is
taken as 0: the value is then too large, and its gradient is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._tensors import full

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    centre = y.detach().mean(1, keepdim=True)  # distances near 0 are differences of squares: keep the squares small
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
    with torch.autocast(x.device.type, enabled=False):  # which would round the products to half precision
        xx, yy, xy = _products(x), _products(y), x @ y.mT
    x2, y2 = (products.diagonal(dim1=1, dim2=2) for products in (xx, yy))

    def distance(a2: Tensor, b2: Tensor, products: Tensor) -> Tensor:
        square = a2[:, :, None] + b2[:, None, :] - 2 * products
        apart = square > 0
        return torch.where(apart, square, 1).sqrt() * apart  # 0, and no gradient, between cells at one place

    return distance(x2, x2, xx), distance(y2, y2, yy), distance(x2, y2, xy)


def _products(x: Tensor) -> Tensor:
    """Return ``x @ x.mT`` (K, S, S); both cells of a pair being alike, the gradient of one is taken, twice."""
    products = x @ x.detach().mT
    return 2 * products - products.detach()


def _others(weight: Tensor) -> Tensor:
    """Return (K, S, S) weights of the pairs of different slots."""
    return (weight[:, :, None] * weight[:, None, :]) * (1 - torch.eye(weight.shape[1], device=weight.device))
