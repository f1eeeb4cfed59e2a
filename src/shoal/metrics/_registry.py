"""The record of a metric: how it is computed, which way is better, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._typing import Floats
    from ._comparison import Populations, Truth

FEW = "too few cells"
CELL_EVAL, SCPERTEVAL, SYSTEMA = (
    "cell-eval 0.8",
    "scPertEval 0.2",
    "Viñas Torné et al. 2025 (Systema)",
)
FAMILIES = (
    "response",
    "discrimination",
    "genes",
    "population",
    "structure",
    "hits",
    "combination",
    "error",
)


@dataclass(frozen=True)
class Scored:
    """Values of one metric.

    Attributes
    ----------
    values
        (P,) values, NaN where there is none. For a metric of the whole screen, one value (1,).
    reasons
        Why there is no value, by position.
    """

    values: Floats
    reasons: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """The record of a metric.

    Attributes
    ----------
    name
        Its name.
    family
        One of `FAMILIES`.
    direction
        ``"higher"`` or ``"lower"`` is better; or ``"target"``: the nearer to `perfect`, the better.
    perfect
        Value of a perfect prediction.
    compute
        Function from the truth and predicted populations to `Scored`.
    needs
        What it is computed from: ``"means"``, ``"cells"``, ``"components"`` (cells in principal
        axes) or ``"genes"`` (differential expression).
    undefined
        When it has no value.
    reference
        Where it comes from.
    per
        ``"condition"``; or ``"screen"`` for a metric with one number per screen.
    negative
        Its negative control: ``"perturbed"``, the mean of all other conditions, or ``"control"``,
        the control cells. The control cells are used where the mean of all other conditions is the
        reference of the metric itself, and for ranks, where a mean without the condition is worse
        than chance. The positive control of every metric is a second sample of the real cells.
    masked
        Whether the target genes of the perturbation are left out. Where conditions are ranked among
        each other, those of all of them are.
    correlation
        Whether it is a correlation. Its ceiling then follows from the correlation of two halves.
    on_request
        Whether it is computed only where it is asked for by name.
    """

    name: str
    family: str
    direction: Literal["higher", "lower", "target"]
    perfect: float
    compute: Callable[[Truth, Populations], Scored]
    needs: str
    undefined: str
    reference: str
    per: Literal["condition", "screen"] = "condition"
    negative: Literal["perturbed", "control"] = "perturbed"
    masked: bool = True
    correlation: bool = False
    on_request: bool = False


def score(metric: Metric, truth: Truth, predicted: Populations) -> Scored:
    """Compute a metric. Where it has no value, the value is NaN and the reason is recorded.

    ``ValueError`` is how a metric says that it has no value, and ``ImportError`` that it lacks a
    library. Both become reasons, and stop no other metric. Any other error is a defect and is
    raised.
    """
    n = 1 if metric.per == "screen" else len(truth.names)
    try:
        scored = metric.compute(truth, predicted)
    except (ValueError, ImportError) as err:
        return Scored(np.full(n, np.nan), dict.fromkeys(range(n), str(err)))
    missing = {int(i): metric.undefined for i in np.flatnonzero(np.isnan(scored.values))}
    return Scored(scored.values, missing | scored.reasons)


def rows(
    function: Callable[[Truth, Populations], Floats],
) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function that returns a value for every condition."""
    return lambda truth, predicted: Scored(np.asarray(function(truth, predicted), dtype=np.float64))


def one(function: Callable[[Truth, Populations], float]) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function that returns one value for the screen."""
    return lambda truth, predicted: Scored(np.array([function(truth, predicted)], dtype=np.float64))


def each(
    function: Callable[[Truth, Populations, int], float],
) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function of one condition. Its ``ValueError`` becomes a missing value and a reason."""

    def compute(truth: Truth, predicted: Populations) -> Scored:
        values, reasons = np.full(len(truth.names), np.nan), {}
        for i in range(len(values)):
            try:
                values[i] = function(truth, predicted, i)
            except ValueError as err:
                reasons[i] = str(err)
        return Scored(values, reasons)

    return compute
