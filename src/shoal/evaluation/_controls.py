"""Predictions that need no model: the controls that calibrate the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._contenders import COPY, NEGATIVE, POSITIVE
from ..metrics._cells import repeated, sizes_of
from ..metrics._comparison import Populations
from ._task import take

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._task import EvaluationTask


def positive_control(task: EvaluationTask) -> Populations:
    """Return a second sample of the real cells: the first halves of the conditions."""
    return Populations(task.truth, take(task.cells.rows, task.predicted))


def negative_control(task: EvaluationTask) -> Populations:
    """Return cells of all other perturbations of the context.

    Their mean is that over the other conditions, each of which counts once.
    """
    exact = np.stack([task.means.mean_of_others(code) for code in task.codes])
    return Populations(task.truth, take(task.cells.rows, task.others), exact=exact)


def control_copy(task: EvaluationTask) -> Populations:
    """Return control cells of the same contexts and batches, and the mean of the controls."""
    copies = take(task.cells.rows, task.copies)
    return Populations(task.truth, copies, exact=task.truth.control)


def collapsed(task: EvaluationTask) -> Populations:
    """Return the mean of the positive control, for every cell."""
    means, sizes = positive_control(task).means, [len(own) for own in task.predicted]
    return Populations(task.truth, repeated(means, sizes, np.float32))


def mean_baseline(task: EvaluationTask) -> Populations:
    """Return the baseline of cell-eval, for every real cell.

    It is the mean over the training conditions and the controls, which count as one more.
    """
    real, centre = task.truth.cells, [task.means.centre(code) for code in task.codes]
    return Populations(task.truth, repeated(centre, sizes_of(real).tolist(), real[0].dtype))


CALIBRATING: Mapping[str, Callable[[EvaluationTask], Populations]] = {
    POSITIVE: positive_control,
    NEGATIVE: negative_control,
    COPY: control_copy,
}
