"""Whether predicted expression is on the scale of real expression, and if not, on which one.

The real cells are brought to other scales: other logarithms, other depths, no logarithm,
unit variance. If the mean profile of the predicted cells is far from that of the real cells, of
their controls and of other perturbed cells, and many times closer to one on another scale, the
prediction is on that scale. A bad prediction is close to none.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ._other_scales import LOGARITHMS, SLACK, other_scales
from ._scale_profiles import FEWEST_GENES, GENES, Profiles

if TYPE_CHECKING:
    from .._typing import Floats

FAR = 0.2  # difference of two profiles, as a share of both, from which other scales are tried
TIMES = 2.5  # how many times closer another scale must be
FAR_APART = 3.0  # factor between two profiles that no two sets of cells of one scale have
FAR_SIGNED = 5.0  # the same for the size of signed values, of which predictions are often too small
BELOW = 0.1  # share of genes with a predicted mean below 0 that centred values have
HARDLY_SIGNED = 0.02  # share of values below 0 in the sum of all sizes that corrections leave


def mismatch(found: Profiles) -> str:
    """Return in words how predicted values differ in scale from the real ones; ``""`` if not.

    The thresholds are those at which ``benchmarks/scales.py`` finds no honest prediction refused.
    """
    below = -np.minimum(found.real, 0).sum()
    if below > HARDLY_SIGNED * np.abs(found.real).sum():
        return _mismatch_of_signed(found)
    own, predicted = found.own, found.predicted
    if (predicted < -0.01 * own).mean() >= BELOW:
        return (
            "predicted means are below 0 in many genes, and real values are not: scaled, centred?"
        )
    closest = _closest(found) if len(own) >= FEWEST_GENES else ""
    if closest:
        return closest
    if not 1 / FAR_APART <= found.ratio <= FAR_APART:
        return f"the mean predicted value is {found.ratio:.3g} times the real one"
    return ""


def other_logarithm(before: Floats, now: Floats) -> str:
    """Return in words which other logarithm values are on than values before; ``""`` if on none.

    Parameters
    ----------
    before, now
        (d,) mean profiles of cells, none of them below 0. The cells may be other ones.
    """
    at = np.argsort(-before, kind="stable")[:GENES]
    own = before[at]
    found = Profiles(now[at], own, own[None], np.ones(1), others=(), ratio=1.0)
    error = found.least_error
    if error <= FAR or len(at) < FEWEST_GENES:
        return ""
    for (of_before, base), (of_now, other) in permutations(LOGARITHMS.items(), 2):
        times = np.log(base) / np.log(other)
        if found.error(own * times) < min(error / TIMES, FAR / 2):
            return f"{times:.3g} times as large: {of_now} against {of_before}"
    return ""


def _mismatch_of_signed(found: Profiles) -> str:
    """Signed values: effects alone, so that a prediction may be near 0, or twice too large."""
    real = np.sqrt(found.weight @ found.real**2)
    ratio = float(np.median(np.abs(found.predicted)) / max(np.median(real), 1e-300))
    if ratio > FAR_SIGNED:
        return f"predicted means are {ratio:.3g} times the size of real values"
    own = found.own
    if (own < 0).mean() >= BELOW and (found.predicted >= 0).all() and ratio > 1 / FAR_APART:
        return "no predicted mean is below 0, and real values are signed: not scaled, not centred?"
    return ""


def _closest(found: Profiles) -> str:
    """Return in words the scale that predicted values are on, if it is another one.

    Of those that are about as close, it is the first, which is the simplest. The closest one is
    named too, if it is closer by more than `SLACK`.
    """
    error = found.least_error
    if error <= FAR:
        return ""
    tried = [(scale, found.error(scale.profile)) for scale in other_scales(found)]
    closer = [(scale, far) for scale, far in tried if far * TIMES < error]
    if not closer:
        return ""
    best, least = min(closer, key=lambda pair: pair[1])
    first, far = next(pair for pair in closer if pair[1] <= 1.5 * least + pair[0].slack)
    if far <= least + SLACK or first.words.startswith(best.words):
        return first.words
    return f"{first.words.removesuffix('?')}; or {best.words}"
