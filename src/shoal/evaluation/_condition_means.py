"""Mean cell of every condition, and averages over conditions that predictions are measured from."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..core._codes import grouped, members
from ..core._controls import LEAST
from ._conditions import conditions_of

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints
    from ..core._population import Population


class ConditionMeans:
    """Mean cells of the conditions of a screen.

    A condition is a perturbation in a context at a dose. All means come from sums that the
    population knows. A mean over all other conditions is the total without the condition itself.

    Parameters
    ----------
    cells
        The screen.
    training
        (n_obs,) training cells.

    Attributes
    ----------
    condition
        (n_obs,) condition of every cell, -1 for cells without a perturbation.
    keys
        Index condition; columns perturbation (code), context (code) and dose.
    """

    def __init__(self, cells: Population, training: Bools) -> None:
        self.cells = cells
        self.condition, self.keys = conditions_of(cells)
        self.perturbation = self.keys["perturbation"].to_numpy()
        self.context = self.keys["context"].to_numpy()
        self.learned = np.isin(np.arange(len(self.keys)), self.condition[training])
        self._controls: dict[int, Floats] = {}
        self._totals: dict[tuple[int, bool], tuple[Floats, int]] = {}

    @cached_property
    def means(self) -> Floats:
        """(C, n_features) mean of every condition."""
        groups = self.cells.sums.perturbed.of_all_splits()
        return np.asarray(groups.sums / groups.n[:, None])

    def controls_of(self, context: int) -> Ints:
        """Return the control cells of a context in the order of their names.

        All control cells of the screen, where the context has fewer than 10.
        """
        at = self.cells.controls.cells
        own = at[self.cells.context[at] == context]
        return own if len(own) >= min(LEAST, len(at)) else at

    def control(self, context: int) -> Floats:
        """Return the mean of the control cells of a context, see `controls_of`."""
        if context not in self._controls:
            groups, own = self.cells.sums.control.of_all_splits(), self.controls_of(context)
            chosen = np.isin(groups.keys["context"], self.cells.context[own])
            self._controls[context] = groups.sums[chosen].sum(axis=0) / len(own)
        return self._controls[context]

    def mean_of_others(self, code: int) -> Floats:
        """Return the mean over the conditions of all other perturbations in the same context.

        Every condition counts once. Without any, it is the mean of the control cells.
        """
        others = self._mean_without(code, learned=False)
        return self.control(int(self.context[code])) if others is None else others

    def reference(self, code: int) -> Floats:
        """Return the mean of perturbed cells that the response of a condition is measured from.

        The first of these that exists:

        - the mean over the training conditions of other perturbations in the same context;
        - the mean over all conditions of other perturbations in the same context;
        - the mean of the control cells plus the mean shift of all training conditions.
        """
        others = self._mean_without(code, learned=True)
        others = self._mean_without(code, learned=False) if others is None else others
        if others is not None:
            return others
        return self.control(int(self.context[code])) + self._mean_shift

    def centre(self, code: int) -> Floats:
        """Return the mean over the training conditions of a context and its control cells.

        The control cells count as one more condition. Without training conditions, all conditions
        of the context count.
        """
        context = int(self.context[code])
        total, n = self._total(context, learned=True)
        total, n = (total, n) if n else self._total(context, learned=False)
        return np.asarray((total + self.control(context)) / (n + 1))

    def parts(self, codes: Ints) -> tuple[Floats, Floats]:
        """Return the means of the two single perturbations of each pair, in its context.

        Both are (len(codes), n_features). They are NaN where a condition is no pair, or one of the
        two was not measured alone.
        """
        names = self.cells.names
        known = {
            (names[p], c): i
            for i, (p, c) in enumerate(zip(self.perturbation, self.context, strict=True))
        }
        means = np.full((2, len(codes), self.means.shape[1]), np.nan)
        for row, code in enumerate(codes):
            singles = self.cells.screen.alone(names[self.perturbation[code]])
            at = [known.get((single, self.context[code])) for single in singles]
            if len(at) == 2 and None not in at:
                means[:, row] = self.means[np.array(at)]
        return means[0], means[1]

    @cached_property
    def _siblings(self) -> list[Ints]:
        """For every condition, the conditions of the same perturbation and context."""
        code, _ = grouped(perturbation=self.perturbation, context=self.context)
        groups = members(code)
        return [groups[i] for i in code]

    def _total(self, context: int, *, learned: bool) -> tuple[Floats, int]:
        """Return the sum of the means of the conditions of a context, and their number."""
        if (context, learned) not in self._totals:
            here = self.context == context
            here = here & self.learned if learned else here
            self._totals[context, learned] = self.means[here].sum(axis=0), int(here.sum())
        return self._totals[context, learned]

    def _mean_without(self, code: int, *, learned: bool) -> Floats | None:
        """Return the mean over the conditions of other perturbations in the same context."""
        total, n = self._total(int(self.context[code]), learned=learned)
        own = self._siblings[code]
        own = own[self.learned[own]] if learned else own
        left = n - len(own)
        return (total - self.means[own].sum(axis=0)) / left if left else None

    @cached_property
    def _mean_shift(self) -> Floats:
        """(n_features,) mean shift of the training conditions from their control cells."""
        learned = np.flatnonzero(self.learned)
        if not len(learned):
            return np.zeros(self.means.shape[1])
        shifts = [self.means[i] - self.control(int(self.context[i])) for i in learned]
        return np.asarray(np.mean(shifts, axis=0))
