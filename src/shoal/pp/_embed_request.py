"""A request for vectors of perturbations, as the methods of pp.embed get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..core._screen import Labels, Screen
    from ._embed_source import Source


@dataclass(frozen=True)
class EmbeddingRequest:
    """What is to be embedded, and with what.

    Attributes
    ----------
    adata, screen, labels
        The screen, its design, and the perturbation of every cell.
    keys
        Names of the perturbations in the source, each once.
    source
        Where vectors come from, if not from the cells.
    n_comps
        Number of dimensions.
    walk
        Steps of a random walk, for networks of genes.
    strata
        Columns of ``obs`` within which cells are compared.
    layer
        Layer that is read. None for ``X``.
    """

    adata: AnnData
    screen: Screen
    labels: Labels
    keys: Sequence[str]
    source: Source | None
    n_comps: int
    walk: int | None
    strata: str | Sequence[str] | None
    layer: str | None
