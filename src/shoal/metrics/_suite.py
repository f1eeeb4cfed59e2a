"""The suite of metrics, by name: those of every evaluation, and those on request."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ._registry import FAMILIES
from ._suite_cells import CELLS
from ._suite_means import MEANS
from ._suite_retrieval import RETRIEVAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._registry import Metric

SUITE: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for family in FAMILIES
        for metric in (*MEANS, *CELLS, *RETRIEVAL)
        if metric.family == family
    }
)
