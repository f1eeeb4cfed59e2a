"""Models that generate the cells of perturbations: baselines in numpy, networks in torch."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from .base._persistence import load
from .base._register import register
from .base._registry import available, entries, imported, require_networks

for _folder in iter_modules(__path__):  # each folder of a model enters its own into the registry
    import_module(f".{_folder.name}", __name__)

_BUILT_IN = {name: entry for entry in entries() for name in entry.exports}

__all__ = sorted(
    [*_BUILT_IN, "Baseline", "Moved", "PerturbationModel", "available", "load", "register"]
)


def __getattr__(name: str) -> Any:
    """Import a class at first use: baselines, and the package itself, do without torch."""
    if name in _BUILT_IN:
        return imported(_BUILT_IN[name], name)
    if name == "Baseline":
        return import_module(".baselines._baseline", __name__).Baseline
    if name == "Moved":
        return import_module(".post._postprocessing", __name__).Moved
    if name == "PerturbationModel":
        require_networks()
        return import_module(".base._model", __name__).PerturbationModel
    msg = f"module 'shoal.models' has no attribute {name!r}; it has {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
