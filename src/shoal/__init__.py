"""Measure, predict and judge the responses of single-cell perturbation screens, on one AnnData."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from . import _accessor  # registers `adata.shoal`
from ._settings import settings

if TYPE_CHECKING:
    from . import benchmark, ds, io, metrics, models, pl, pp, tl

__all__ = ["benchmark", "ds", "io", "metrics", "models", "pl", "pp", "settings", "tl"]
__version__ = version("shoal")

_NAMESPACES = frozenset({"benchmark", "ds", "io", "metrics", "models", "pl", "pp", "tl"})


def __getattr__(name: str) -> object:
    """Import a namespace at first use; ``import shoal`` stays as light as ``import anndata``."""
    if name in _NAMESPACES:
        return import_module(f".{name}", __name__)
    known = ", ".join(sorted(_NAMESPACES))
    msg = f"module 'shoal' has no attribute {name!r}; its namespaces are {known}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
