"""What can be measured on images of single cells: sizes, intensities, texture and where a dye lies.

Images are (n, C, H, W) intensities, about 0 in the background and 1 where the controls are bright.
All are measured at once, without a loop over cells. Sizes are in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ._segmentation import SQUARE, eccentricity, mean_within, nuclei, otsu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from .._typing import Floats

DARK = 0.02  # added to both sides of a ratio of intensities, so that dark regions have none
OF_CHANNEL = ("mean", "bright", "area", "foreground", "texture")

UNITS = {  # of features, by a part of their names
    " with ": "correlation of pixels",
    " area": "pixels",
    " mean": "share of the range of controls",
    " bright": "share of the range of controls",
    " foreground": "share of the range of controls",
    " texture": "SD / mean",
    " eccentricity": "0: a circle",
    " nucleus to ring": "log2 ratio",
}


def feature_names(channels: Sequence[str], nucleus: str | None) -> list[str]:
    """Return the names of the columns of :func:`image_features`."""
    names = [f"{channel} {what}" for channel in channels for what in OF_CHANNEL]
    names += [f"{a} with {b}" for i, a in enumerate(channels) for b in channels[i + 1 :]]
    if nucleus is None:
        return names
    names += ["nucleus area", "nucleus eccentricity"]
    return names + [f"{channel} nucleus to ring" for channel in channels if channel != nucleus]


def image_features(images: ArrayLike, *, nucleus: int | None = None) -> Floats:
    """Measure images of single cells.

    Parameters
    ----------
    images
        (n, C, H, W) intensities, about 0 in the background.
    nucleus
        Position of the channel that shows nuclei. ``None`` leaves out what needs one.

    Returns
    -------
    (n, d) features, in this order:

    - for each channel: the mean of all pixels; the 99th percentile; the area of the foreground,
      in pixels; its mean; and its texture (standard deviation of what is finer than about 1/20 of
      the image, over the mean, within the foreground);
    - for each pair of channels: the correlation of their pixels;
    - with a nucleus: its area in pixels; its eccentricity (0 for a circle); and for each other
      channel, log2 of the mean in the nucleus over that in a ring around it.

    The foreground is what is brighter than Otsu's threshold. The nucleus is the part of that which
    is nearest to the centre of the image. What an image does not have, such as a foreground, is 0.
    """
    x = np.asarray(images, dtype=np.float64)
    n, n_channels, height = x.shape[:3]
    blurred = ndimage.gaussian_filter(x, (0, 0, *[max(0.7, height / 64)] * 2))
    fine = x - ndimage.gaussian_filter(x, (0, 0, *[max(1.0, height / 32)] * 2))
    columns = []
    for c in range(n_channels):
        foreground = blurred[:, c] > otsu(blurred[:, c])[:, None, None]
        inner = ndimage.binary_erosion(foreground, SQUARE)
        inside = mean_within(x[:, c], foreground)
        rough = np.sqrt(mean_within(np.square(fine[:, c]), inner))
        pixels = x[:, c].reshape(n, -1)
        columns += [
            pixels.mean(axis=1),
            np.percentile(pixels, 99, axis=1),
            foreground.sum(axis=(1, 2)),
            inside,
            rough / np.maximum(np.abs(inside), DARK),
        ]
    pairs = [(a, b) for a in range(n_channels) for b in range(a + 1, n_channels)]
    columns += [_correlation(x[:, a], x[:, b]) for a, b in pairs]
    if nucleus is not None:
        columns += _of_nucleus(x, blurred[:, nucleus], nucleus)
    return np.column_stack(columns)


def _of_nucleus(x: Floats, stained: Floats, nucleus: int) -> list[Floats]:
    """Return area and eccentricity of the nucleus, and how much of each other channel is in it."""
    own, every = nuclei(stained)
    height = x.shape[2]
    gap = max(1, height // 32)
    near = ndimage.binary_dilation(own, SQUARE, iterations=gap)
    ring = ndimage.binary_dilation(near, SQUARE, iterations=max(2, height // 12)) & ~near & ~every
    found = [own.sum(axis=(1, 2)).astype(np.float64), eccentricity(own)]
    for c in range(x.shape[1]):
        if c != nucleus:
            inside, around = (np.maximum(mean_within(x[:, c], m), 0) for m in (own, ring))
            found.append(np.log2((inside + DARK) / (around + DARK)))
    return found


def _correlation(a: Floats, b: Floats) -> Floats:
    """Return the (n,) correlation of the pixels of two channels; 0 where one is constant."""
    a, b = (v.reshape(len(v), -1) - v.mean(axis=(1, 2))[:, None] for v in (a, b))
    norm = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norm, out=np.zeros(len(a)), where=norm > 1e-12)
