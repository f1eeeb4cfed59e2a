r"""Distances between populations that a model can be trained on.

They are batched over sets, weighted and differentiable. All have the form
:math:`2\,E h(x, y) - E h(x, x') - E h(y, y')`. The means within a population are over pairs of
different slots (U-statistics): the distance is 0 on average between samples of one population, and
may fall below 0. The values are those of :mod:`shoal.metrics`; here they have gradients. The energy
distance also has a `biased` form, which counts each slot with itself (V-statistic), as many losses
in the literature do.

Slots of weight 0 are left out. A population with fewer than two slots that count has no pairs, and
its own term is taken as 0. The value is then too large, and its gradient is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._tensors import full, root
from ._texts import documented

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@documented
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
        {cells}
    y
        {other_cells}
    x_weight, y_weight
        {weights}
    biased
        Whether to count each slot as a pair with itself, at distance 0. The value is then never
        below 0, and above 0 between samples of one population; it pulls predictions together. Half
        of it is ``SamplesLoss("energy")`` of geomloss, and the loss of PerturbDiff.

    Returns
    -------
    (K,) distances in the units of the columns, in single precision at least. The gradient between
    two cells at one place is 0.

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


@documented
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
        {cells}
    y
        {other_cells}
    bandwidth
        Width w of the kernel in the units of the columns, or several widths, whose kernels are
        averaged.
    x_weight, y_weight
        {weights}

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
    """Return 2 E h(x, y) − E h(x, x') − E h(y, y') with h a function of the distance.

    `biased` needs h(0) = 0.
    """
    x, y = full(x), full(y)
    # small distances are differences of squares, so the squares should be small
    centre = y.detach().mean(1, keepdim=True)
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
    """Return the distances within x, within y and between the two.

    They come from inner products; `cdist` takes twice as long.
    """
    # autocast would round the products to half precision
    with torch.autocast(x.device.type, enabled=False):
        xx, yy, xy = _products(x), _products(y), x @ y.mT
    x2, y2 = (products.diagonal(dim1=1, dim2=2) for products in (xx, yy))

    def distance(a2: Tensor, b2: Tensor, products: Tensor) -> Tensor:
        return root(a2[:, :, None] + b2[:, None, :] - 2 * products)

    return distance(x2, x2, xx), distance(y2, y2, yy), distance(x2, y2, xy)


def _products(x: Tensor) -> Tensor:
    """Return ``x @ x.mT`` (K, S, S).

    Both cells of a pair are from x, so the gradient of one of them is taken, twice.
    """
    products = x @ x.detach().mT
    return 2 * products - products.detach()


def _others(weight: Tensor) -> Tensor:
    """Return (K, S, S) weights of the pairs of different slots."""
    return (weight[:, :, None] * weight[:, None, :]) * (
        1 - torch.eye(weight.shape[1], device=weight.device)
    )
