"""The screen of a benchmark: read, annotated, divided, prepared and embedded."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import ds, pp

if TYPE_CHECKING:
    from anndata import AnnData

    from ._spec import Data, Split


def prepare(data: Data, split: Split) -> AnnData:
    """Return a data set as models see it.

    It is read, annotated, divided into training and test, prepared, and its perturbations are
    embedded.
    """
    kind, origin = data.origin
    if kind == "path":
        from anndata import read_h5ad

        adata = read_h5ad(origin)
    elif kind == "load":
        adata = ds.load(origin)
    else:
        adata = (_function(origin) if isinstance(origin, str) else origin)()
    if data.annotate:
        pp.annotate(adata, overwrite=True, **data.annotate)
    pp.split(adata, overwrite=True, **split.options)  # what is replaced is in no file
    if data.prepare is not None:
        pp.prepare(adata, overwrite=True, **data.prepare)
    for options in data.embed:
        pp.embed(adata, overwrite=True, **options)
    return adata


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)
