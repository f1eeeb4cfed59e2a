"""The plane of a real and a predicted shift, and how alike the two are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .._typing import Floats


def plane_of(
    components: tuple[int, int] | None, control: Floats, real: Floats, predicted: Floats
) -> Floats:
    """Return two directions, (k, 2).

    Parameters
    ----------
    components
        Two components, counted from 1. If None, the first direction is the real shift. The second
        is the part of the predicted shift that is at right angles to the real one.
    control, real, predicted
        (n, k) cells of each kind.
    """
    k = real.shape[1]
    if components is not None:
        pair = np.asarray(components)
        if pair.shape != (2,) or not np.isin(pair, np.arange(1, k + 1)).all():
            msg = f"components={components!r} must be two numbers from 1 to {k}"
            raise ValueError(msg)
        return np.eye(k)[:, pair.astype(np.int64) - 1]
    start = control.mean(axis=0)
    found: list[Floats] = []
    for way in (real.mean(axis=0) - start, predicted.mean(axis=0) - start, *np.eye(k)[:2]):
        left = way - sum((way @ unit) * unit for unit in found)
        if len(found) < 2 and np.linalg.norm(left) > 1e-6 * np.linalg.norm(way):
            found.append(left / np.linalg.norm(left))
    return np.column_stack(found)


def agreement(real: Floats, predicted: Floats) -> str:
    """Say how alike two shifts are: their cosine, and the ratio of their lengths."""
    size, other = np.linalg.norm(real), np.linalg.norm(predicted)
    if not size * other > 0:
        return "one of them is zero"
    cosine = real @ predicted / (size * other)
    return f"cosine {cosine:.2f}, length × {other / size:.2f}".replace("-", "−")
