"""One walk through crops: the intensities of the controls of every plate, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import some
from ..core._images import LEVELS
from ..core._walk import walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from .._typing import Bools, Floats, Ints, Matrix
    from ..core._matrix import Rows

SIXTEEN = 16  # a plate whose intensities all are this much lower may be of another depth


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


def range_of(rows: Rows, given: object, slot: str) -> tuple[tuple[float, float], int]:
    """Return the least and the largest intensity that a pixel can have, and the number of levels.

    Raises
    ------
    TypeError, ValueError
        If what is given is no range.
    """
    dtype = np.dtype(rows.matrix.dtype)
    whole = dtype.kind in "ui"
    if given is None:
        if dtype.kind == "f":
            return (0.0, 1.0), LEVELS
        top = 255 if dtype.itemsize == 1 else 65535
        return (0.0, float(top)), top + 1
    values = list(given) if isinstance(given, (tuple, list, np.ndarray)) else []
    numbers = [v for v in values if isinstance(v, (int, float, np.number))]
    if len(values) != 2 or len(numbers) != 2 or any(isinstance(v, bool) for v in values):
        msg = f"value_range must be two numbers, the least and the largest, not {given!r}"
        raise TypeError(msg)
    least, largest = map(float, values)
    if not (np.isfinite([least, largest]).all() and least < largest):
        msg = f"value_range={given!r}: the least intensity must lie below the largest"
        raise ValueError(msg)
    if whole and (least != int(least) or largest != int(largest)):
        msg = f"value_range={given!r}: {slot} holds whole numbers, so give whole numbers"
        raise ValueError(msg)
    return (least, largest), min(int(largest - least) + 1, LEVELS) if whole else LEVELS


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
    _check_pixels(low, high, value_range, declared=declared, names=names, rows=rows)
    if whole:
        _check_depth(high, plate, plates, rows)
    return Levels(totals["counts"], edges, found["mean"])


def _check_pixels(
    low: Any,
    high: Any,
    value_range: tuple[float, float],
    *,
    declared: bool,
    names: pd.Index,
    rows: Rows,
) -> None:
    """Raise ``ValueError`` for crops that cannot be used, with the names of the cells."""
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.all():
        msg = (
            f"{(~finite).sum()} crops of {rows.slot} hold NaN or infinite pixels, such as those of "
            f"{some(names[~finite], 3)}: leave these cells out, or fill the pixels"
        )
        raise ValueError(msg)
    least, largest = value_range
    out = (low < least) | (high > largest)
    if out.any():
        fix = (
            "give the range that the images have"
            if declared
            else "say which range the images have, such as "
            f"value_range=({min(0.0, float(low.min())):g}, {float(high.max()):g})"
        )
        msg = (
            f"{out.sum()} crops of {rows.slot} ({rows.matrix.dtype}) hold intensities outside of "
            f"{least:g} to {largest:g}: they go from {float(low.min()):g} to "
            f"{float(high.max()):g}; {fix}"
        )
        raise ValueError(msg)
    constant = low == high
    if constant.any():
        msg = (
            f"{constant.sum()} crops of {rows.slot} have the same intensity in all pixels and "
            f"channels, such as those of {some(names[constant], 3)}: there is no cell in them; "
            "leave them out"
        )
        raise ValueError(msg)


def _check_depth(high: Any, plate: Ints, plates: tuple[str, ...], rows: Rows) -> None:
    """Raise ``ValueError`` if images of 8 bits lie beside images of 16 bits."""
    top = np.zeros(len(plates))
    np.maximum.at(top, plate, high.astype(np.float64))
    eight = top <= 255
    if eight.any() and (top > 255 * SIXTEEN).any():
        low, high_plates = (
            [name for name, mine in zip(plates, side, strict=True) if mine]
            for side in (eight, top > 255 * SIXTEEN)
        )
        msg = (
            f"{rows.slot} seems to hold 8-bit images on the plates {some(low, 4)}, where no pixel "
            f"is above 255, and 16-bit images on {some(high_plates, 4)}, which go to "
            f"{top.max():g}: export all plates at one depth"
        )
        raise ValueError(msg)
