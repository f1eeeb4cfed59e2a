"""Other packages' evaluations, under their own names: which metrics, on which cells, against which controls."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ._preset_cell_eval import CELL_EVAL, VCC, baseline_scaled
from ._preset_means import PERTURBENCH, SYSTEMA
from ._preset_populations import CMONGE, UNLASTING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._registry import Metric


@dataclass(frozen=True)
class Preset:
    """An evaluation as another package does it.

    Attributes
    ----------
    name
        Its name.
    metrics
        Its metrics, called and defined as there.
    source
        Which version of what it reproduces.
    uses_predicted_control
        Whether predicted responses are measured from the *predicted* control cells; from the real ones otherwise.
    halves
        Whether conditions are cut in two halves. No peer does: all real cells are compared with all predicted ones, so that
        there is no positive control and no skill.
    score
        From the mean metrics of a prediction and of the mean baseline to the peer's overall score; ``None`` where it has none.
    """

    name: str
    metrics: Mapping[str, Metric]
    source: str
    uses_predicted_control: bool = False
    halves: bool = False
    score: Callable[[Mapping[str, float], Mapping[str, float]], float] | None = None


_ALL = (
    Preset(
        "cell_eval",
        CELL_EVAL,
        "cell-eval 0.8.2 with pdex 0.3.0, profile full",
        uses_predicted_control=True,
    ),
    Preset(
        "vcc",
        VCC,
        "Virtual Cell Challenge 2025: cell-eval 0.8.2, profile vcc and command score",
        uses_predicted_control=True,
        score=baseline_scaled,
    ),
    Preset("systema", SYSTEMA, "Viñas Torné et al. 2025, Systema's evaluation folder"),
    Preset(
        "perturbench",
        PERTURBENCH,
        "Wu et al. 2024, PerturBench's Evaluator",
        uses_predicted_control=True,
    ),
    Preset("unlasting", UNLASTING, "Unlasting 2025, test.py and test_util.py"),
    Preset("cmonge", CMONGE, "Conditional Monge gap, cmonge/metrics.py"),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
