"""Sizes of predicted responses against those of real ones, over a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._threads import one_thread
from .._validate import positive
from ._arguments import arrays
from ._lists import spearman
from ._means import per_condition

if TYPE_CHECKING:
    from .._typing import Floats

LEAST = 4  # fewest conditions for a rank correlation


@arrays
@one_thread()
def magnitude_error(predicted: Floats, real: Floats, *, floor: float | None = None) -> Floats:
    r"""How much too strong or too weak predicted responses are: a log ratio defined also at 0.

    .. math:: \mathrm{asinh}\frac{\hat m_p}{2 f} - \mathrm{asinh}\frac{m_p}{2 f}

    0 is perfect, above 0 is too strong and below 0 too weak. Far above the floor f it is log(m̂ /
    m).

    Unbiased magnitudes scatter around 0 where there is no response. Negative ones are then small,
    not wrong, but a plain ratio would explode or be undefined. This one is linear near 0: sizes far
    below f all mean "no response".

    Parameters
    ----------
    predicted
        (P,) magnitudes of the predicted responses: unbiased distances to the controls, on any
        scale.
    real
        (P,) magnitudes of the real responses, measured in the same way with as many cells. NaN
        where not known.
    floor
        f, the size below which differences do not matter. By default a tenth of the median size of
        the real responses.

    Returns
    -------
    (P,) errors in natural logarithms, float64. NaN where a magnitude is NaN, or if the real ones
    are all 0.

    Raises
    ------
    ValueError
        If the shapes differ, a value is infinite, or `floor` is not above 0.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> sh.metrics.magnitude_error(np.array([20.0, 0.0]), np.array([10.0, 0.0]), floor=0.01).round(
    ...     3
    ... )
    array([0.693, 0.   ])
    """
    predicted, truth = _sizes(predicted, real)
    if floor is None:
        known = np.abs(truth[np.isfinite(truth)])
        floor = 0.1 * float(np.median(known)) if known.size else 0.0
        if floor == 0:
            return np.full(len(truth), np.nan)
    positive(floor, name="floor")
    return np.arcsinh(predicted / (2 * floor)) - np.arcsinh(truth / (2 * floor))


@arrays
@one_thread()
def magnitude_spearman(predicted: Floats, real: Floats) -> float:
    """Rank correlation over conditions of the predicted with the real sizes of the responses.

    Higher is better: 1 is perfect and 0 is chance. Predictions that are all too strong or too weak
    by one factor keep the value 1. Use unbiased sizes. Biased distances depend on the number of
    cells, which both sides share, and so correlate without any merit.

    Parameters
    ----------
    predicted
        (P,) magnitudes of the predicted responses.
    real
        (P,) magnitudes of the real responses. Conditions with NaN in either are left out.

    Returns
    -------
    Correlation, -1 to 1. NaN with fewer than 4 conditions or where all have one magnitude.

    Raises
    ------
    ValueError
        If the shapes differ or a value is infinite.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> round(
    ...     sh.metrics.magnitude_spearman(np.array([1.0, 2, 3, 9]), np.array([0.1, 0.3, 0.2, 5])), 6
    ... )
    0.8
    """
    predicted, truth = _sizes(predicted, real)
    both = np.isfinite(predicted) & np.isfinite(truth)
    if both.sum() < LEAST:
        return float("nan")
    return spearman(predicted[both], truth[both])


def _sizes(predicted: Floats, real: Floats) -> tuple[Floats, Floats]:
    n = np.size(real)
    return per_condition(predicted, "predicted", n), per_condition(real, "real", n)
