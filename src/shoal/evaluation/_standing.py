"""Where the contenders of an evaluation stand: scores with intervals, and a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._contenders import COPY, PREDICTION
from ..metrics._score import interval

if TYPE_CHECKING:
    from ..metrics._score import Judged
    from ..metrics._skill import Estimate
    from ._judged import Contenders
    from ._scores import Scores

N_BOOT = 2000
SHOWN = 0.005  # least harm that is told of: less is 0.00 in print
COLUMNS = ("score", "score_low", "score_high", "achieved", "harm", "score_best")
NOTHING = "nothing to predict here: unchanged controls are the right answer"


@dataclass(frozen=True, eq=False)
class Standing:
    """Scores of all rows of an evaluation.

    Attributes
    ----------
    scores
        Values of all predictions; its `reference` is set.
    """

    scores: Scores

    @cached_property
    def contenders(self) -> Contenders:
        """Losses of all rows."""
        return self.scores.contenders()

    @cached_property
    def judged(self) -> Judged:
        """Scores against the reference, with resamples."""
        rng = np.random.default_rng([self.scores.seed, 6])
        weights = self.contenders.judge.resampled(N_BOOT, rng)
        return self.contenders.judged(self.scores.reference, weights=weights)

    @cached_property
    def best(self) -> str:
        """The rival that achieves most on the scored conditions, known with hindsight only."""
        return self.contenders.best(self.scores.rivals)

    @cached_property
    def _against_best(self) -> Judged:
        return self.contenders.judged(self.best)

    def estimate(self, name: str) -> Estimate:
        """Return the score of a row with its interval over perturbations and draws."""
        drawn = self.judged.score[:, self.contenders.names.index(name)]
        return interval(drawn, n_owners=self.contenders.judge.n_owners)

    def columns(self, name: str) -> dict[str, float]:
        """Return the columns `COLUMNS` of a row."""
        at, found = self.contenders.names.index(name), self.estimate(name)
        numbers = (
            found.value,
            found.low,
            found.high,
            self.judged.achieved[0, at],
            self.judged.harm[0, at],
            self._against_best.score[0, at],
        )
        return dict(zip(COLUMNS, map(float, numbers), strict=True))

    def verdict(self, called: str) -> str:
        """Return in one sentence what came out.

        Parameters
        ----------
        called
            What the prediction is called.
        """
        scores, called = self.scores, repr(called)
        if not scores.responses.anything:
            return f"{NOTHING}; {called} {self._beside_copy()}"
        telling = [name for name in scores.metrics if scores.tells(name)]
        if not telling:
            return f"no metric can tell anything here; {called} {self._beside_copy()}"
        if not scores.reference:
            return f"no verdict on {called}: no reference could be made"
        reference = f"the {'' if scores.reference == COPY else 'baseline '}{scores.reference}"
        if self._is_reference:
            counts = f"{called} predicts the same cells as {reference}, its reference"
        else:
            counts = f"{called} {self._counts_in_words(telling, reference)}"
        return f"{counts}; {self._score_in_words()}{self._harm_in_words()}"

    @cached_property
    def _is_reference(self) -> bool:
        """Whether the prediction has the losses of the reference on all metrics."""
        own, other = (self.contenders.losses[name] for name in (PREDICTION, self.scores.reference))
        return all(
            np.allclose(own[name][0], other[name][0], rtol=1e-6, equal_nan=True) for name in own
        )

    def _counts_in_words(self, telling: list[str], reference: str) -> str:
        """Say on how many metrics the interval of the skill lies above 0, below 0, or around it.

        A metric of the whole screen, or of one perturbation, has no interval and decides nothing.
        """
        found = [self.scores.skill(PREDICTION, name) for name in telling]
        found = [one for one in found if np.isfinite(one.value)]
        known = [one for one in found if np.isfinite(one.low) and np.isfinite(one.high)]
        if not known:
            return f"cannot be called better or worse than {reference}: no metric has an interval"
        wins, losses = sum(one.low > 0 for one in known), sum(one.high < 0 for one in known)
        more = len(found) - len(known)
        return (
            f"wins on {wins}, loses on {losses} and ties on {len(known) - wins - losses} of "
            f"{len(known)} metrics against {reference}"
            + (f" ({more} more {'has' if more == 1 else 'have'} no interval)" if more else "")
        )

    def _score_in_words(self) -> str:
        found = self.estimate(PREDICTION)
        if not np.isfinite(found.value):
            return f"no score: {self.judged.reason}"
        said = f"score {found.value:.2f}"
        if np.isfinite(found.low):
            return f"{said} ({found.low:.2f} to {found.high:.2f})"
        return f"{said}, without an interval: there is one perturbation"

    def _harm_in_words(self) -> str:
        harm = self.judged.harm[0, self.contenders.names.index(PREDICTION)]
        if harm < SHOWN:
            return ""
        return f"; it loses {harm:.2f} by being worse than unchanged controls"

    def _beside_copy(self) -> str:
        """Say whether the prediction invents something."""
        at = self.contenders.names.index(PREDICTION)
        harm, net = self.judged.harm[0, at], self.judged.score[0, at]
        if harm >= SHOWN:
            return f"invents a response, which is worse ({net:.2f}; {COPY} 0)"
        return "is no worse than these"
