"""Whether values can be a prediction of the real cells: finite, and on their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..metrics._cells import sizes_of, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Matrix
    from ..metrics._comparison import Populations, Truth

FAR_APART = 3.0  # factor between two mean values that no two sets of cells of one scale have


def checked(made: Populations, where: str) -> Populations:
    """Return predicted populations, once their values are finite and of the scale of the real ones.

    Parameters
    ----------
    made
        The predicted populations.
    where
        Slot that they come from, for the message.

    Raises
    ------
    ValueError
        If a value is NaN or infinite, or the scale is another.
    """
    if not np.isfinite(made.means).all():  # quicker than a look at every cell
        check_finite(made.cells, where)
    _check_scale(made, made.truth, where)
    return made


def check_finite(several: Sequence[Matrix], where: str) -> None:
    """Raise ``ValueError`` if predicted cells hold NaN or infinite values."""
    bad = sum(int((~_finite_rows(cells)).sum()) for cells in stored(several))
    if bad:
        msg = (
            f"{bad} of {sizes_of(several).sum()} predicted cells in {where} hold NaN or infinite "
            "values; predict them again"
        )
        raise ValueError(msg)


def far_apart(size: float, real: float) -> bool:
    """Return whether cells of mean absolute value `size` cannot be on the scale of real cells."""
    return real > 0 and not real / FAR_APART <= size <= real * FAR_APART


def whole_numbers(several: Sequence[Matrix]) -> bool:
    """Return whether all values of all populations are whole numbers, as counts are."""
    values = (cells.data if sparse.issparse(cells) else cells for cells in stored(several))
    return all(bool(np.all(own == np.rint(own))) for own in values)


def _check_scale(made: Populations, truth: Truth, where: str) -> None:
    if whole_numbers(made.cells) and not whole_numbers(truth.cells) and made.means.max() > 1:
        msg = (
            f"{where} holds whole numbers and the real cells do not: counts? Log-normalise them as "
            "the real cells were"
        )
        raise ValueError(msg)
    size, real = (float(np.abs(one.means).mean()) for one in (made, truth.real))
    if far_apart(size, real):
        msg = (
            f"the mean value in {where} is {size:.3g} and that of the real cells {real:.3g}: they "
            "are not on one scale. Normalise the prediction as the real cells were (layer= names "
            "other real values)"
        )
        raise ValueError(msg)


def _finite_rows(values: Matrix) -> Bools:
    if sparse.issparse(values):
        good = np.ones(values.shape[0], dtype=bool)
        row = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
        good[row[~np.isfinite(values.data)]] = False
        return good
    return np.asarray(np.isfinite(values).all(axis=1))
