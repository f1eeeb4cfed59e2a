"""External suites: the evaluations of other packages, under their own names."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ._external_cell_eval import CELL_EVAL, VCC, baseline_scaled
from ._external_means import PERTURBENCH, SYSTEMA
from ._external_populations import CMONGE, UNLASTING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._registry import Metric


@dataclass(frozen=True)
class ExternalSuite:
    """An evaluation as another package does it.

    Attributes
    ----------
    name
        Its name.
    metrics
        Its metrics, with their names and definitions in that package.
    reference
        The version that it reproduces.
    uses_predicted_control
        Whether predicted responses are measured from the *predicted* control cells. Otherwise they
        are measured from the real ones.
    takes_counts
        Whether raw counts are normalised, as the package does. Otherwise they are refused.
    halves
        Whether the real cells of a condition are cut in two halves. No external suite does so: all
        real cells are compared with all predicted ones. Hence there is no positive control and no
        skill.
    score
        Function from the mean metrics of a prediction and of the mean baseline to the overall score
        of the package; ``None`` where it has none.
    """

    name: str
    metrics: Mapping[str, Metric]
    reference: str
    uses_predicted_control: bool = False
    takes_counts: bool = False
    halves: bool = False
    score: Callable[[Mapping[str, float], Mapping[str, float]], float] | None = None


_ALL = (
    ExternalSuite(
        "cell_eval",
        CELL_EVAL,
        "cell-eval 0.8.2 with pdex 0.3.0, profile full",
        uses_predicted_control=True,
        takes_counts=True,
    ),
    ExternalSuite(
        "vcc",
        VCC,
        "Virtual Cell Challenge 2025: cell-eval 0.8.2, profile vcc and command score",
        uses_predicted_control=True,
        takes_counts=True,
        score=baseline_scaled,
    ),
    ExternalSuite("systema", SYSTEMA, "Viñas Torné et al. 2025, Systema's evaluation folder"),
    ExternalSuite(
        "perturbench",
        PERTURBENCH,
        "Wu et al. 2024, PerturBench's Evaluator",
        uses_predicted_control=True,
    ),
    ExternalSuite("unlasting", UNLASTING, "Unlasting 2025, test.py and test_util.py"),
    ExternalSuite("cmonge", CMONGE, "Conditional Monge gap, cmonge/metrics.py"),
)

EXTERNAL_SUITES: Mapping[str, ExternalSuite] = MappingProxyType(
    {suite.name: suite for suite in _ALL}
)
