"""Skill: how much better a prediction is than a reference, or than another prediction.

All estimates are of losses (:mod:`shoal.metrics._calibration`) and have paired intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from .._random import as_generator
from .._validate import whole
from ._arguments import arrays, require_finite
from ._calibration import complete, paired
from ._texts import documented

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._random import RNGLike
    from .._typing import Floats, Ints

# least room for improvement, as a share of the loss of the reference
LEAST_ROOM = 0.1
FEW = (
    5  # perturbations, of which a bootstrap is too narrow: it misses a true 0 in 8 to 50 % of cases
)
CHUNK = 2**22  # bootstrap counts in memory at once; the result does not depend on it


@dataclass(frozen=True)
class Estimate:
    """A number over perturbations, with its bootstrap interval.

    Attributes
    ----------
    value
        The estimate. NaN if it is not defined; `reason` then says why.
    low, high
        Ends of the interval (95 %, or the requested level). NaN for fewer than 2 perturbations.
    n
        Number of conditions that count.
    reason
        Why there is no value; otherwise "".
    """

    value: float
    low: float
    high: float
    n: int
    reason: str = ""


@arrays
@documented
def skill(
    prediction: Floats,
    reference: Floats,
    *,
    positive_control: Floats,
    owner: Ints | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    rng: RNGLike = 0,
) -> Estimate:
    r"""Skill of a prediction: 0 is as good as the reference, 1 as a second experiment.

    With L the mean losses over the conditions that all three have,

    .. math::
        s = \min\left(1,\ \frac{L_\mathrm{ref} - L}{\max(L_\mathrm{ref}, L) - T}\right), \qquad
        T = \min(L^+, 0.9\, L_\mathrm{ref}).

    For a prediction that is better than the reference, this is the share of the possible gain that
    it achieves. It is a ratio of means: conditions with little to gain weigh little. It is bounded:

    - *Below 0*: the larger of the two losses is in the denominator, which makes the skill
      antisymmetric. A prediction is as far below the reference as the reference would be above it.
      The bound is −1.
    - *Above 0*: it ends at 1. A noise-free prediction can be better than a second experiment, but
      that is worth no more.
    - *Little to gain*: the reference can be within 10 % of the second experiment, or better
      than it, for instance as a mean over many cells. What is left to gain is then mostly noise,
      and a plain ratio would explode. T asks for a tenth off the loss instead, so that a bad
      prediction still counts as bad.

    The interval is a percentile bootstrap over *perturbations*, widened for small numbers of them
    as a t interval is. For up to five of them it is a t interval. All conditions of one
    perturbation are drawn together, with all three losses, because cells and doses of one
    perturbation are no replicates.

    Parameters
    ----------
    prediction
        (P,) losses of the prediction.
    reference
        (P,) losses of the reference, a baseline that was fixed beforehand.
    positive_control
        (P,) losses of the positive control, a second experiment.
    owner
        {owner}
    n_boot
        {n_boot}
    level
        {level}
    rng
        {rng}

    Returns
    -------
    `Estimate`, −1 to 1. NaN if no condition is shared, or if the mean loss of the reference is
    0 (or below, for an unbiased distance): then nothing is left to gain.

    Raises
    ------
    ValueError
        If the arrays differ in length, or an option is out of range.

    References
    ----------
    Hesterberg (2015), Am. Stat. 69, 371, for the widened percentile interval.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import skill
    >>> base, second = np.array([0.4, 0.6, 0.5]), np.array([0.1, 0.1, 0.1])
    >>> round(skill(base - 0.1, base, positive_control=second).value, 6)
    0.25
    """
    losses = (prediction, reference, positive_control)
    _, of_reference, _ = paired(*losses)
    if not of_reference.size:
        return _absent(
            "no condition has a value for the prediction, the reference and the positive control"
        )
    if not of_reference.mean() > 0:
        return _absent("the reference is perfect: nothing is left to gain")
    return _bootstrap(skill_of_means, losses, owner, n_boot, level, rng, bounds=(-1, 1))


@arrays
@documented
def paired_difference(
    a: Floats,
    b: Floats,
    *,
    owner: Ints | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    rng: RNGLike = 0,
) -> Estimate:
    """Mean difference of the losses of two predictions, with an interval over perturbations.

    Below 0, `a` is better. An interval without 0 says that it is better on perturbations like
    these. It says nothing about other screens, and among many predictions some pairs differ by
    chance.

    Parameters
    ----------
    a, b
        (P,) losses of the two predictions.
    owner
        {owner}
    n_boot
        {n_boot}
    level
        {level}
    rng
        {rng}

    Returns
    -------
    `Estimate`, in the units of the metric. NaN if no condition has both losses.

    Raises
    ------
    ValueError
        As for :func:`skill`.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.metrics import paired_difference
    >>> difference = paired_difference(np.full(9, 0.5), np.linspace(0.6, 0.8, 9))
    >>> round(difference.value, 6), difference.high < 0
    (-0.2, True)
    """
    if not paired(a, b)[0].size:
        return _absent("no condition has a value for both")
    return _bootstrap(
        lambda means: means[..., 0] - means[..., 1], (a, b), owner, n_boot, level, rng
    )


def skill_of_means(means: Floats) -> Floats:
    """Return (...,) skills from (..., 3) mean losses: prediction, reference, positive control."""
    prediction, base, second = np.moveaxis(means, -1, 0)
    room = np.maximum(base, prediction) - np.minimum(second, base - LEAST_ROOM * np.abs(base))
    return np.minimum((base - prediction) / np.where(room > 0, room, 1.0), 1.0)


def _bootstrap(
    statistic: Callable[[Floats], Floats],
    losses: tuple[Floats, ...],
    owner: Ints | None,
    n_boot: int,
    level: float,
    rng: RNGLike,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return a statistic of mean losses (..., k) with its percentile interval over perturbations.

    A perturbation that is drawn brings all its conditions.
    """
    for one in losses:
        require_finite({"losses": np.asarray(one)}, missing=True)
    n_boot = whole(n_boot, name="n_boot")
    if not 0 < level < 1:
        msg = f"level must be between 0 and 1, not {level!r}"
        raise ValueError(msg)
    kept, generator = complete(*losses), as_generator(rng)
    values = np.column_stack([np.asarray(one, dtype=np.float64) for one in losses])
    names = np.arange(len(values)) if owner is None else np.asarray(owner)
    if names.shape != (len(values),):
        msg = (
            f"owner must name the perturbation of each of {len(values)} conditions, "
            f"not be of shape {names.shape}"
        )
        raise ValueError(msg)
    whose = np.unique(names[kept], return_inverse=True)[1]
    values, n_owners = values[kept], int(whose.max()) + 1
    sums = np.column_stack(
        [np.bincount(whose, weights=one) for one in (*values.T, np.ones(len(values)))]
    )
    value = float(statistic(values.mean(axis=0)))
    if n_owners < 2:
        return Estimate(value, np.nan, np.nan, len(values))
    chance = np.full(n_owners, 1 / n_owners)
    step = max(1, CHUNK // n_owners)
    sizes = [min(step, n_boot - start) for start in range(0, n_boot, step)]
    drawn = np.concatenate([generator.multinomial(n_owners, chance, size) @ sums for size in sizes])
    statistics = statistic(drawn[:, :-1] / drawn[:, -1:])
    low, high = np.clip(ends(value, statistics, level, n_owners), *bounds)
    return Estimate(value, float(low), float(high), len(values))


def ends(value: Floats | float, drawn: Floats, level: float, n: int) -> tuple[Floats, Floats]:
    """Return the ends of the interval of an estimate from its bootstrap samples.

    They are quantiles, moved outwards for few units (`tails`). Resamples of up to `FEW` units
    hardly ever leave what was measured, however far out the quantile: the interval of two units
    would miss 0 whenever both have the same sign. Those have the interval of Student's t instead,
    with the spread of the samples.

    Parameters
    ----------
    value
        Estimate, of any shape.
    drawn
        (B, ...) bootstrap samples.
    level
        Level of the interval.
    n
        Number of units that were drawn, at least 2.
    """
    if n <= FEW:
        error = np.sqrt(n / (n - 1)) * np.std(drawn, axis=0)
        half = error * special.stdtrit(n - 1, (1 + level) / 2)
        return value - half, value + half
    outer = tails(level, n)
    return np.quantile(drawn, outer[0], axis=0), np.quantile(drawn, outer[1], axis=0)


def tails(level: float, n: int) -> tuple[float, float]:
    """Return the two quantiles of the bootstrap samples that form the interval.

    They are moved outwards, because a percentile interval of few units is too narrow.
    """
    reach = np.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + level) / 2)
    return float(special.ndtr(-reach)), float(special.ndtr(reach))


def _absent(reason: str) -> Estimate:
    return Estimate(np.nan, np.nan, np.nan, 0, reason)
