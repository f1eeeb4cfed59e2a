r"""What a metric can tell on these data: losses, range between two controls, ceiling.

Everything here works on *losses*: (P,) numbers, one per condition. A loss of 0 is perfect and more
is worse, whatever the metric (:func:`loss`). NaN stands for a missing value. A comparison uses the
conditions for which every compared prediction has a value.

Two controls bound what a metric can tell:

- the *positive control* is a second experiment: other real cells of the same condition;
- the *negative control* is a prediction that knows nothing of the condition: the mean of all other
  conditions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._validate import one_of
from ._arguments import arrays, require_finite

if TYPE_CHECKING:
    from .._typing import Bools, Floats

DIRECTIONS = ("higher", "lower", "target")
LEAST_DRF = 0.1  # DRF below which plots show a metric in grey


def loss(values: Floats, direction: str, *, perfect: float) -> Floats:
    r"""Turn values of a metric into losses: 0 is perfect, more is worse.

    - ``"higher"`` (higher values are better): perfect − value.
    - ``"lower"``: value − perfect. An unbiased distance may fall below 0. It is not cut off at 0,
      which would bias the mean.
    - ``"target"`` with perfect = 0, for differences and log ratios: \|value\|.
    - ``"target"`` with perfect > 0, for ratios: \|v − perfect\| / (v + perfect). This equals
      tanh(\|log(v / perfect)\| / 2), so half and double lose the same, as on the log scale. The
      largest loss is 1: a value of 0 (a collapsed prediction) has a finite loss. Values below 0
      also lose 1.

    Parameters
    ----------
    values
        Values of the metric, of any shape; NaN where missing.
    direction
        ``"higher"``, ``"lower"`` or ``"target"``.
    perfect
        Best value of the metric; at least 0 for a target.

    Returns
    -------
    Losses, float64 of the same shape; NaN where missing.

    Raises
    ------
    ValueError
        If the direction is not known, a value is infinite, `perfect` is not finite, or `perfect` is
        below 0 for a target.

    Examples
    --------
    >>> from shoal.metrics._calibration import loss
    >>> loss([0.25, 0.5, 1, 2, 0], "target", perfect=1).round(3)
    array([0.6  , 0.333, 0.   , 0.333, 1.   ])
    """
    one_of(direction, DIRECTIONS, name="direction")
    v = np.asarray(values, dtype=np.float64)
    if np.isinf(v).any():
        msg = (
            f"{int(np.isinf(v).sum())} of {v.size} values are infinite; "
            "a value that is not defined is NaN"
        )
        raise ValueError(msg)
    if not np.isfinite(perfect) or (direction == "target" and perfect < 0):
        msg = f"perfect={perfect!r} must be finite, and at least 0 for a target"
        raise ValueError(msg)
    if direction == "higher":
        return perfect - v
    if direction == "lower":
        return v - perfect
    if perfect == 0:
        return np.abs(v)
    inside = np.maximum(v, 0.0)
    return np.abs(inside - perfect) / (inside + perfect)


@arrays
def drf(positive_loss: Floats, negative_loss: Floats) -> float:
    r"""Dynamic range fraction: how much better a second experiment does than ignorance.

    It is the mean over conditions of (m⁺ − m⁻) / (m* − m⁻), cut off at −1 and 1. Here m⁺ is the
    value of the positive control, m⁻ that of the negative control and m* the perfect value. In
    losses this is 1 − loss⁺ / loss⁻.

    - 1: a second experiment is as good as a perfect prediction.
    - 0: a second experiment is no better than a prediction that knows nothing. The metric cannot
      tell a good model from a bad one on these data.

    A condition whose negative control is already perfect has no range and counts 0.

    Parameters
    ----------
    positive_loss, negative_loss
        (P,) losses of the positive and of the negative control.

    Returns
    -------
    Mean over conditions, −1 to 1; NaN if no condition has both losses.

    Raises
    ------
    ValueError
        If the arrays differ in length.

    References
    ----------
    Miller et al. (2025), bioRxiv, on calibrated metrics for perturbation models.

    Examples
    --------
    >>> from shoal.metrics import drf
    >>> drf([0.1, 0.2], [0.4, 0.8])
    0.75
    """
    losses = {"positive_loss": positive_loss, "negative_loss": negative_loss}
    require_finite(losses, missing=True)
    good, bad = paired(positive_loss, negative_loss)
    if not good.size:
        return float("nan")
    part = 1 - good / np.where(bad > 0, bad, 1.0)
    return float(np.where(bad > 0, np.clip(part, -1, 1), 0.0).mean())


@arrays
def bds(positive_loss: Floats, negative_loss: Floats) -> float:
    """Bound discrimination score: how often the positive control beats the negative one.

    A tie counts as half, so chance is 0.5.

    Parameters
    ----------
    positive_loss, negative_loss
        (P,) losses of the positive and of the negative control.

    Returns
    -------
    Share of the conditions, 0 to 1; NaN if no condition has both losses.

    Raises
    ------
    ValueError
        If the arrays differ in length.

    References
    ----------
    Miller et al. (2025), bioRxiv, on calibrated metrics for perturbation models.

    Examples
    --------
    >>> from shoal.metrics import bds
    >>> bds([0.1, 0.2, 0.5, 0.3], [0.4, 0.8, 0.5, 0.2])
    0.625
    """
    losses = {"positive_loss": positive_loss, "negative_loss": negative_loss}
    require_finite(losses, missing=True)
    good, bad = paired(positive_loss, negative_loss)
    return float(np.mean((good < bad) + (good == bad) / 2)) if good.size else float("nan")


def discriminates(range_fraction: float, score: float) -> bool:
    """Return whether a metric tells the two controls apart: DRF at least 0.1 and BDS above 0.5.

    Both are needed. A few conditions with a large range can give a high DRF although the second
    experiment loses in most conditions. A metric without the two values does not discriminate.

    Parameters
    ----------
    range_fraction
        The metric's :func:`drf`.
    score
        The metric's :func:`bds`.

    Returns
    -------
    Whether both are high enough.
    """
    return bool(range_fraction >= LEAST_DRF and score > 0.5)


@arrays
def ceiling(halves: Floats | float, *, noise_free: bool = False) -> Floats:
    r"""Highest correlation that a metric can reach, from the correlation of two halves.

    The halves are two halves of the real cells, whose correlation is r (Spearman–Brown):

    - a second experiment with all cells would correlate at 2r / (1 + r) with the first;
    - the truth, measured without noise, would correlate at the square root of that.

    A model that pools many perturbations may be less noisy than an experiment. It can pass the
    first ceiling but not the second. Use it for correlations only.

    Parameters
    ----------
    halves
        Correlations between halves, of any shape, −1 to 1; NaN where missing.
    noise_free
        Whether to return the ceiling of the noise-free truth instead of that of a second
        experiment.

    Returns
    -------
    Ceilings, of the same shape. A correlation of 0 or less shows no signal: it comes back
    unchanged, or as 0 if `noise_free`.

    Raises
    ------
    ValueError
        If a value is not between −1 and 1.

    References
    ----------
    Spearman (1910) and Brown (1910), Br. J. Psychol. 3, 271 and 296.

    Examples
    --------
    >>> from shoal.metrics import ceiling
    >>> ceiling([0.5, 1.0, -0.1]).round(3)
    array([ 0.667,  1.   , -0.1  ])
    """
    r = np.asarray(halves, dtype=np.float64)
    if (np.abs(r) > 1 + 1e-9).any():
        msg = f"halves must be correlations, -1 to 1, not up to {np.nanmax(np.abs(r)):.3g}"
        raise ValueError(msg)
    signal = np.where(r > 0, r, 0.0)
    full = 2 * signal / (1 + signal)
    limit = np.sqrt(full) if noise_free else np.where(r > 0, full, r)
    return np.where(np.isnan(r), np.nan, limit)


def best_baseline(losses: Floats, *, coverage: float = 0.9) -> int | None:
    """Return which baseline has the least mean loss, over the conditions that all of them have.

    A baseline with far fewer values than the others cannot be compared fairly and is left out.

    Parameters
    ----------
    losses
        (B, P) losses of B baselines.
    coverage
        Share of the largest number of values that a baseline needs in order to be compared.

    Returns
    -------
    Row of the best baseline, the first one if several are equal. None if no baseline has a value,
    or no condition is shared.

    Raises
    ------
    ValueError
        If `losses` is not 2-D.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics._calibration import best_baseline
    >>> best_baseline([[0.3, 0.4, np.nan], [0.2, 0.4, 9.0]], coverage=0.6)
    1
    """
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2:
        msg = f"losses must be (baselines, conditions), not of shape {table.shape}"
        raise ValueError(msg)
    has = ~np.isnan(table)
    n = has.sum(axis=1)
    enough = (n > 0) & (n >= coverage * n.max(initial=0))
    shared = has[enough].all(axis=0)
    if not enough.any() or not shared.any():
        return None
    means = table[np.ix_(enough, shared)].mean(axis=1)
    return int(np.flatnonzero(enough)[np.argmin(means)])


def paired(*losses: Floats) -> list[Floats]:
    """Return the losses of the conditions for which all have one."""
    kept = complete(*losses)
    return [np.asarray(one, dtype=np.float64)[kept] for one in losses]


def complete(*losses: Floats) -> Bools:
    """Return (P,) whether a condition has all losses.

    Raises
    ------
    ValueError
        If the losses are not 1-D or differ in length.
    """
    arrays = [np.asarray(one, dtype=np.float64) for one in losses]
    if arrays[0].ndim != 1 or len({one.shape for one in arrays}) > 1:
        msg = (
            "losses must be 1-D arrays of one length, with one value per condition, "
            f"not of shapes {[a.shape for a in arrays]}"
        )
        raise ValueError(msg)
    return np.asarray(np.isfinite(np.stack(arrays)).all(axis=0))
