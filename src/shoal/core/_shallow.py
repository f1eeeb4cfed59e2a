"""Work on a screen that leaves no trace in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


def shallow(adata: AnnData) -> AnnData:
    """Return an AnnData with the same matrices; what is written into it is not in the first one."""
    from anndata import AnnData

    aligned = {
        name: dict(getattr(adata, name)) for name in ("obsm", "varm", "obsp", "varp", "layers")
    }
    aligned["layers"].pop(None, None)  # newer versions of anndata list X there
    return AnnData(
        adata.X, obs=adata.obs.copy(), var=adata.var.copy(), uns=dict(adata.uns), **aligned
    )
