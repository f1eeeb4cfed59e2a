"""Mean cell of every condition of a screen, and the means over conditions that predictions are measured against."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..core._codes import grouped, members
from ..core._controls import LEAST
from ..core._matrix import add_to_groups
from ..metrics._comparison import mean_of

if TYPE_CHECKING:
    import pandas as pd

    from .._typing import Bools, Floats, Ints
    from ..core._population import Population


class ConditionMeans:
    """Means of conditions, from one pass over the matrix; a mean over all others is the total less the own.

    Parameters
    ----------
    cells
        The screen.
    condition
        (n_obs,) condition of every cell, of which those with a perturbation count.
    keys
        Index condition; perturbation (code), context (code), dose.
    training
        (n_obs,) cells of training.
    """

    def __init__(
        self, cells: Population, condition: Ints, keys: pd.DataFrame, training: Bools
    ) -> None:
        self.cells, self.condition, n = cells, condition, len(keys)
        code = np.where(cells.perturbed, condition, -1)
        counts, sums = np.bincount(code[code >= 0], minlength=n), np.zeros((n, cells.rows.shape[1]))
        for rows, block in cells.rows.blocks():
            add_to_groups(sums, block, code[rows])
        self.present, self.means = counts > 0, sums / np.maximum(counts, 1)[:, None]
        self.perturbation, self.context = (
            keys["perturbation"].to_numpy(),
            keys["context"].to_numpy(),
        )
        self.learned = np.isin(np.arange(n), condition[training & cells.perturbed])
        self._pair, _ = grouped(perturbation=self.perturbation, context=self.context)
        self._alike = members(self._pair)
        self._controls: dict[int, Floats] = {}
        self._totals: dict[tuple[int, bool], tuple[Floats, int]] = {}

    def controls_of(self, context: int) -> Ints:
        """Return the control cells of a context, or all where it has too few, in the order of their names."""
        at = self.cells.controls.cells
        own = at[self.cells.context[at] == context]
        return own if len(own) >= min(LEAST, len(at)) else at

    def control(self, context: int) -> Floats:
        """Return the mean of the controls of a context."""
        if context not in self._controls:
            self._controls[context] = mean_of(
                self.cells.rows.take(np.sort(self.controls_of(context)))
            )
        return self._controls[context]

    def mean_of_others(self, code: int) -> Floats:
        """Return the mean over all other perturbations of the context with equal weights; of the controls if there is none."""
        found = self._without(code, learned=False)
        return self.control(int(self.context[code])) if found is None else found

    def reference(self, code: int) -> Floats:
        """Return the control mean and the mean shift of the training conditions of the context but those of the perturbation.

        Of other conditions where none is of training; of those of training in all contexts where there is no other.
        """
        found = self._without(code, learned=True)
        found = self._without(code, learned=False) if found is None else found
        return (
            self.control(int(self.context[code])) + self._shift_anywhere if found is None else found
        )

    def centre(self, code: int) -> Floats:
        """Return the mean over training conditions (or all, if there are none) of a context and its controls as one more."""
        context = int(self.context[code])
        total, n = self._total(context, learned=True)
        total, n = (total, n) if n else self._total(context, learned=False)
        return np.asarray((total + self.control(context)) / (n + 1))

    def parts(self, codes: Ints) -> tuple[Floats, Floats]:
        """Return the means of the two parts of each pair, in its context; NaN where it is no pair or a part was not measured."""
        names = self.cells.names
        known = {
            (names[p], c): i
            for i, (p, c, there) in enumerate(
                zip(self.perturbation, self.context, self.present, strict=True)
            )
            if there and 0 <= p < len(names)
        }
        found = np.full((2, len(codes), self.means.shape[1]), np.nan)
        for row, code in enumerate(codes):
            parts = self.cells.screen.parts(names[self.perturbation[code]])
            at = [known.get((part, self.context[code])) for part in parts]
            if len(at) == 2 and None not in at:
                found[:, row] = self.means[np.array(at)]
        return found[0], found[1]

    def _total(self, context: int, *, learned: bool) -> tuple[Floats, int]:
        """Return the sum of the means of the conditions of a context, and their number."""
        if (context, learned) not in self._totals:
            here = self._here(context, learned=learned)
            self._totals[context, learned] = self.means[here].sum(axis=0), int(here.sum())
        return self._totals[context, learned]

    def _here(self, context: int, *, learned: bool) -> Bools:
        return (self.context == context) & (self.learned if learned else self.present)

    def _without(self, code: int, *, learned: bool) -> Floats | None:
        """Return the mean over the conditions of the same context that are of another perturbation."""
        context = int(self.context[code])
        total, n = self._total(context, learned=learned)
        own = self._alike[self._pair[code]]
        own = own[(self.learned if learned else self.present)[own]]
        left = n - len(own)
        return (total - self.means[own].sum(axis=0)) / left if left else None

    @cached_property
    def _shift_anywhere(self) -> Floats:
        """The mean shift of all training conditions, each from the controls of its context."""
        learned = np.flatnonzero(self.learned)
        if not len(learned):
            return np.zeros(self.means.shape[1])
        return np.asarray(
            np.mean([self.means[i] - self.control(int(self.context[i])) for i in learned], axis=0)
        )
