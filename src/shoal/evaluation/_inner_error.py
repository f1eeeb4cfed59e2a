r"""The error of a model on conditions that were left out of its training: what choices go by.

For a condition c with real cells Q, predicted cells P and the control cells C that the prediction
started from, D is the unbiased energy distance along principal axes of the training cells. The
error is

.. math:: \sum_c D(P_c, Q_c) \Big/ \sum_c D(C_c, Q_c).

It is 0 in the mean for a second sample of the real cells, and 1 for a copy of the controls. Why
this and no other:

- **It sees whole populations**: shift, spread and subpopulations count, so that neither a mean
  without cells nor an invented spread is chosen.
- **A ratio of sums** and not the mean of ratios. A condition that hardly responds has a tiny
  denominator of its own and would decide alone. Here it counts by what is predicted for it: an
  invented response adds to the numerator.
- **The denominator is the same for all candidates.** So the choice is that of the smallest mean
  distance also where nothing responds and the ratio means nothing (it is then NaN).
- **It is one number of a fixed form.** A score with many metrics, controls and a reference could
  itself be tuned to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core._codes import members
from ..core._order import stable_order
from ..metrics._cells import densify
from ..metrics._comparison import project
from ..metrics._distance import energy_distance
from ..models.space._fit_cells import axes_of_training
from ._conditions import condition_names, conditions_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints, Matrix
    from ..core._population import Population

N_COMPS = 50  # principal axes, as many as an evaluation has
MOST_CELLS = 400  # of a condition
LEAST_CELLS = 3  # conditions of fewer cells, or wells, say too little


@dataclass(frozen=True, eq=False)
class Left:
    """The conditions that one fold leaves out.

    Attributes
    ----------
    cells
        The screen with the sides of this fold.
    names
        Names of the conditions.
    rows
        Sorted rows of the real cells of each condition.
    real
        These cells along the axes.
    """

    cells: Population
    names: tuple[str, ...]
    rows: tuple[Ints, ...]
    real: tuple[Floats, ...]

    @property
    def subset(self) -> Bools:
        """(n_obs,) which cells are predicted."""
        return np.isin(np.arange(len(self.cells.split)), np.concatenate(self.rows))


class InnerError:
    """Measures models on the conditions that folds leave out.

    Parameters
    ----------
    cells
        The screen.
    folds
        (n_obs,) side of every cell in each fold, as :func:`shoal.core._inner_folds.inner_folds`
        makes them.
    seed
        Seed of the cells that are drawn of large conditions, and of predictions.

    Raises
    ------
    ValueError
        If no condition that is left out has enough cells, or the training cells do not vary.
    """

    def __init__(self, cells: Population, folds: Sequence[Ints], *, seed: int) -> None:
        self.seed = seed
        self._axes = axes_of_training(cells, N_COMPS, np.random.default_rng([seed, 0]))
        self.folds = tuple(self._left(cells.with_split(side)) for side in folds)
        if not any(fold.names for fold in self.folds):
            msg = (
                f"no condition that inner folds leave out has {LEAST_CELLS} cells, so nothing can "
                "be chosen on them; leave out tune= and reference='validation'"
            )
            raise ValueError(msg)

    def _left(self, cells: Population) -> Left:
        """Choose the real cells of the conditions that a fold leaves out."""
        condition, keys = conditions_of(cells)
        names = condition_names(cells, keys)
        rng, order = np.random.default_rng([self.seed, 1]), stable_order(cells.adata)
        order = order[(cells.split[order] == 2) & cells.perturbed[order]]
        found = []
        for own in members(condition[order]):
            rows = order[own]
            if len(rows) >= LEAST_CELLS:
                some = (
                    rows if len(rows) <= MOST_CELLS else rng.choice(rows, MOST_CELLS, replace=False)
                )
                found.append((names[condition[rows[0]]], np.sort(some)))
        rows = tuple(rows for _, rows in found)
        real = tuple(self._along(cells.rows.take(own)) for own in rows)
        return Left(cells, tuple(name for name, _ in found), rows, real)

    def _along(self, values: Matrix) -> Floats:
        """Return cells along the axes."""
        return project(densify(values).astype(np.float64), self._axes)

    def of(self, model: Any, fold: int) -> pd.DataFrame:
        """Return the distances of a model that was trained on the training cells of a fold.

        Returns
        -------
        Index condition; columns ``energy`` (of the prediction to the real cells) and ``copy`` (of
        the control cells that it started from).

        Raises
        ------
        KeyError, ValueError
            If the model cannot predict a condition, or predicts NaN.
        """
        left = self.folds[fold]
        if not left.names:
            return pd.DataFrame({"energy": [], "copy": []}, dtype=np.float64)
        cells = left.cells
        rows, values, source = model.twins(cells, subset=left.subset, rng=self.seed)
        made = self._along(values)
        start, back = np.unique(source, return_inverse=True)
        starts = self._along(cells.rows.take(start))[back]
        places = [np.searchsorted(rows, own) for own in left.rows]
        return pd.DataFrame(
            [
                [energy_distance(some[at], real) for some in (made, starts)]
                for at, real in zip(places, left.real, strict=True)
            ],
            index=list(left.names),
            columns=["energy", "copy"],
        )


def relative(distances: pd.DataFrame) -> float:
    """Return the error from the distances of conditions; NaN where nothing responds."""
    copy = float(distances["copy"].mean())
    return float(distances["energy"].mean()) / copy if copy > 0 else float("nan")
