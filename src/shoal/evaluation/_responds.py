"""Whether anything responds in the held-out conditions, and in which of them nothing does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core._controls import shuffled
from ..metrics._responds import ALPHA, SILENT, condition_pvalues, response_pvalue

if TYPE_CHECKING:
    from .._typing import Bools
    from ._task import EvaluationTask

MOST = 100  # cells of a condition, and ten times as many controls, that are looked at
CELLS = 6_000  # cells of all conditions that are looked at
GENES = 200  # the most variable genes of these
LEAST_MATCHED = 0.5  # share of the cells that have controls of their batch


@dataclass(frozen=True, eq=False)
class Responses:
    """Where something responds.

    Attributes
    ----------
    anything
        Whether anything responds at all.
    silent
        (P,) conditions in which nothing is seen to respond.
    """

    anything: bool
    silent: Bools


def responses(task: EvaluationTask) -> Responses:
    """Compare the cells of the held-out conditions with the controls.

    These are the tests of :mod:`shoal.metrics._responds`, of all conditions at the level .01 and of
    each at .1, within contexts and batches. Where most cells have no controls of their batch,
    within contexts. If nothing can be compared, something is taken to respond.

    Parameters
    ----------
    task
        The task; both halves of its conditions are looked at.
    """
    cells, rng = task.cells, np.random.default_rng([task.seed, 5])
    real = [np.concatenate(pair) for pair in zip(task.predicted, task.real, strict=True)]
    most = max(min(MOST, CELLS // len(real)), 10)
    groups = [np.sort(shuffled(np.sort(own), min(len(own), most), rng)[0]) for own in real]
    controls = [
        np.sort(shuffled(np.sort(own), min(len(own), 10 * most), rng)[0]) for own in task.controls
    ]
    rows = np.concatenate([*groups, *controls])
    sizes = [len(own) for own in (*groups, *controls)]
    code = np.repeat([*range(len(groups)), *[-1] * len(controls)], sizes)
    context = np.repeat([*task.truth.group, *range(len(controls))], sizes)
    x = cells.values(rows).astype(np.float64)
    genes = np.sort(np.argsort(-x.var(axis=0), kind="stable")[:GENES])
    strata = context * (len(cells.batches) + 1) + cells.batch[rows] + 1
    if np.isin(strata[code >= 0], strata[code < 0]).mean() < LEAST_MATCHED:
        strata = context
    x, mask = x[:, genes], task.truth.mask[:, genes]
    p = response_pvalue(x, code, strata, mask=mask, rng=rng)
    of_each = condition_pvalues(x, code, strata, mask=mask, rng=rng)
    return Responses(anything=not p > ALPHA, silent=of_each > SILENT)
