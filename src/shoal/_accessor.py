"""``adata.shoal.tl.coherence(...)``: the same functions, reached from the object."""

from functools import partial
from importlib import import_module
from typing import Any

from anndata import AnnData, register_anndata_namespace


class _Bound:
    """One namespace (`pp`, `tl` or `pl`) whose functions get the AnnData as their first argument."""

    def __init__(self, adata: AnnData, namespace: str) -> None:
        self._adata = adata
        self._module = import_module(f"shoal.{namespace}")

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._module, name), self._adata)

    def __dir__(self) -> list[str]:
        return list(self._module.__all__)


@register_anndata_namespace("shoal")
class ShoalAccessor:
    """shoal's functions bound to this AnnData: ``adata.shoal.pp``, ``adata.shoal.tl``, ``adata.shoal.pl``."""

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
