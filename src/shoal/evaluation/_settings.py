"""How a prediction is evaluated: the arguments of an evaluation, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._validate import one_of, whole
from ..metrics._external_suites import EXTERNAL_SUITES
from ..metrics._external_vcc2026 import SUITE as VCC2026
from ._reference import AUTO, check_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ..metrics._external_suites import ExternalSuite

CALIBRATED = "calibrated"  # the suite of this package
FEWEST = {True: 4, False: 2}  # cells of a condition: populations have 2, halves of it too


@dataclass(frozen=True)
class Settings:
    """How a prediction is evaluated; :func:`shoal.tl.evaluate` describes its arguments."""

    layer: str | None = None
    metrics: Sequence[str] | None = None
    suite: str = CALIBRATED
    baselines: str | Sequence[str] | None = "auto"
    embedding: str | pd.DataFrame | None = None
    context_embedding: str | pd.DataFrame | None = None
    split: str | None = "test"
    n_comps: int = 50
    min_cells: int = 20
    n_draws: int = 5
    reference: str = AUTO

    def __post_init__(self) -> None:
        one_of(self.suite, (CALIBRATED, *EXTERNAL_SUITES, VCC2026), name="suite")
        for name, least in {"n_comps": 1, "min_cells": 0, "n_draws": 1}.items():
            object.__setattr__(self, name, whole(getattr(self, name), name=name, least=least))
        check_reference(self.reference)
        fewest = FEWEST[self.suite == CALIBRATED]
        if self.min_cells < fewest:
            msg = (
                f"min_cells={self.min_cells}: populations have at least 2 cells, and are halved if "
                f"calibrated, so {fewest} is the least"
            )
            raise ValueError(msg)

    @property
    def external(self) -> ExternalSuite | None:
        """The suite of another package, ``None`` for the calibrated one."""
        return EXTERNAL_SUITES.get(self.suite)

    @property
    def takes_counts(self) -> bool:
        """Whether the suite takes counts."""
        return self.external is not None and self.external.takes_counts
