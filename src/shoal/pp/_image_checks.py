"""What intensities of crops can be, and crops that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import some

if TYPE_CHECKING:
    import pandas as pd

    from .._typing import Ints
    from ..core._matrix import Rows

LEVELS = 2**16  # distinct intensities of 16 bits
SIXTEEN = 16  # a plate whose intensities all are this much lower may be of another depth


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


def check_pixels(
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


def check_depth(high: Any, plate: Ints, plates: tuple[str, ...], rows: Rows) -> None:
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
