"""One walk through crops: how many control pixels of every plate have which intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core._walk import walk
from ._image_checks import check_depth, check_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from .._typing import Bools, Floats, Ints, Matrix
    from ..core._matrix import Rows


@dataclass(frozen=True)
class Levels:
    """How many control pixels of each plate and channel have an intensity.

    Attributes
    ----------
    counts
        (n_plates, n_channels, n_levels) pixels.
    edges
        Least and largest intensity; the levels lie evenly between them.
    brightness
        (n_obs, n_channels) mean intensity of every cell.
    """

    counts: Ints
    edges: tuple[float, float]
    brightness: Floats

    @property
    def width(self) -> float:
        """Width of a level."""
        return (self.edges[1] - self.edges[0]) / self.counts.shape[-1]

    def percentile(self, q: float) -> Floats:
        """Return the (n_plates, n_channels) intensity that q percent of the pixels lie below.

        Pixels of a level are spread evenly over its width.
        """
        total = self.counts.cumsum(axis=-1)
        wanted = q / 100 * total[..., -1:]
        at = np.minimum((total < wanted).sum(axis=-1), self.counts.shape[-1] - 1)[..., None]
        own = np.take_along_axis(self.counts, at, axis=-1)
        below = np.take_along_axis(total, at, axis=-1) - own
        part = (wanted - below) / np.maximum(own, 1)
        found: Floats = (self.edges[0] + (at + part) * self.width)[..., 0]
        return found


def read_levels(
    rows: Rows,
    *,
    plate: Ints,
    plates: tuple[str, ...],
    control: Bools,
    value_range: tuple[float, float],
    n_levels: int,
    declared: bool,
    names: pd.Index,
) -> Levels:
    """Read every crop once.

    Parameters
    ----------
    rows
        (n_obs, C, H, W) crops.
    plate, plates
        (n_obs,) position of the plate of every cell, and the names of the plates.
    control
        (n_obs,) which cells are controls.
    value_range, n_levels
        Range of intensities, and in how many levels they are counted.
    declared
        Whether the user gave the range, for messages.
    names
        Names of the cells, for messages.

    Raises
    ------
    ValueError
        If pixels are NaN or outside of the range, if crops are constant, or if some plates hold
        8-bit and others 16-bit images.
    """
    whole = np.dtype(rows.matrix.dtype).kind in "ui"
    least, largest = value_range
    edges = (least, largest + 1) if whole else value_range
    shape = (len(plates), rows.cell_shape[0], n_levels)
    factor = n_levels / (edges[1] - edges[0])

    def visit(where: slice, block: Matrix, totals: dict[str, Any]) -> Mapping[str, Any]:
        pixels = np.asarray(block).reshape(*block.shape[:2], -1)
        low, high = pixels.min(axis=2), pixels.max(axis=2)
        usable = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
        usable &= (low.min(axis=1) >= least) & (high.max(axis=1) <= largest)
        chosen = np.flatnonzero(usable & control[where])
        for code in np.unique(plate[where][chosen]):
            mine = pixels[chosen[plate[where][chosen] == code]]
            for c in range(shape[1]):
                level = (mine[:, c].ravel().astype(np.float64) - least) * factor
                at = np.minimum(level.astype(np.int64), n_levels - 1)
                totals["counts"][code, c] += np.bincount(at, minlength=n_levels)
        mean = pixels.mean(axis=2, dtype=np.float64)
        return {"low": low.min(axis=1), "high": high.max(axis=1), "mean": mean}

    totals, found = walk(rows, visit, lambda: {"counts": np.zeros(shape, dtype=np.int64)})
    low, high = found["low"], found["high"]
    check_pixels(low, high, value_range, declared=declared, names=names, rows=rows)
    if whole:
        check_depth(high, plate, plates, rows)
    return Levels(totals["counts"], edges, found["mean"])
