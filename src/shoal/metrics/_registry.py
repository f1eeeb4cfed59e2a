"""What is known of a metric: how it is computed, which way is better, what it needs, and where it comes from."""

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
        (P,) values, NaN where there is none; one value, (1,), for a metric of the whole screen.
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
        ``"higher"`` or ``"lower"`` is better, or ``"target"``: the nearer to `perfect`, the better.
    perfect
        Value of a perfect prediction.
    compute
        From the truth and a contender's populations to `Scored`.
    needs
        What it is computed from: ``"means"``, ``"cells"``, ``"components"`` (cells in principal axes) or ``"genes"``
        (differential expression).
    per
        ``"condition"``, or ``"screen"`` where it is one number.
    negative
        What its negative control is: the mean of all other ``"perturbed"`` conditions or the ``"control"`` cells: where that
        mean is the reference of the metric itself, and for ranks, where a mean without the condition is worse than chance. The positive control is a second sample of the real cells for all.
    masked
        Whether the target genes of the perturbation are left out.
    correlation
        Whether it is a correlation, whose ceiling follows from that between halves.
    undefined
        When it has no value.
    source
        Where it comes from.
    """

    name: str
    family: str
    direction: Literal["higher", "lower", "target"]
    perfect: float
    compute: Callable[[Truth, Populations], Scored]
    needs: str
    undefined: str
    source: str
    per: Literal["condition", "screen"] = "condition"
    negative: Literal["perturbed", "control"] = "perturbed"
    masked: bool = True
    correlation: bool = False


def score(metric: Metric, truth: Truth, contender: Populations) -> Scored:
    """Compute a metric; what it cannot compute is missing, with the reason, and stops no other metric.

    Only the errors by which a metric says that it has no value (``ValueError``) or lacks a library (``ImportError``) are
    turned into reasons; anything else is a defect and is raised.
    """
    n = 1 if metric.per == "screen" else len(truth.names)
    try:
        found = metric.compute(truth, contender)
    except (ValueError, ImportError) as err:
        return Scored(np.full(n, np.nan), dict.fromkeys(range(n), str(err)))
    missing = {int(i): metric.undefined for i in np.flatnonzero(np.isnan(found.values))}
    return Scored(found.values, missing | found.reasons)


def rows(
    function: Callable[[Truth, Populations], Floats],
) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function that returns a value for every condition."""
    return lambda truth, guess: Scored(np.asarray(function(truth, guess), dtype=np.float64))


def one(function: Callable[[Truth, Populations], float]) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function that returns a value for the screen."""
    return lambda truth, guess: Scored(np.array([function(truth, guess)], dtype=np.float64))


def each(
    function: Callable[[Truth, Populations, int], float],
) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function of one condition; where it raises ``ValueError`` the value is missing, for that reason."""

    def compute(truth: Truth, guess: Populations) -> Scored:
        values, reasons = np.full(len(truth.names), np.nan), {}
        for i in range(len(values)):
            try:
                values[i] = function(truth, guess, i)
            except ValueError as err:
                reasons[i] = str(err)
        return Scored(values, reasons)

    return compute
