"""Foreground and nuclei of images of single cells, all images at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from .._typing import Bools, Floats

BINS = 64  # of a histogram of an image
CROSS = ndimage.generate_binary_structure(2, 1)[None]  # neighbours within an image
SQUARE = ndimage.generate_binary_structure(2, 2)[None]
IN_PLANE = np.concatenate([0 * CROSS, CROSS, 0 * CROSS]).astype(bool)


def otsu(images: Floats) -> Floats:
    """Return the (n,) threshold of each image (n, H, W) that parts two classes of pixels best.

    It maximises the variance between the classes, over a histogram of 64 bins. A constant image has
    its own value, so that none of its pixels is above.
    """
    n = len(images)
    pixels = images.reshape(n, -1)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    width = np.where(high > low, high - low, 1.0) / BINS
    level = np.minimum(((pixels - low[:, None]) / width[:, None]).astype(np.int64), BINS - 1)
    place = level + BINS * np.arange(n)[:, None]
    counts = np.bincount(place.ravel(), minlength=n * BINS).reshape(n, BINS).astype(np.float64)
    below = counts.cumsum(axis=1)
    above = below[:, -1:] - below
    first = (counts * np.arange(BINS)).cumsum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = first / below - (first[:, -1:] - first) / above
        variance = np.nan_to_num(below * above * np.square(apart))
    best = variance.argmax(axis=1)
    return np.where(high > low, low + (best + 1) * width, high)


def nuclei(images: Floats) -> tuple[Bools, Bools]:
    """Return the central nucleus of each image (n, H, W), and all nuclei, as masks."""
    bright = images > otsu(images)[:, None, None]
    bright = ndimage.binary_fill_holes(bright, CROSS)
    parts, _ = ndimage.label(bright, IN_PLANE)
    n, height, width = images.shape
    y, x = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    far = np.hypot(y[:, None], x[None, :]).ravel()
    flat = parts.reshape(n, -1)
    at = np.where(flat > 0, far, np.inf).argmin(axis=1)
    own = np.take_along_axis(flat, at[:, None], axis=1)
    central = ((flat == own) & (own > 0)).reshape(images.shape)
    return central, bright


def mean_within(images: Floats, mask: Bools) -> Floats:
    """Return the (n,) mean of each image (n, H, W) within its mask; 0 where the mask is empty."""
    total: Floats = (images * mask).sum(axis=(1, 2)) / np.maximum(mask.sum(axis=(1, 2)), 1)
    return total


def eccentricity(mask: Bools) -> Floats:
    """Return the eccentricity of the ellipse with the second moments of each mask."""
    height, width = mask.shape[1:]
    area = np.maximum(mask.sum(axis=(1, 2)), 1)
    y, x = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    rows, columns = mask.sum(axis=2), mask.sum(axis=1)
    y0, x0 = rows @ y / area, columns @ x / area
    yy, xx = rows @ y**2 / area - y0**2, columns @ x**2 / area - x0**2
    xy = np.einsum("nhw,h,w->n", mask, y, x) / area - y0 * x0
    half, root = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    return np.sqrt(np.clip(2 * root / np.maximum(half + root, 1e-12), 0, 1)) * mask.any(axis=(1, 2))
