"""What a call of pp.embed asks a method for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._embed_names import OtherNames

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
        Screen, the meaning of its columns, and the perturbation of every cell.
    keys
        What the perturbations are called in the source, each once.
    source
        Where vectors come from; ``None`` for methods that read the screen alone.
    n_comps
        Dimensions asked for, or the default of the method.
    walk
        Steps of the random walks on a network; ``None`` for its eigenvectors.
    strata
        Columns of ``obs`` within which cells are compared.
    layer
        Layer with log-normalised values; ``X`` if ``None``.
    graph
        Graph along which vectors are carried: its name in the screen, or a source of edges.
    smoothing
        How far known vectors follow their neighbours; ``None`` for not at all.
    slot
        Slot of the vectors, of a source that is an AnnData or an h5ad file.
    others
        Other names of the genes of the screen.
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
    graph: Source | None = None
    smoothing: float | None = None
    slot: str | None = None
    others: OtherNames = field(default_factory=OtherNames)
