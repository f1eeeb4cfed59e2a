"""Whether values can be a prediction of the real cells: finite, and on their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..metrics._cells import sizes_of, stored
from ..metrics._scale_match import FAR_APART, mismatch
from ..metrics._scale_profiles import profiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Matrix
    from ..metrics._comparison import Populations, Truth


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
        check_finite(made.cells, where, names=made.truth.names)
    _check_scale(made, made.truth, where)
    return made


def check_finite(several: Sequence[Matrix], where: str, *, names: Sequence[str]) -> None:
    """Raise ``ValueError`` if predicted cells hold NaN or infinite values.

    Parameters
    ----------
    several
        Populations.
    where
        Slot that they come from, for the message.
    names
        Names of the populations.
    """
    bad = np.array([int((~_finite_rows(cells)).sum()) for cells in stored(several)])
    if bad.any():
        msg = (
            f"{where} holds NaN or infinite values in {bad.sum()} of {sizes_of(several).sum()} "
            f"predicted cells, such as those of {names[np.flatnonzero(bad)[0]]!r}; predict them "
            "again"
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
    if not made.means.any() and (truth.real.means > 0).any() and not (truth.real.means < 0).any():
        reason = "predicted values are all 0, and real ones are not"
    elif whole_numbers(made.cells) and not whole_numbers(truth.cells) and made.means.any():
        reason = "predicted values are whole numbers, and real ones are not: counts?"
    else:
        reason = mismatch(profiles(made))
    if reason:
        end = "" if reason.endswith("?") else "."
        msg = (
            f"{where} is not on the scale of the real cells: {reason}{end} Normalise the "
            "prediction as the real cells were, or name other real values with layer="
        )
        raise ValueError(msg)


def _finite_rows(values: Matrix) -> Bools:
    if sparse.issparse(values):
        good = np.ones(values.shape[0], dtype=bool)
        row = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
        good[row[~np.isfinite(values.data)]] = False
        return good
    return np.asarray(np.isfinite(values).all(axis=1))
