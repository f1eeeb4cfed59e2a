"""Models that generate the cells of perturbations: baselines in numpy, networks in torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from .base._registry import available
from .baselines._baseline import Baseline
from .baselines._contexts import OtherContexts
from .baselines._distribution import QuantileShift
from .baselines._kernel import KernelRidge
from .baselines._linear import LatentLinear
from .baselines._mean_shift import MeanShift
from .baselines._means import ContextMean, ControlCopy, PerturbedMean
from .baselines._neighbours import Nearest
from .baselines._own_shift import OwnShift
from .baselines._parts import Additive, MatchingMean

if TYPE_CHECKING:
    from .base._model import PerturbationModel
    from .flow._config import FlowConfig
    from .flow._model import Flow
    from .monge._config import ConditionalMongeConfig
    from .monge._model import ConditionalMonge
    from .perturbdiff._config import PerturbDiffConfig
    from .perturbdiff._model import PerturbDiff

_NETWORKS = {
    "ConditionalMonge": "monge._model",
    "ConditionalMongeConfig": "monge._config",
    "Flow": "flow._model",
    "FlowConfig": "flow._config",
    "PerturbDiff": "perturbdiff._model",
    "PerturbDiffConfig": "perturbdiff._config",
    "PerturbationModel": "base._model",
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
        from .base._registry import require_networks

        require_networks()
        return getattr(import_module(f".{_NETWORKS[name]}", __name__), name)
    msg = f"module 'shoal.models' has no attribute {name!r}; it has {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
