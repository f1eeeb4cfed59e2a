"""What metrics on means share: tables with one row per condition, masks and contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

ROUNDING = 1e-12  # differences below this share of the values are rounding


def tables(**given: Floats) -> list[Floats]:
    """Return (P, G) tables as float64.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite; the message has the names of the tables.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        listed = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
        msg = f"expected tables of conditions x genes, all of one shape, not {listed}"
        raise ValueError(msg)
    for name, values in arrays.items():
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        if bad:
            msg = (
                f"{bad} of {len(values)} rows of {name} hold NaN or infinite values; "
                "drop those conditions first"
            )
            raise ValueError(msg)
    return list(arrays.values())


def per_condition(values: Floats, name: str, n: int) -> Floats:
    """Return (n,) numbers as float64; NaN where one is not known.

    Raises
    ------
    ValueError
        If there are not n numbers, or one is infinite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.shape != (n,) or np.isinf(numbers).any():
        msg = (
            f"{name} must hold {n} numbers, one per condition and none infinite, "
            f"not an array of shape {numbers.shape}"
        )
        raise ValueError(msg)
    return numbers


def counted(mask: Bools | None, shape: tuple[int, ...]) -> Bools:
    """Return (P, G) booleans: the genes that count. All of them if `mask` is None.

    Raises
    ------
    ValueError
        If `mask` does not hold booleans of that shape.
    """
    if mask is None:
        return np.ones(shape, dtype=bool)
    genes = np.asarray(mask)
    if genes.shape != shape or genes.dtype != bool:
        msg = f"mask must hold booleans of shape {shape}, not {genes.dtype} of shape {genes.shape}"
        raise ValueError(msg)
    return genes


def members(group: Ints | None, n: int) -> list[Ints]:
    """Return the rows of each group of conditions. One group if `group` is None.

    Raises
    ------
    ValueError
        If `group` does not hold one label per condition.
    """
    if group is None:
        return [np.arange(n)]
    labels = np.asarray(group)
    if labels.shape != (n,):
        msg = (
            f"group must hold one label for each of {n} conditions, not be of shape {labels.shape}"
        )
        raise ValueError(msg)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def shifts(means: Floats, reference: Floats, mask: Bools) -> Floats:
    """Return means - reference over the genes that count, and 0 in other genes.

    Rows that are nothing but rounding become 0.
    """
    shift = np.where(mask, means - reference, 0.0)
    scale = np.maximum(np.linalg.norm(means, axis=1), np.linalg.norm(reference, axis=1))
    shift[np.linalg.norm(shift, axis=1) <= ROUNDING * scale] = 0.0
    return shift
