"""Cells of conditions that inner folds leave out, and how far they are from the measured ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ...core._codes import members
from ...metrics._cells import densify
from ...metrics._pairs import euclidean
from ...metrics._reference import PairReference
from ..post._postprocessing import Moved

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._typing import Floats, Ints
    from ..post._postprocessing import Postprocessing
    from ._answers import Answer, Left

LEAST = 10  # cells of a condition that say how it is spread
MOST_CELLS, MOST_CONDITIONS = 64, 64  # that are compared, of a condition and of a fold
RECENTRED, MIXED = "recentred", "mixed"


def compared(population: Ints) -> Ints:
    """Return the rows of which whole cells are compared: up to 64 of up to 64 populations.

    Parameters
    ----------
    population
        (n,) code of the population of every row.
    """
    several = members(population)
    several = several[:: -(-len(several) // MOST_CONDITIONS) or 1]
    some = [rows[:: -(-len(rows) // MOST_CELLS)] for rows in several]
    return np.concatenate([np.empty(0, dtype=np.int64), *some])


@dataclass(frozen=True, eq=False)
class InnerCells:
    """Cells of the C conditions that F folds leave out, as members made them.

    Attributes
    ----------
    left
        What each fold leaves out; its `shown` rows are those that there are cells of.
    made
        Member -> its answer to each fold; NaN where it could make no cells, and ``None`` where it
        was not asked.
    """

    left: tuple[Left, ...]
    made: Mapping[str, tuple[Answer | None, ...]]

    def without(self, name: str) -> Self:
        """Return the cells without those of a member."""
        return replace(self, made={key: own for key, own in self.made.items() if key != name})

    def energies(
        self, own: Ints, response: Floats, *, post: Postprocessing, seed: int
    ) -> tuple[Ints, Floats]:
        """Return energy distances to the measured cells of control cells, and of those of members.

        Distances are taken along the principal axes of the folds, of finished cells.

        Parameters
        ----------
        own
            (m,) conditions.
        response
            (m, d) mean responses that are added to control cells.
        post
            What finishes cells that were moved.
        seed
            Seed of what it draws.

        Returns
        -------
        at
            (k,) positions in `own` of the conditions of which there are cells.
        energy
            (k, 1 + 2 K) distances: first of control cells, then, for every member, of its cells
            moved to the mean of these, and of half of its cells beside half of the control cells.
            NaN where it has no cells.
        """
        place, found = {int(one): i for i, one in enumerate(own)}, {}
        before = 0
        for fold, left in enumerate(self.left):
            for rows in members(left.population[left.shown]):
                code = int(left.population[left.shown[rows[0]]])
                condition = before + code
                if condition in place and len(rows) >= LEAST:
                    i = place[condition]
                    several = [each[fold] for each in self.made.values()]
                    made = [
                        None if one is None else (densify(one.cells[rows]), one.finished[code])
                        for one in several
                    ]
                    rng = np.random.default_rng([seed, condition])
                    found[i] = _energies(left, left.shown[rows], made, response[i], post, rng)
            before += len(left.names)
        at = np.array(sorted(found), dtype=np.int64)
        return at, np.array([found[i] for i in at]).reshape(len(at), 1 + 2 * len(self.made))


def _energies(
    left: Left,
    rows: Ints,
    made: list[tuple[Floats, Floats] | None],
    response: Floats,
    post: Postprocessing,
    rng: np.random.Generator,
) -> list[float]:
    """Return the distances of the cells of one condition."""
    cells, one = left.cells, np.zeros(len(rows), dtype=np.int64)
    real = PairReference(cells.values(left.rows[rows]) @ left.axes, euclidean)
    start = cells.values(left.request.source[rows])

    def finished(values: Floats) -> Floats:
        found: Floats = post(Moved(values.astype(start.dtype), start), one, rng)
        return found

    def distance(values: Floats) -> float:
        return real.compare(values @ left.axes)[0]

    control = finished(start + response)
    odd, found = np.arange(len(rows))[:, None] % 2 == 1, [distance(control)]
    for answer in made:
        if answer is None or not np.isfinite(answer[0]).all():
            found += [np.nan, np.nan]
            continue
        own, said = answer
        # by means over more rows: few cells around their own mean would look too near
        lacks = control.mean(axis=0) - start.mean(axis=0) - said
        found.append(distance(finished(own + lacks)))
        found.append(distance(np.where(odd, own, control)))
    return found
