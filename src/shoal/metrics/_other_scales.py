"""The scales that predicted values could be on, if they are not on that of the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Floats
    from ._scale_profiles import Profiles

MOST = 1e4  # the largest factor that is looked for
SLACK = 0.01  # how much farther a simple scale may be than the closest one
COMMON_SLACK = 0.05  # log2 for natural logarithms is the most common mistake, and named first
SAME = 1.35  # factors nearer to 1 than this are none
BASES = {"natural logarithms": np.e, "log2": 2.0}  # that are tried with other depths too
LOGARITHMS = {**BASES, "log10": 10.0}
DEPTHS = np.logspace(-3, 3, 61)  # factors between the counts that cells were scaled to


@dataclass(frozen=True)
class OtherScale:
    """A scale that predicted values could be on.

    Attributes
    ----------
    words
        What it is.
    profile
        (g,) profile of the real cells on it.
    slack
        How much farther than the closest one it may be, to be named before it.
    """

    words: str
    profile: Floats
    slack: float = SLACK


def other_scales(found: Profiles) -> Iterator[OtherScale]:
    """Yield scales that the predicted values could be on."""
    times = _factor(found.predicted, found.own)
    words = f"predicted values are {times:.3g} times the real ones"
    for (of_real, base), (of_predicted, other) in permutations(LOGARITHMS.items(), 2):
        profile = found.own * np.log(base) / np.log(other)
        slack = COMMON_SLACK if {base, other} == {*BASES.values()} else SLACK
        yield OtherScale(f"{words}: {of_predicted} against {of_real}?", profile, slack)
    if SAME < _size(times) < MOST:
        yield OtherScale(words, times * found.own, slack=0.0)
    for of_real, base in BASES.items():
        linear = np.expm1(found.real * np.log(base))
        for of_predicted, other in BASES.items():
            yield _deeper(found, linear, (of_real, base), (of_predicted, other))
        profile = found.mean(linear)
        factor = _factor(found.predicted, profile)
        if _size(factor) < MOST:
            name = f"predicted values are {factor:.3g} times linear ones: not logged"
            yield OtherScale(name, factor * profile)
    spread = np.sqrt(np.maximum(found.weight @ (found.real - found.own) ** 2, 1e-12))
    words = "predicted values are real ones over their standard deviation: scaled"
    yield OtherScale(words, found.own / spread)


def _deeper(
    found: Profiles, linear: Floats, real: tuple[str, float], predicted: tuple[str, float]
) -> OtherScale:
    """Return logarithms of cells that were scaled to more counts, or to fewer, and best fit."""
    depths = [depth for depth in DEPTHS if _size(depth) > SAME]
    options = [found.mean(np.log1p(depth * linear)) / np.log(predicted[1]) for depth in depths]
    at = int(np.argmin([found.error(profile) for profile in options]))
    bases = "" if real == predicted else f", and {predicted[0]} against {real[0]}"
    words = (
        f"predicted values are those of cells scaled to about {depths[at]:.2g} times the counts of "
        f"the real ones{bases}: another target_sum, such as 10,000 against the median depth?"
    )
    return OtherScale(words, options[at])


def _factor(predicted: Floats, real: Floats) -> float:
    """Return the median ratio over the genes that are above 0 in the real cells."""
    on = real > 0
    return float(np.median(predicted[on] / real[on])) if on.any() else 1.0


def _size(factor: float) -> float:
    """Return a factor, or its inverse if that is larger."""
    return max(factor, 1 / max(factor, 1e-300))
