"""Lookup of the cells of a perturbation that were measured in other contexts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import grouped, members, recode
from ...core._controls import LEAST, shuffled

if TYPE_CHECKING:
    from ..._typing import Bools, Ints
    from ...core._population import Population
    from ...training import Conditions
    from ...training._sampler import Draw
    from ..base._requests import PredictionRequest
    from ..base._vocabulary import Vocabulary


class MeasuredElsewhere:
    """The training cells of every perturbation, looked up by the contexts that they are not of.

    A perturbation has such cells for a context only if all of the following hold:

    - training has its cells at the same dose in at least one other context;
    - these are at least ten cells, as fewer would be repeated again and again;
    - training has another perturbation in the context, from which the way into it can be learned.

    Parameters
    ----------
    conditions
        Conditions of training.
    rank
        (n_obs,) position of every cell in a fixed order, by name for instance. Random draws then do
        not depend on the order of the rows.
    """

    def __init__(self, conditions: Conditions, rank: Ints) -> None:
        self._measured: dict[tuple[object, ...], list[tuple[int, Ints]]] = defaultdict(list)
        self._in_context: dict[int, set[tuple[int, ...]]] = defaultdict(set)
        for parts, context, dose, cells in zip(
            conditions.parts, conditions.context, conditions.dose, conditions.cells, strict=True
        ):
            if context >= 0:
                self._measured[_key(parts, dose)].append((int(context), cells))
                self._in_context[int(context)].add(_parts(parts))
        self._rank = rank

    def cells_for(self, parts: Ints, context: int, dose: float) -> Ints:
        """Return the positions of the cells of some parts at a dose, in any context but one.

        Parameters
        ----------
        parts
            (P,) codes of the single perturbations, -1 where there are fewer than P.
        context
            Code of the context that is left out.
        dose
            Standardised dose, NaN where there is none.

        Returns
        -------
        Positions in the fixed order; an empty array where the conditions above do not hold.
        """
        here = self._in_context.get(context, set())
        has_others = len(here) > (_parts(parts) in here)
        places = self._measured.get(_key(parts, dose), ()) if has_others else ()
        there = [cells for other, cells in places if other != context]
        positions = np.concatenate(there) if there else np.zeros(0, dtype=np.int64)
        enough = len(positions) >= LEAST
        return positions[np.argsort(self._rank[positions])] if enough else positions[:0]

    def replace_sources(
        self, conditions: Conditions, draw: Draw, chance: float, rng: np.random.Generator
    ) -> tuple[Draw, Bools]:
        """Replace the control cells of some sets by cells of other contexts.

        Parameters
        ----------
        conditions
            Conditions that the draw is of.
        draw
            Cells of K sets.
        chance
            Probability with which a set is given cells of other contexts, if there are any.
        rng
            Generator.

        Returns
        -------
        The changed draw, and (K,) which sets were changed.
        """
        source, weight = draw.source.copy(), draw.source_weight.copy()
        changed = rng.random(len(draw.index)) < chance
        for k in np.flatnonzero(changed):
            c = draw.index[k]
            pool = self.cells_for(
                conditions.parts[c], int(conditions.context[c]), float(conditions.dose[c])
            )
            changed[k] = len(pool) > 0
            if changed[k]:
                source[k], again = shuffled(pool, source.shape[1], rng)
                weight[k] = ~again
        return replace(draw, source=source, source_weight=weight), changed

    def for_request(
        self,
        request: PredictionRequest,
        cells: Population,
        vocabulary: Vocabulary,
        rng: np.random.Generator,
    ) -> Ints:
        """Draw the training cell of another context that each row of a request starts at.

        Returns
        -------
        (n,) positions of training cells, -1 for rows that start at a control cell.
        """
        population, keys = grouped(
            perturbation=request.perturbation, context=request.context, dose=request.dose
        )
        parts = vocabulary.parts([request.names[code] for code in keys["perturbation"]])
        context = recode(keys["context"].to_numpy(), cells.contexts, vocabulary.contexts)
        dose = vocabulary.standard_dose(keys["dose"].to_numpy(dtype=np.float64))
        begin = np.full(len(request), -1, dtype=np.int64)
        for i, rows in enumerate(members(population)):
            pool = self.cells_for(parts[i], int(context[i]), float(dose[i]))
            if len(pool):
                begin[rows] = shuffled(pool, len(rows), rng)[0]
        return begin


def _parts(parts: Ints) -> tuple[int, ...]:
    return tuple(int(part) for part in parts if part >= 0)


def _key(parts: Ints, dose: float) -> tuple[object, ...]:
    return (*_parts(parts), None if np.isnan(dose) else round(float(dose), 6))
