"""Whether predicted expression is on the scale of real expression, and if not, on which one.

The real cells are brought to other scales: other logarithms, other depths, no logarithm,
unit variance. If the mean profile of the predicted cells is far from that of the real cells, of
their controls and of other perturbed cells, and many times closer to one on another scale, the
prediction is on that scale. A bad prediction is close to none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ._cells import densify, each_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Floats, Ints
    from ._comparison import Populations

GENES = 200  # genes of the profile: those with the largest real means
SHARE = 0.8  # no more genes than make up this share of all real means: others are noise
FEWEST_GENES = 8  # below this a factor fits by chance
CONDITIONS, CELLS = 64, 512  # most conditions, and real cells of all of them, that are looked at
FAR = 0.2  # difference of two profiles, as a share of both, from which other scales are tried
TIMES = 2.5  # how many times closer another scale must be
MOST = 1e4  # the largest factor that is looked for
SLACK = 0.01  # how much farther a simple scale may be than the closest one
COMMON_SLACK = 0.05  # log2 for natural logarithms is the most common mistake, and named first
SAME = 1.35  # factors nearer to 1 than this are none
FAR_APART = 3.0  # factor between two profiles that no two sets of cells of one scale have
FAR_SIGNED = 5.0  # the same for the size of signed values, of which predictions are often too small
BELOW = 0.1  # share of genes with a predicted mean below 0 that centred values have
HARDLY_SIGNED = 0.02  # share of values below 0 in the sum of all sizes that corrections leave

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


@dataclass(frozen=True)
class Profiles:
    """Mean profiles of the predicted cells and of a sample of the real ones, in strong genes.

    Attributes
    ----------
    predicted, own
        (g,) mean over conditions of the predicted mean cells, and of the real ones.
    real
        (n, g) some of the real cells.
    weight
        (n,) weights of the real cells, so that each condition counts once; their sum is 1.
    others
        Two more profiles on the scale of the real cells: of the controls, and of the perturbed
        cells of other conditions. A strong response can move all genes, and a prediction that
        knows nothing of it is like one of these.
    ratio
        Mean size of all predicted means, over that of the real ones.
    """

    predicted: Floats
    own: Floats
    real: Floats
    weight: Floats
    others: tuple[Floats, ...]
    ratio: float

    @property
    def least_error(self) -> float:
        """Least difference from a profile that is on the scale of the real cells."""
        return min(self.error(profile) for profile in (self.own, *self.others))

    def error(self, other: Floats) -> float:
        """Return how far a profile is from the predicted one: 0 if equal, 1 at most.

        It is the median of the differences of single genes, each as a share of the larger value.
        Some genes may differ as much as they like. Genes weigh by the root of their real mean.
        """
        larger = np.maximum(np.abs(self.predicted), np.abs(other))
        if not larger.any():
            return 0.0
        share = np.abs(self.predicted - other) / np.maximum(larger, 1e-300)
        order = np.argsort(share, kind="stable")
        reached = np.cumsum(np.sqrt(np.abs(self.own[order])) + 1e-300)
        return float(share[order][np.searchsorted(reached, reached[-1] / 2)])

    def mean(self, values: Floats) -> Floats:
        """Return the mean profile of the real cells, some of which were brought to a scale.

        What these differ from all real cells by is corrected for.
        """
        some = self.weight @ self.real
        ratio = np.divide(self.own, some, out=np.ones_like(some), where=some > 0)
        return np.asarray(self.weight @ values) * ratio


def profiles(made: Populations) -> Profiles:
    """Return the profiles of predicted and real cells, in the genes with the largest real means."""
    truth = made.truth
    chosen = _spread(len(truth.names), CONDITIONS)
    size = np.abs(truth.real.means[chosen]).mean(axis=0)
    genes = np.argsort(-size, kind="stable")
    share = np.cumsum(size[genes]) / max(size.sum(), 1e-300)
    genes = genes[: min(GENES, max(FEWEST_GENES, int(np.searchsorted(share, SHARE)) + 1))]
    each = max(CELLS // len(chosen), 1)
    parts = each_of(truth.cells)
    cells = [
        densify(values[rows[_spread(len(rows), each)]])[:, genes]
        for values, rows in (parts[i] for i in chosen)
    ]
    weight = [np.full(len(own), 1 / (len(own) * len(cells))) for own in cells]
    return Profiles(
        predicted=made.means[chosen][:, genes].mean(axis=0),
        own=truth.real.means[chosen][:, genes].mean(axis=0),
        real=np.concatenate(cells).astype(np.float64),
        weight=np.concatenate(weight),
        others=tuple(
            means[chosen][:, genes].mean(axis=0) for means in (truth.control, truth.reference)
        ),
        ratio=float(np.abs(made.means).mean() / max(np.abs(truth.real.means).mean(), 1e-300)),
    )


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
        if found.error(own * times) * TIMES < error:
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
    tried = [(scale, found.error(scale.profile)) for scale in _other_scales(found)]
    closer = [(scale, far) for scale, far in tried if far * TIMES < error]
    if not closer:
        return ""
    best, least = min(closer, key=lambda pair: pair[1])
    first, far = next(pair for pair in closer if pair[1] <= 1.5 * least + pair[0].slack)
    if far <= least + SLACK or first.words.startswith(best.words):
        return first.words
    return f"{first.words.removesuffix('?')}; or {best.words}"


def _other_scales(found: Profiles) -> Iterator[OtherScale]:
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


def _spread(n: int, most: int) -> Ints:
    """Return up to `most` positions of n, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
