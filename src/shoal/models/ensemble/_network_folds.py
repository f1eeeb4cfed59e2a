"""On which inner folds networks are trained: each of them costs one training more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base._kinds import NEW_CONTEXT
from ._rules import LEAST_UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..._typing import Bools, Ints


def network_folds(
    fold: Ints, kind: Sequence[str], unit: Sequence[str], *, fitted: bool, least: int
) -> Bools:
    """Return on which folds networks are trained.

    These are the first `least` folds, and more where it takes more to ask networks 8 units of each
    kind of question that has as many, and one of each other kind. In new contexts networks have no
    part by rule; folds that ask nothing else are left out, unless weights are fitted there.

    Parameters
    ----------
    fold
        (C,) fold that leaves out each condition: 0, 1, 2, ...
    kind, unit
        (C,) kind of question, and what each condition was left out with.
    fitted
        Whether weights are fitted where there are enough units.
    least
        Least number of folds.

    Returns
    -------
    (n_folds,) whether networks are trained on each.
    """
    kinds, units = np.array(kind), np.array(unit)
    wanted: dict[str, int] = {}
    for one in dict.fromkeys(kind):
        enough = len(np.unique(units[kinds == one])) >= LEAST_UNITS
        if one != NEW_CONTEXT or (fitted and enough):
            wanted[one] = LEAST_UNITS if enough else 1
    chosen = np.zeros(int(fold.max(initial=-1)) + 1, dtype=bool)
    for i in np.unique(fold[np.isin(kinds, list(wanted))]):
        there = chosen[fold]
        met = all(len(np.unique(units[there & (kinds == one)])) >= n for one, n in wanted.items())
        if chosen.sum() >= least and met:
            break
        chosen[i] = True
    return chosen
