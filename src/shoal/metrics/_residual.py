r"""Residual coherence: more, or less, coherent than a pure translation of the same size.

A perturbation has a share :math:`p_h` of its cells in stratum h. Its coherence is the squared
length of a mean over its cells, each compared with the controls of its own stratum:

.. math:: \kappa = \Bigl\lVert \sum_h p_h \Delta_h \Bigr\rVert^2, \qquad
          \Delta_h = E_{p,h} u - E_{c,h} u.

Had the cells been control cells of the same strata, in the same proportions, each moved by the
shift :math:`\mu` of the perturbation, the difference of stratum h would have been

.. math:: f_h(\mu) = E_{c,h} \Bigl[ \frac{e + \mu}{|e + \mu|} - \frac{e}{|e|} \Bigr],

with e the shift of a control cell from the centroid of its stratum. So the coherence to expect is

.. math:: \kappa_\mathrm{exp} = \Bigl\lVert \sum_h p_h f_h(\mu) \Bigr\rVert^2.

The shift is one for all strata, because :math:`\kappa` asks for one mean direction of all cells.
Strata are batches, plates or donors, of which the response is thought to be independent. Contexts
may respond in different ways, which is asked separately: each context has a residual of its own.

:math:`E_{c,h}` is taken over K of the m controls of stratum h, and its noise is subtracted. With
:math:`g = \tfrac12 \nabla_\mu \kappa_\mathrm{exp}`, a perturbed cell moves :math:`\kappa -
\kappa_\mathrm{exp}` by :math:`u \cdot \Delta - e \cdot g` to first order, and a control cell moves
it in two ways: through the mean of the m controls, by :math:`a = -u \cdot \Delta + e \cdot g`, and
as one of the K, by :math:`b = -(u^+ - u) \cdot \Delta` with :math:`u^+` its direction after the
translation. The variance of both is

.. math:: 4 \sum_h \Bigl[ \frac{p_h^2}{m_h} (\mathrm{Var}_h a + 2\,\mathrm{Cov}_h(a, b))
          + \frac{p_h^2}{K_h} \mathrm{Var}_h b \Bigr].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Floats, Ints, Reals
    from ._pair_moments import PairMoments
    from ._strata import Composition, ControlSample

GROUPS = 2048  # perturbations at a time


@dataclass(frozen=True)
class Translation:
    """What the controls would look like after a translation by a perturbation's shift.

    Attributes
    ----------
    kappa
        (G,) their coherences.
    along
        (G, d) half the gradients of kappa in the shift.
    noise_slope
        (G,) derivatives of kappa in the squared length of the noise of the shift.
    bent
        (G,) kappa over what it were if it rose in proportion to the squared length; 1 for small
        shifts. The directions of translated cells vary about as much less than those of controls.
    bend
        (G,) the same of the derivative of kappa in the squared length.
    control_variance
        (G,) first-order variance of the estimated kappa that comes from the controls.
    residual_variance
        (G,) the same of kappa - expected kappa.
    """

    kappa: Floats
    along: Floats
    noise_slope: Floats
    bent: Floats
    bend: Floats
    control_variance: Floats
    residual_variance: Floats


def translate(
    sample: ControlSample,
    found: PairMoments,
    made: Composition,
    shift: Floats,
    magnitude2: Floats,
    delta: Floats,
) -> Translation:
    """Translate the controls of each perturbation's strata by its bias-corrected shift.

    Parameters
    ----------
    sample
        Shifts of control cells from the centroid of their stratum.
    found
        Moments of the controls of the strata.
    made
        Perturbations by strata.
    shift
        (G, d) mean shifts.
    magnitude2
        (G,) squared lengths of the shifts, without the noise of the means. They may be below 0, and
        so may the expectation: clipping at 0 would make weak responses look incoherent.
    delta
        (G, d) differences of mean directions.
    """
    length = np.linalg.norm(shift, axis=1)
    close = np.nan_to_num(made.mean(found.closeness))
    # no shorter than what single precision resolves; kappa is linear in the square there
    short = np.divide(0.02, close, out=np.ones_like(close), where=close > 0)
    size = np.maximum(np.sqrt(np.abs(np.nan_to_num(magnitude2))), short).astype(np.float32)
    # the tables of controls x perturbations are large; single precision is enough for a mean
    toward = (shift / np.where(length > 0, length, 1.0)[:, None]).astype(np.float32)

    gap, start = np.zeros(shift.shape), np.zeros(shift.shape)
    noise, start_noise = np.zeros(len(shift)), np.zeros(len(shift))
    for h, at in _blocks(made):
        own, share, moved = (
            made.group[at],
            made.share[at],
            _Moved(sample, h, toward, size, made, at),
        )
        k, change, small = moved.k, moved.change(), moved.small_change()
        gap[own] += share[:, None] * change.mean
        start[own] += share[:, None] * small.mean
        # the sample is centred, so that its mean has noise only as far as it is not all controls,
        # or as directions are no linear function of shifts
        rate = max(1 / k - moved.linear / sample.n[h], 0.0) * k / max(k - 1, 1)
        noise[own] += share**2 * rate * change.spread
        start_noise[own] += share**2 / max(k - 1, 1) * small.spread
    along = np.zeros(shift.shape)
    for h, at in _blocks(made):
        moved = _Moved(sample, h, toward, size, made, at)
        along[made.group[at]] += made.share[at][:, None] * moved.back(gap[made.group[at]])

    tangent = np.maximum(np.einsum("gd,gd->g", start, start) - start_noise, 0.0)
    exact = np.einsum("gd,gd->g", gap, gap) - noise
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = np.where(tangent > 0, np.clip(exact / (size**2 * tangent), 0, 1), 1.0)
        slope = np.einsum("gd,gd->g", along, toward) / size
        bend = np.where(tangent > 0, np.clip(slope / tangent, 0, 1), 1.0)
    along *= (length / size)[:, None]  # with the noise of the shift, as the differences have it
    of_noise = _noise_slope(made, found)
    kappa = bent * (length**2 * tangent - (length**2 - magnitude2) * of_noise)
    # on a line a small shift turns no direction, and a larger one only turns cells round
    line = tangent <= 1e-6 * close**2
    kappa = np.where(line, np.sign(np.nan_to_num(magnitude2)) * exact, kappa)

    through_mean, both = np.zeros(len(shift)), np.zeros(len(shift))
    delta = np.nan_to_num(delta)
    for h, at in _blocks(made):
        own, share, alpha = made.group[at], made.share[at], made.alpha[at]
        moved = _Moved(sample, h, toward, size, made, at)
        on, turned, reach = moved.projected(delta[own], along[own])
        a, b = reach - on, -turned
        through_mean[own] += alpha * _covariance(on, on)
        both[own] += alpha * (_covariance(a, a) + 2 * _covariance(a, b))
        both[own] += share**2 / moved.k * _covariance(b, b)
    return Translation(
        kappa,
        along,
        bend * of_noise,
        bent,
        bend,
        4 * through_mean,
        4 * np.maximum(both, 0.0),
    )


def _noise_slope(made: Composition, found: PairMoments) -> Floats:
    """Return (G,) derivatives of kappa in the squared length of a small shift that is noise."""
    moved = made.total(made.weight * found.move[made.stratum])
    trace = made.total(made.weight * found.trace[made.stratum])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(trace > 0, made.mean(found.closeness) ** 2 * moved / trace, 0.0)


def _covariance(a: Reals, b: Reals) -> Reals:
    """Return (g,) covariances of the columns of two centred tables (k, g)."""
    return np.einsum("kg,kg->g", a, b, dtype=np.float64) / max(len(a) - 1, 1)


def _blocks(made: Composition) -> Iterator[tuple[int, Ints]]:
    """Yield each stratum and the combinations in it, a bounded number at a time."""
    order = np.argsort(made.stratum, kind="stable")
    ends = np.searchsorted(made.stratum[order], np.arange(made.n_strata + 1))
    for h in range(made.n_strata):
        for i in range(ends[h], ends[h + 1], GROUPS):
            yield h, order[i : min(i + GROUPS, ends[h + 1])]


@dataclass(frozen=True)
class _Change:
    """Mean change of direction (g, d), and total variance (g,) of the cells' changes."""

    mean: Reals
    spread: Reals


class _Moved:
    """The sampled controls of one stratum, translated by the shifts of g perturbations."""

    def __init__(
        self,
        sample: ControlSample,
        h: int,
        toward: Reals,
        size: Reals,
        made: Composition,
        at: Ints,
    ) -> None:
        rows, own = slice(sample.first[h], sample.first[h + 1]), made.group[at]
        self.cells, self.radius = sample.cells[rows], sample.radius[rows][:, None]
        self.k, self.toward, self.size = len(self.cells), toward[own], size[own]
        self.reach = self.cells @ self.toward.T  # (k, g) e . direction
        root = self.reach * (2 * self.size)
        root += self.radius**2 + self.size**2
        self.inverse = 1 / np.sqrt(np.maximum(root, 1e-30, out=root))  # 1 / |e + shift|

    @property
    def linear(self) -> float:
        """Share of the variance of directions that is linear in the shifts."""
        return float(self.radius.mean()) ** 2 / float(np.square(self.radius).mean())

    def change(self) -> _Change:
        """Return the change of direction u+ - u."""
        k, size = self.k, self.size
        before = (1 / self.radius[:, 0]) @ self.cells / k
        mean = self.inverse.T @ self.cells / k - before
        mean += (self.inverse.sum(axis=0) / k * size)[:, None] * self.toward
        cosine = (self.radius + size * self.reach / self.radius) * self.inverse
        return self._change(mean, 2 - 2 * cosine.sum(axis=0, dtype=np.float64) / k)

    def small_change(self) -> _Change:
        """Return the derivative of the change of direction in the length, at length 0."""
        k, inside = self.k, self.reach / self.radius**2
        mean = self.toward * ((1 / self.radius).sum() / k)
        mean -= (inside / self.radius).T @ self.cells / k
        square = (1 / self.radius**2).sum() / k - (inside**2).sum(axis=0, dtype=np.float64) / k
        return self._change(mean, square)

    @staticmethod
    def _change(mean: Reals, square: Reals) -> _Change:
        norm = np.einsum("gd,gd->g", mean, mean, dtype=np.float64)
        return _Change(mean, np.maximum(square - norm, 0.0))

    def back(self, gap: Reals) -> Reals:
        """Return (g, d) gradients of u+ . gap in the shift.

        They are means over controls of (gap - u+ (u+ . gap)) / |e + shift|.
        """
        gap = gap.astype(np.float32)
        onto = self.cells @ gap.T + self.size * np.einsum("gd,gd->g", self.toward, gap)
        onto *= self.inverse  # one after the other: the third power may overflow
        onto *= self.inverse
        onto *= self.inverse
        through = onto.T @ self.cells + (self.size * onto.sum(axis=0))[:, None] * self.toward
        return (self.inverse.sum(axis=0)[:, None] * gap - through) / self.k

    def projected(self, delta: Reals, along: Reals) -> tuple[Reals, Reals, Reals]:
        """Return centred tables (k, g): u and u+ - u on `delta`, and e on `along`."""
        delta, along = delta.astype(np.float32), along.astype(np.float32)
        onto = self.cells @ delta.T
        on = onto / self.radius
        turned = onto + self.size * np.einsum("gd,gd->g", self.toward, delta)
        change, reach = turned * self.inverse - on, self.cells @ along.T
        return on - on.mean(axis=0), change - change.mean(axis=0), reach - reach.mean(axis=0)


def pair_variance(made: Composition, found: PairMoments, expected: Translation) -> Floats:
    """Return (G,) the part of the residual's variance that comes from pairs of cells.

    Parameters
    ----------
    made
        Perturbations by strata.
    found
        Moments over pairs of control cells.
    expected
        The coherence of a translation.
    """

    def total(table: Floats) -> Floats:
        return made.product(made.weight, table, made.weight)

    bent, turn = expected.bent, expected.bend * made.mean(found.closeness) ** 2
    unit, mixed, moved = total(found.unit), total(found.mixed), total(found.moved)
    return 2 * np.maximum(bent**2 * unit - 2 * bent * turn * mixed + turn**2 * moved, 0)


def residual_test(
    kappa: Floats,
    expected: Translation,
    variance: Floats,
    pairs: Floats,
    control_noise: Floats,
    *,
    n: Ints,
    alpha: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Test whether a response is as coherent as a translation of its size.

    Parameters
    ----------
    kappa
        (G,) coherences.
    expected
        The coherence of a translation.
    variance
        (G,) jackknife variances of kappa - expected kappa over the perturbed cells.
    pairs
        (G,) the part of the variance that comes from pairs of cells.
    control_noise
        (G,) noise of the controls' mean that was subtracted from kappa. The error of the centroid
        turns translated cells less than it turns controls, so that this was too much.
    n
        (G,) numbers of cells.
    alpha
        (G,) variance factors of the controls' mean: 1/m with m controls in one stratum.

    Returns
    -------
    T = kappa - expected, its standard error, z, and the two-sided p-value; (G,) each. z is the
    standard normal deviate that corresponds to t = T / SE. The degrees of freedom are those of
    Welch and Satterthwaite, of n cells and 1 / alpha controls.
    """
    residual = kappa - (expected.kappa - (1 - expected.bent) * control_noise)
    # V1 + 2 V2 less V2; noise may take it below V2, but half of V2 is left at least
    first = variance + expected.residual_variance
    se = np.sqrt(np.maximum(first - pairs, pairs / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(se > 0, residual / se, np.nan)
        controls = expected.residual_variance / (variance + expected.residual_variance)
        free = 1 / ((1 - controls) ** 2 / np.maximum(n - 1, 1) + controls**2 * np.minimum(alpha, 1))
        # the normal deviate of Student's t, by Wallace (1959)
        z = np.sign(t) * (8 * free + 1) / (8 * free + 3) * np.sqrt(free * np.log1p(t**2 / free))
    return residual, se, z, 2 * special.ndtr(-np.abs(z))
