"""``adata.shoal.tl.coherence(...)``: the same functions, reached from the object."""

from functools import partial
from importlib import import_module
from typing import Any

from anndata import AnnData, register_anndata_namespace


class _Bound:
    """A namespace (`pp`, `tl` or `pl`) whose functions have their first argument already."""

    def __init__(self, adata: AnnData, namespace: str) -> None:
        self._adata = adata
        self._module = import_module(f"shoal.{namespace}")

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._module, name), self._adata)

    def __dir__(self) -> list[str]:
        return list(self._module.__all__)


@register_anndata_namespace("shoal")
class ShoalAccessor:
    """The functions of shoal for one AnnData: ``adata.shoal.pp``, ``.tl`` and ``.pl``."""

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    @property
    def pp(self) -> _Bound:
        """Preprocessing and annotation."""
        return _Bound(self._adata, "pp")

    @property
    def tl(self) -> _Bound:
        """Statistics."""
        return _Bound(self._adata, "tl")

    @property
    def pl(self) -> _Bound:
        """Plots."""
        return _Bound(self._adata, "pl")
