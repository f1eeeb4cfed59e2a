"""What is asked of an ensemble, and what it says of its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Self

import numpy as np

from ..._validate import some
from ...core._named_context import named_context
from ..base._kinds import NEW_CONTEXT
from ..base._requests import given_dose
from ._words import paragraph

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

    from ...core._screen import Screen
    from ..base._kinds import Measured


@dataclass(frozen=True)
class Condition:
    """A condition that an ensemble is asked for.

    Attributes
    ----------
    screen
        Says which parts a name has.
    name
        Perturbation, as a user wrote it.
    context
        Context; ``""`` for none.
    dose
        Dose; NaN for none.
    """

    screen: Screen
    name: str
    context: str
    dose: float

    @classmethod
    def of(
        cls, screen: Screen, contexts: Collection[str], name: str, context: str, dose: float
    ) -> Self:
        """Return the condition that a call names, in one of some contexts or in a new one.

        Raises
        ------
        TypeError
            If the context is no text or number.
        ValueError
            If it is the control, a context or a dose is given where the screen has none, or the
            dose is not above 0.
        """
        if screen.canonical(name) == screen.control[0]:
            msg = (
                f"{name!r} is the control, which is measured and not predicted; name perturbations"
            )
            raise ValueError(msg)
        if context not in (None, ""):  # one that training does not have is a question too
            context = named_context(context, [*contexts, str(context)], screen)
        none = dose is None or (isinstance(dose, Real) and np.isnan(dose))
        number = float("nan") if none else given_dose(dose, screen)
        return cls(screen, str(name), context or "", number)

    def kind(self, measured: Measured) -> str:
        """Return the kind of question that it is, as ``model.weights`` names it."""
        return measured.kind(self.screen.canonical(self.name), self.context, self.dose, self.screen)

    def __str__(self) -> str:
        where = f" in context {self.context!r}" if self.context else ""
        return f"{self.name!r}{where}{'' if np.isnan(self.dose) else f' at dose {self.dose:g}'}"


def explained(
    asked: Condition,
    measured: Measured,
    contexts: Sequence[str],
    weights: pd.DataFrame,
    carriers: pd.DataFrame,
) -> str:
    """Return who answers for a condition: a paragraph for each kind of question that it is.

    Parameters
    ----------
    asked
        The condition.
    measured
        What training measured.
    contexts
        Contexts of the screen, which are all asked for where none is named.
    weights, carriers
        Tables of the ensemble.

    Raises
    ------
    ValueError
        If a dose is missing.
    """
    name = asked.screen.canonical(asked.name)
    if asked.screen.dose_key is not None and name in measured.names and np.isnan(asked.dose):
        own = np.unique(measured.dose[measured.perturbation == name])
        doses = ", ".join(f"{dose:g}" for dose in own[:12])
        msg = f"which dose? Pass dose=...; {asked.name!r} is measured at {doses}"
        raise ValueError(msg)
    everywhere = asked.screen.context_key is not None and not asked.context and contexts
    several = [replace(asked, context=one) for one in contexts] if everywhere else [asked]
    kinds: dict[str, list[Condition]] = {}
    for one in several:
        kinds.setdefault(one.kind(measured), []).append(one)
    found = []
    for kind, own in kinds.items():
        said = str(asked)
        if len(kinds) > 1:
            said += f" in context {some([one.context for one in own])}"
        what = f"{said} is {'a ' if kind.startswith('combination') else ''}{kind}"
        if kind == NEW_CONTEXT:
            what += f" (perturbations are measured in {some(measured.contexts)})"
        rows = (table[table["kind"] == kind] for table in (weights, carriers))
        found.append(paragraph(f"{what}.", *rows))
    return "\n\n".join(found)
