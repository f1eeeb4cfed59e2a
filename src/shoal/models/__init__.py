"""Models that generate the cells of perturbations: baselines in numpy, networks in torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from ._baseline import Baseline
from ._baselines_contexts import OtherContexts
from ._baselines_distribution import QuantileShift
from ._baselines_kernel import KernelRidge
from ._baselines_linear import LatentLinear
from ._baselines_means import ContextMean, ControlCopy, PerturbedMean
from ._baselines_neighbours import Nearest
from ._baselines_shift import Additive, MatchingMean, MeanShift, OwnShift
from ._registry import available

if TYPE_CHECKING:
    from ._base import PerturbationModel
    from ._flow import Flow
    from ._flow_presets import FlowConfig
    from ._monge import ConditionalMonge
    from ._monge_presets import ConditionalMongeConfig
    from ._perturbdiff import PerturbDiff
    from ._perturbdiff_presets import PerturbDiffConfig

_NETWORKS = {
    "ConditionalMonge": "_monge",
    "ConditionalMongeConfig": "_monge_presets",
    "Flow": "_flow",
    "FlowConfig": "_flow_presets",
    "PerturbDiff": "_perturbdiff",
    "PerturbDiffConfig": "_perturbdiff_presets",
    "PerturbationModel": "_base",
}

__all__ = [
    "Additive",
    "Baseline",
    "ConditionalMonge",
    "ConditionalMongeConfig",
    "ContextMean",
    "ControlCopy",
    "Flow",
    "FlowConfig",
    "KernelRidge",
    "LatentLinear",
    "MatchingMean",
    "MeanShift",
    "Nearest",
    "OtherContexts",
    "OwnShift",
    "PerturbDiff",
    "PerturbDiffConfig",
    "PerturbationModel",
    "PerturbedMean",
    "QuantileShift",
    "available",
]


def __getattr__(name: str) -> object:
    """Import a network at first use: baselines, and the package itself, do without torch."""
    if name in _NETWORKS:
        from ._registry import require_networks

        require_networks()
        return getattr(import_module(f".{_NETWORKS[name]}", __name__), name)
    msg = f"module 'shoal.models' has no attribute {name!r}; it has {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
