"""Which controls stand in for a perturbed cell: those of its context and batch, if enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ._codes import members

if TYPE_CHECKING:
    from .._typing import Bools, Ints

LEVELS = ("same context and batch", "same context", "same batch", "any control")
LEAST = 10  # a pool of fewer control cells gives way to the next level


@dataclass(frozen=True)
class Controls:
    """Control cells, looked up by context and batch.

    A cell is matched with controls of its own context and batch; where there are fewer than
    `least`, with controls of its context, else of its batch, else with any. The context comes
    before the batch because it is biology.

    Attributes
    ----------
    cells
        (n,) positions of the control cells; their order is the one that random numbers refer to.
    context, batch
        (n,) their codes; a screen without such a column has code 0 everywhere.
    least
        Fewest controls of a pool.
    """

    cells: Ints
    context: Ints
    batch: Ints
    least: int = LEAST
    _pools: dict[tuple[int, int], tuple[Ints, int]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def pool(self, context: int, batch: int) -> tuple[Ints, int]:
        """Return the controls for a context and batch (-1: unknown), and the level they are of."""
        key = (int(context), int(batch))
        if key not in self._pools:
            in_context = (self.context == key[0]) & (key[0] >= 0)
            in_batch = (self.batch == key[1]) & (key[1] >= 0)
            choices = (
                in_context & in_batch,
                in_context,
                in_batch,
                np.ones(len(self.cells), dtype=bool),
            )
            least = min(self.least, len(self.cells))
            level = next(i for i, chosen in enumerate(choices) if chosen.sum() >= least)
            self._pools[key] = (self.cells[choices[level]], level)
        return self._pools[key]

    def draw(self, context: Ints, batch: Ints, rng: np.random.Generator) -> tuple[Ints, Bools]:
        """Draw a control for every requested cell; none twice before all of a pool are drawn.

        Parameters
        ----------
        context, batch
            (n,) codes of the cells, -1 where unknown.
        rng
            Generator.

        Returns
        -------
        cells
            (n,) positions of the controls.
        again
            (n,) True where a control had been drawn before in this call from the same pool.
        """
        cells, again = np.empty(len(context), dtype=np.int64), np.zeros(len(context), dtype=bool)
        width = int(batch.max(initial=0)) + 2
        wanted, slot = np.unique((context + 1) * np.int64(width) + batch + 1, return_inverse=True)
        for key, at in zip(wanted, members(slot), strict=True):
            pool, _ = self.pool(int(key // width) - 1, int(key % width) - 1)
            cells[at], again[at] = shuffled(pool, len(at), rng)
        return cells, again


def shuffled(pool: Ints | int, n: int, rng: np.random.Generator) -> tuple[Ints, Bools]:
    """Draw members of a pool in random order; all of them come once before any comes again.

    Parameters
    ----------
    pool
        Members, or their number, which stands for 0, 1, 2, ... and takes no memory.
    n
        How many are drawn.
    rng
        Generator.

    Returns
    -------
    drawn
        (n,) members.
    again
        (n,) which of them repeat an earlier one.
    """
    size = pool if isinstance(pool, int) else len(pool)
    once = min(n, size)
    drawn = [rng.choice(pool, once, replace=False)]
    while once < n:
        drawn.append(rng.choice(pool, min(n - once, size), replace=False))
        once += len(drawn[-1])
    return np.concatenate(drawn), np.arange(n) >= size
