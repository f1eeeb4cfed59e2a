r"""The overall score of predictions, from their losses on several metrics, conditions and draws.

Everything is measured in units of what a metric can tell on these data. With L⁻ the mean loss of
the negative control and L⁺ that of the positive one, a second experiment, a contender *achieves*

.. math:: A = \frac{L^- - L}{L^- - L^+}

of what can be achieved on a metric: 0 knows nothing, 1 is as good as a second experiment. It is a
ratio of means over conditions and draws. It has no upper end, so that the score of a second
experiment is not biased; the lower end is -1, so that no single metric decides.

Achievements are averaged within families of metrics, then over families. A metric counts by its
*range* :math:`(L^- - L^+) / L^-`, the share of the loss of the negative control that a second
experiment avoids, and a family by the mean range of its metrics that can tell. So metrics that can
hardly tell decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ._harm import HARM, LEVEL, margin_of_few, share_lost
from ._responds import share_silent
from ._skill import Estimate, ends, tails

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints

WORST = -1.0  # least achievement on a metric: as far below the negative control as 1 is above it
LEAST_ROOM = 0.2  # least room above the reference, in achievements, for a score to be given
LEAST_RANGE = 0.5  # of a range that resampling leaves, as a share of the range itself
N_MARGIN = 1000  # resamples for that interval


def achieved(loss: Floats, *, positive: Floats, negative: Floats) -> Floats:
    """Return what mean losses achieve of the range between the two controls, at least -1.

    Parameters
    ----------
    loss
        Mean losses of a contender, of any shape.
    positive, negative
        Mean losses of the two controls.

    Returns
    -------
    Achievements of the same shape; NaN where the negative control is not worse than the positive.

    Examples
    --------
    >>> from shoal.metrics._score import achieved
    >>> achieved([0.1, 0.4, 0.7, 9.0], positive=0.1, negative=0.7).round(6).tolist()
    [1.0, 0.5, 0.0, -1.0]
    """
    own, good, bad = (np.asarray(x, dtype=np.float64) for x in (loss, positive, negative))
    room = bad - good
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(room > 0, np.maximum((bad - own) / room, WORST), np.nan)


@dataclass(frozen=True, eq=False)
class Judged:
    """Numbers of K contenders, each with B resamples in the rows; row 0 is without resampling.

    Attributes
    ----------
    achieved
        (B, K) what they achieve. NaN where no metric can tell, 0 where nothing responds.
    harm
        (B, K) what they lose by being worse than the control copy; at least 0.
    score
        (B, K) score against the reference.
    reason
        Why there is no score; otherwise "".
    """

    achieved: Floats
    harm: Floats
    score: Floats
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Judge:
    r"""Losses of K contenders on M metrics over P conditions and D draws, and their scores.

    A loss is additive in conditions and draws, :math:`L_{pd} = L_p + e_d`. That is enough for
    means under any weights of conditions and of draws.

    Attributes
    ----------
    conditions
        (K, M, P) losses, means over draws; NaN where a second experiment has no value. A metric of
        the whole screen has the same loss in all conditions.
    draws
        (K, M, D) differences of the mean loss of each draw from that of all.
    owner
        (P,) perturbation of each condition. Perturbations are drawn, with all their conditions.
    family
        (M,) family of each metric.
    tells
        (M,) whether a metric can tell on these data.
    harmful
        (M,) metrics by which a contender does harm if it is worse than the control copy.
    positive, copy
        Positions of two contenders.
    negative
        (M,) position of the negative control of each metric.
    silent
        (P,) conditions in which nothing is seen to respond.
    responds
        Whether anything responds. If not, nothing can be achieved, and only harm counts.
    """

    conditions: Floats
    draws: Floats
    owner: Ints
    family: tuple[str, ...]
    tells: Bools
    harmful: Bools
    positive: int
    copy: int
    negative: Ints
    silent: Bools
    responds: bool = True

    @cached_property
    def weights(self) -> tuple[Floats, Floats]:
        """Weights of resamples without resampling: (1, P) of conditions, (1, D) of draws."""
        return np.ones((1, self.conditions.shape[2])), np.ones((1, self.draws.shape[2]))

    @cached_property
    def n_owners(self) -> int:
        """Number of perturbations."""
        return len(np.unique(self.owner))

    def resampled(self, n_boot: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return weights of `n_boot` resamples over perturbations and draws; row 0 is without."""
        whose, n_draws = np.unique(self.owner, return_inverse=True)[1], self.draws.shape[2]
        n = self.n_owners
        units = rng.multinomial(n, np.full(n, 1 / n), n_boot)
        draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), n_boot)
        one, other = self.weights
        return np.vstack([one, units[:, whose]]), np.vstack([other, draws])

    def means(self, of_conditions: Floats, of_draws: Floats) -> Floats:
        """Return (B, K, M) mean losses under (B, P) and (B, D) weights."""
        k, m, p = self.conditions.shape
        known = np.isfinite(self.conditions[self.positive])
        values = np.where(known, self.conditions, 0.0).reshape(k * m, p)
        total = of_conditions @ known.T
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (of_conditions @ values.T).reshape(-1, k, m) / total[:, None, :]
        effect = of_draws @ self.draws.reshape(k * m, -1).T / self.draws.shape[2]
        return mean + effect.reshape(-1, k, m)

    # -- what a metric can tell ------------------------------------------------------------------

    @cached_property
    def exact(self) -> Floats:
        """(K, M) mean losses without resampling."""
        return self.means(*self.weights)[0]

    @cached_property
    def ranges(self) -> Floats:
        """(M,) differences of the mean losses of the two controls."""
        return self._negative(self.exact[None])[0] - self.exact[self.positive]

    @cached_property
    def weight(self) -> Floats:
        """(M,) weight of each metric in its family: its relative range; 0 if it cannot tell."""
        bad = self._negative(self.exact[None])[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.clip(self.ranges / bad, 0, 1)
        return np.where(self.tells & (self.ranges > 0), share, 0.0)

    @cached_property
    def by_family(self) -> Floats:
        """(F, M) weights of the metrics in each family that can tell, which sum to 1."""
        names = [name for name in dict.fromkeys(self.family) if self.weight[self._is(name)].any()]
        rows = [np.where(self._is(name), self.weight, 0.0) for name in names]
        table = np.array(rows).reshape(len(names), len(self.family))
        return table / table.sum(axis=1, keepdims=True)

    @cached_property
    def of_family(self) -> Floats:
        """(F,) weight of each of these families: the mean range of its metrics that can tell."""
        return np.array([self.weight[row > 0].mean() for row in self.by_family])

    @cached_property
    def _at_stake(self) -> float:
        """What there is to achieve, in families that can tell fully; at least one."""
        return max(float(self.of_family.sum()), 1.0) if self.responds else 1.0

    def _is(self, family: str) -> Bools:
        return np.array([own == family for own in self.family], dtype=bool)

    def _negative(self, means: Floats) -> Floats:
        """Return (B, M) mean losses of the negative control of each metric."""
        return means[:, self.negative, np.arange(means.shape[2])]

    # -- scores ----------------------------------------------------------------------------------

    def achieved(self, means: Floats) -> Floats:
        """Return (B, K) achievements, averaged within families, then over families."""
        if not self.responds:
            return np.zeros(means.shape[:2])
        used = self.weight > 0
        if not used.any():
            return np.full(means.shape[:2], np.nan)
        good = means[:, self.positive]
        room = np.fmax(self._negative(means) - good, LEAST_RANGE * self.ranges)
        behind = (means - good[:, None])[..., used] / room[:, None, used]
        own = np.maximum(1 - behind, WORST)
        has = np.isfinite(own)  # a resample may lack all conditions in which a metric has values
        table = self.by_family[:, used]
        share = has.astype(np.float64) @ table.T
        with np.errstate(invalid="ignore", divide="ignore"):
            families = np.where(has, own, 0.0) @ table.T / share
        counts = (share > 0) * self.of_family
        total = np.maximum(counts.sum(axis=-1), 1e-12)
        return np.asarray(np.where(counts > 0, families * counts, 0.0).sum(axis=-1) / total)

    def harm(self, of_conditions: Floats, of_draws: Floats) -> Floats:
        r"""Return (B, K) what contenders lose by being worse than the control copy.

        On each harmful metric it is `share_lost` of the mean loss, beyond that of the copy or of a
        second experiment if that is larger. Each metric counts as one and a half families that can
        tell fully.

        A gain where there is something to predict does not make up for an invention where there is
        nothing. So the silent conditions are also taken by themselves, and the larger harm counts.
        Nothing is at stake in them, so the weight there is that of a screen without anything at
        stake, times their share of all conditions. The excess is measured by the loss of the copy
        in all conditions, so that it is small where real responses are far larger.

        Where nothing responds, only the copy is right, and each metric counts as one family.
        """
        own = self.means(of_conditions, of_draws)[..., self.harmful]
        right = self._right(own)
        lost = share_lost(own - right, scale=right, margin=self._margins)
        if not self.responds:
            return np.asarray(lost.sum(axis=-1))
        lost = HARM / self._at_stake * lost
        if self.silent.any():
            alone = self.means(of_conditions * self.silent, of_draws)[..., self.harmful]
            base = self._right(alone)
            scale = np.fmax(np.abs(right), np.abs(base))
            part = share_lost(alone - base, scale=scale, margin=self._silent_margins)
            lost = np.maximum(lost, HARM * share_silent(self.silent) * part)
        return np.asarray(lost.sum(axis=-1))

    def _right(self, losses: Floats) -> Floats:
        """Return the losses beyond which there is harm, of losses whose last axes are (K, H)."""
        copy, second = losses[..., [self.copy], :], losses[..., [self.positive], :]
        return np.fmax(copy, second) if self.responds else copy

    @cached_property
    def _margins(self) -> Floats:
        """(K, H) from the mean difference to what is no harm to the lower end of its interval.

        Infinite where nothing is known of its spread: one perturbation and one draw.
        """
        if self.n_owners > 1:
            weights = self.resampled(N_MARGIN, np.random.default_rng(0))
            means = self.means(*weights)[..., self.harmful]
            gap = means - self._right(means)
            # not `ends`: of two perturbations, hardly any invention would then count
            low = np.quantile(gap[1:], tails(LEVEL, self.n_owners)[0], axis=0)
            return np.asarray(np.maximum(gap[0] - low, 0))
        gap, n = self._gaps_of_draws, self.draws.shape[2]
        if n < 2:
            return np.full(gap.shape[1:], np.inf)
        return np.asarray(gap.std(axis=0, ddof=1) * special.stdtrit(n - 1, (1 + LEVEL) / 2))

    @cached_property
    def _silent_margins(self) -> Floats:
        """(K, H) the same of the silent conditions alone; infinite for a single perturbation."""
        whose = self.owner == np.unique(self.owner[self.silent])[:, None]
        each = self.means(
            (whose & self.silent).astype(np.float64), np.ones((len(whose), self.draws.shape[2]))
        )[..., self.harmful]
        return margin_of_few(each - self._right(each), self._gaps_of_draws)

    @cached_property
    def _gaps_of_draws(self) -> Floats:
        """(D, K, H) differences to what is no harm, draw by draw."""
        means = np.moveaxis(self.draws[:, self.harmful], 2, 0) + self.exact[:, self.harmful]
        return means - self._right(means)

    def judge(
        self, reference: int | None, *, weights: tuple[Floats, Floats] | None = None
    ) -> Judged:
        r"""Return the scores against a reference.

        With B what is achieved less the harm, the score is
        :math:`(B - B_\mathrm{ref}) / (1 - B_\mathrm{ref})`: 0 is as good as the reference, 1 as a
        second experiment. Where the reference leaves no room, at most 0.2, there is none. Where
        nothing responds it is B, so 0 for whoever changes nothing.

        Parameters
        ----------
        reference
            Position of the reference; the best of none is ``None``.
        weights
            Weights of resamples (`resampled`), the first without resampling; no resamples if
            ``None``.
        """
        weights = self.weights if weights is None else weights
        own, harm = self.achieved(self.means(*weights)), self.harm(*weights)
        if not self.responds or not (self.weight > 0).any():
            lost = -harm if self.harmful.any() else np.full(harm.shape, np.nan)
            reason = "nothing responds" if not self.responds else "no metric can tell here"
            return Judged(own, harm, lost, reason)
        net = own - harm
        if reference is None:
            return Judged(own, harm, np.full(net.shape, np.nan), "there is no reference")
        base = net[:, [reference]]
        if not 1 - base[0, 0] > LEAST_ROOM:
            reason = (
                f"the reference achieves {base[0, 0]:.2f} of a second experiment: too little is "
                "left to gain"
            )
            return Judged(own, harm, np.full(net.shape, np.nan), reason)
        return Judged(own, harm, (net - base) / np.maximum(1 - base, LEAST_ROOM / 2))

    def best_of(self, among: Ints) -> int | None:
        """Return which of some contenders achieves most without harm; ``None`` if none is known."""
        net = self.achieved(self.exact[None])[0] - self.harm(*self.weights)[0]
        known = [int(k) for k in among if np.isfinite(net[k])]
        return max(known, key=lambda k: net[k], default=None)


def interval(drawn: Floats, *, n_owners: int, level: float = LEVEL) -> Estimate:
    """Return the estimate of (B,) resamples, the first of which is without resampling.

    There is no interval over fewer than two perturbations.
    """
    if n_owners < 2 or not np.isfinite(drawn[0]):
        return Estimate(float(drawn[0]), np.nan, np.nan, n_owners)
    known = drawn[1:][~np.isnan(drawn[1:])]
    low, high = ends(drawn[0], known, level, n_owners)
    return Estimate(float(drawn[0]), float(low), float(high), n_owners)
