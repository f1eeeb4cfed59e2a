"""Images as they are looked at: channels in colours, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from .._typing import Floats

NUCLEI = ("dna", "dapi", "hoechst", "nucle", "h2b")  # in names of channels that show nuclei
BLUE = (0.15, 0.4, 1.0)
COLOURS = (  # light, and apart for colour-blind readers
    (1.0, 0.55, 0.1),
    (0.1, 0.85, 0.55),
    (0.95, 0.35, 0.75),
    (0.9, 0.9, 0.25),
    (0.55, 0.55, 0.6),
)
GAP = 2  # pixels between images of a mosaic


def colours_of(channels: Sequence[str]) -> Floats:
    """Return (C, 3) colours: blue for what shows nuclei, white for a single channel."""
    if len(channels) == 1:
        return np.ones((1, 3))
    nucleus = next((c for c in channels if any(word in c.lower() for word in NUCLEI)), None)
    others = [c for c in channels if c != nucleus]
    found = {c: COLOURS[i % len(COLOURS)] for i, c in enumerate(others)}
    return np.array([BLUE if c == nucleus else found[c] for c in channels])


def composite(images: ArrayLike, colours: ArrayLike) -> NDArray[np.float32]:
    """Return (n, H, W, 3) colours between 0 and 1 of (n, C, H, W) intensities between 0 and 1."""
    light = np.clip(np.asarray(images, dtype=np.float32), 0, 1)
    mixed = np.tensordot(light, np.asarray(colours, dtype=np.float32), axes=(1, 0))
    return np.asarray(np.clip(mixed, 0, 1), dtype=np.float32)


def mosaic(pictures: ArrayLike) -> NDArray[np.float32]:
    """Return one picture of (rows, columns, H, W, 3) pictures, with white gaps between them."""
    given = np.asarray(pictures, dtype=np.float32)
    n, m, height, width, _ = given.shape
    whole = np.ones((n * (height + GAP) - GAP, m * (width + GAP) - GAP, 3), dtype=np.float32)
    for i in range(n):
        for j in range(m):
            y, x = i * (height + GAP), j * (width + GAP)
            whole[y : y + height, x : x + width] = given[i, j]
    return whole
