"""Views of AnnData: make one an object of its own before writing into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._logging import logger

if TYPE_CHECKING:
    from anndata import AnnData


def check_writable(adata: AnnData) -> None:
    """Raise ``ValueError`` for a view of a file on disk, which nothing can be written into."""
    if adata.is_view and adata.isbacked:
        msg = (
            "this is a view of an AnnData backed by a file, which cannot be written into: load "
            "it with .to_memory()"
        )
        raise ValueError(msg)


def materialize_view(adata: AnnData) -> None:
    """Turn a view into an object of its own, in place, as scanpy does; leave all else as it is."""
    check_writable(adata)
    if adata.is_view:
        logger.info(
            "the AnnData is a view; it becomes a copy, because something is written into it"
        )
        adata._init_as_actual(adata.copy())
