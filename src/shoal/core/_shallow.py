"""Work on a screen that leaves no trace in it, and what is said where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


def reason(err: BaseException) -> str:
    """Return an error in one line."""
    text = str(err.args[0]) if isinstance(err, KeyError) and err.args else str(err)
    return f"{type(err).__name__}: {' '.join(text.split())}"


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
