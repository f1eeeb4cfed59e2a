"""Kinds of question: what training knows of a condition that is to be predicted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from ...core._codes import grouped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Floats
    from ...core._population import Population
    from ...core._screen import Screen

MEASURED = "measured"
DOSE = "measured at other doses"
ELSEWHERE = "measured in other contexts"
NEW_CONTEXT = "in a new context"
COMBINATION = "combination of measured parts"
PARTLY = "combination with an unmeasured part"
NOT_AT_ALL = "combination of unmeasured parts"
UNMEASURED = "not measured"

KINDS = (
    *(MEASURED, DOSE, ELSEWHERE, NEW_CONTEXT),
    *(COMBINATION, PARTLY, NOT_AT_ALL, UNMEASURED),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """The conditions that were measured in training.

    Attributes
    ----------
    perturbation, context
        (C,) canonical name and context of each condition; ``""`` for no context.
    dose
        (C,) dose; NaN where there is none.
    """

    perturbation: NDArray[np.str_]
    context: NDArray[np.str_]
    dose: Floats

    @classmethod
    def of(cls, cells: Population) -> Self:
        """Return the conditions of the training cells of a screen."""
        at = np.flatnonzero(cells.train)
        _, keys = grouped(
            perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
        )
        names, contexts = np.array([*cells.names, ""]), np.array([*cells.contexts, ""])
        return cls(
            names[keys["perturbation"].to_numpy()],
            contexts[keys["context"].to_numpy()],
            keys["dose"].to_numpy(dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.perturbation)

    @cached_property
    def names(self) -> frozenset[str]:
        """Perturbations, single ones and combinations as such."""
        return frozenset(self.perturbation.tolist())

    @cached_property
    def contexts(self) -> tuple[str, ...]:
        """Contexts in which perturbations were measured, sorted."""
        return tuple(sorted(set(self.context.tolist()) - {""}))

    @cached_property
    def _places(self) -> frozenset[tuple[str, str]]:
        return frozenset(zip(self.perturbation.tolist(), self.context.tolist(), strict=True))

    @cached_property
    def _doses(self) -> frozenset[tuple[str, float]]:
        return frozenset(zip(self.perturbation.tolist(), self.dose.tolist(), strict=True))

    def kind(self, name: str, context: str, dose: float, screen: Screen) -> str:
        """Return the kind of question that a condition is.

        Parameters
        ----------
        name
            Canonical name of the perturbation.
        context
            Context; ``""`` where it has none.
        dose
            Dose; NaN where there is none.
        screen
            Says which parts a name has.
        """
        if name in self.names:
            if context and (name, context) not in self._places:
                return ELSEWHERE if context in self.contexts else NEW_CONTEXT
            here = np.isnan(dose) or (name, dose) in self._doses
            return MEASURED if here else DOSE
        alone = screen.alone(name)
        if len(alone) < 2:
            return UNMEASURED
        n_known = sum(part in self.names for part in alone)
        if n_known == len(alone):
            return COMBINATION
        return PARTLY if n_known else NOT_AT_ALL

    def kinds(self, screen: Screen) -> list[str]:
        """Return the kinds of question that a screen with these conditions can be asked."""
        asked = [MEASURED, UNMEASURED, COMBINATION, PARTLY, NOT_AT_ALL]
        if screen.context_key is not None:
            asked += [ELSEWHERE, NEW_CONTEXT]
        if screen.dose_key is not None:
            asked += [DOSE]
        return [kind for kind in KINDS if kind in asked]
