r"""Distances between two sets of images, in features of them: Fréchet and polynomial kernel.

With the features of an Inception network these are known as FID and KID. Here the features are
given, (n, d), by whatever network or measurement.

**Fréchet.** For normal distributions of features it is the squared 2-Wasserstein distance,

.. math:: |\mu_x - \mu_y|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2}).

With centred rows :math:`A^\top A = \Sigma_x` and :math:`B^\top B = \Sigma_y`, the last trace is the
sum of the singular values of :math:`A B^\top`: no root of a matrix is taken. From samples it is too
large, by about c / n: 0 is never reached, and few images look bad. The correction takes both
samples in halves, where the bias is twice as large, and extrapolates:
:math:`2 D_n - \overline{D_{n/2}}`.

**Kernel.** The squared maximum mean discrepancy with :math:`k(x, y) = (x \cdot y / d + 1)^3`, over
pairs of different images, which has no bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._random import as_generator
from .._threads import one_thread
from .._validate import flag
from ._arguments import arrays
from ._distance import check_pair

if TYPE_CHECKING:
    from .._random import RNGLike
    from .._typing import Floats

SPLITS = 4  # cuts into halves that a correction averages over
BLOCK = 1024  # rows of a product of features


@arrays
@one_thread()
def frechet_distance(X: Floats, Y: Floats, *, corrected: bool = True, rng: RNGLike = 0) -> float:
    """Fréchet distance between the features of two sets of images (FID, for Inception features).

    Compute it anew for every class of images. A class with few images has a large distance even to
    itself, if it is not corrected.

    Parameters
    ----------
    X
        (n, d) features of one set.
    Y
        (m, d) features of the other set.
    corrected
        Whether to take off the bias of finite samples, by extrapolation from halves. The corrected
        distance is about 0 between samples of one distribution, and may fall below 0. That needs
        more images than features; with fewer, part of the bias stays.
    rng
        Seed or Generator of the halves.

    Returns
    -------
    Distance, in squared units of the features.

    Raises
    ------
    TypeError, ValueError
        As for :func:`edistance`, or if a set has fewer than 4 images and `corrected` is true.

    References
    ----------
    heusel2017gans, chong2020effectively

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> rng = np.random.default_rng(0)
    >>> value = sh.metrics.frechet_distance(rng.normal(1, 1, (90, 3)), rng.normal(0, 1, (80, 3)))
    """
    flag(corrected, name="corrected")
    generator = as_generator(rng)
    x, y = check_pair(X, Y, biased=False)
    value = _frechet(x, y)
    if not corrected:
        return value
    if min(len(x), len(y)) < 4:
        msg = (
            f"the correction needs at least 4 images in each set, not {len(x)} and {len(y)}: bring "
            "more, or pass corrected=False"
        )
        raise ValueError(msg)
    halves = []
    for _ in range(SPLITS):
        parts = [np.array_split(v[generator.permutation(len(v))], 2) for v in (x, y)]
        halves += [_frechet(*pair) for pair in zip(*parts, strict=True)]
    return float(2 * value - np.mean(halves))


@arrays
@one_thread()
def kernel_distance(X: Floats, Y: Floats) -> float:
    """Kernel distance between the features of two sets of images (KID, for Inception features).

    All pairs are used, so that nothing is drawn at random. Compute it anew for every class.

    Parameters
    ----------
    X
        (n, d) features of one set.
    Y
        (m, d) features of the other set.

    Returns
    -------
    Squared discrepancy with the kernel (x·y / d + 1)³. It is 0 on average between samples of one
    distribution, and may fall below 0.

    Raises
    ------
    TypeError, ValueError
        As for :func:`edistance`.

    References
    ----------
    binkowski2018demystifying

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> rng = np.random.default_rng(0)
    >>> value = sh.metrics.kernel_distance(rng.normal(1, 1, (90, 3)), rng.normal(0, 1, (80, 3)))
    """
    x, y = check_pair(X, Y, biased=False)
    n, m = len(x), len(y)
    within = [(_kernel_sum(v, v) - _kernel(np.square(v).sum(1), v.shape[1]).sum()) for v in (x, y)]
    between = _kernel_sum(x, y)
    return float(within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * between / (n * m))


def _frechet(x: Floats, y: Floats) -> float:
    """Return the uncorrected distance."""
    centred = [(v - v.mean(axis=0)) / np.sqrt(len(v) - 1) for v in (x, y)]
    trace = sum(float(np.square(c).sum()) for c in centred)
    a, b = (_triangle(c) if len(c) > c.shape[1] else c for c in centred)
    overlap = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    shift = float(np.square(x.mean(axis=0) - y.mean(axis=0)).sum())
    return shift + max(trace - 2 * overlap, 0.0)


def _triangle(rows: Floats) -> Floats:
    """Return R of the decomposition QR: few rows with the same products of columns."""
    triangle: Floats = np.linalg.qr(rows, mode="r")  # type: ignore[assignment]
    return triangle


def _kernel(products: Floats, d: int) -> Floats:
    value: Floats = (products / d + 1) ** 3
    return value


def _kernel_sum(x: Floats, y: Floats) -> float:
    blocks = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
    return float(sum(_kernel(block @ y.T, x.shape[1]).sum() for block in blocks))
