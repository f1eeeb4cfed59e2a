"""The methods of pp.embed: what each reads of the screen, and which arguments it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._embed_annotations import from_annotations
from ._embed_cells import by_coexpression, by_effects, by_mds
from ._embed_chemistry import descriptors, fingerprints
from ._embed_joined import by_joining
from ._embed_network import from_network
from ._embed_propagated import by_propagation
from ._embed_source import Vectors, from_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._embed_request import EmbeddingRequest


@dataclass(frozen=True)
class Method:
    """One way to vectors.

    Attributes
    ----------
    embed
        The function.
    takes
        Optional arguments of pp.embed that mean something to it.
    n_comps
        Default number of dimensions; 0 where they follow from the input.
    needs_source
        Whether there is nothing to embed without `source`.
    """

    embed: Callable[[EmbeddingRequest], Vectors]
    takes: frozenset[str] = field(default_factory=frozenset)
    n_comps: int = 0
    needs_source: bool = False


def _one_hot(request: EmbeddingRequest) -> Vectors:
    n = len(request.keys)
    return Vectors(
        pd.DataFrame(np.eye(n, dtype=np.float32), index=pd.Index(request.keys, dtype=object))
    )


def _table(request: EmbeddingRequest) -> Vectors:
    return from_table(request.source, request.keys, others=request.others, slot=request.slot)


def _annotations(request: EmbeddingRequest) -> Vectors:
    return from_annotations(request.keys, n_comps=request.n_comps, others=request.others)


def _network(request: EmbeddingRequest) -> Vectors:
    return from_network(
        request.source,
        request.keys,
        n_comps=request.n_comps,
        walk=request.walk,
        others=request.others,
    )


def _fingerprint(request: EmbeddingRequest) -> Vectors:
    return fingerprints(request.source, request.keys, n_bits=request.n_comps)


def _descriptors(request: EmbeddingRequest) -> Vectors:
    return descriptors(request.source, request.keys)


METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {
        "one_hot": Method(_one_hot),
        "table": Method(_table, frozenset({"source", "targets", "slot"}), needs_source=True),
        "annotations": Method(_annotations, frozenset({"targets", "n_comps"}), 128),
        "network": Method(
            _network, frozenset({"source", "targets", "n_comps", "walk"}), 64, needs_source=True
        ),
        "coexpression": Method(
            by_coexpression, frozenset({"targets", "n_comps", "strata", "layer"}), 32
        ),
        "effects": Method(by_effects, frozenset({"n_comps", "strata", "layer"}), 16),
        "mds": Method(by_mds, frozenset({"n_comps", "strata"}), 10),
        "propagated": Method(
            by_propagation,
            frozenset({"source", "targets", "graph", "smoothing", "slot"}),
            needs_source=True,
        ),
        "joined": Method(by_joining, frozenset({"source"}), needs_source=True),
        "descriptors": Method(_descriptors, frozenset({"source", "targets"}), needs_source=True),
        "fingerprint": Method(
            _fingerprint, frozenset({"source", "targets", "n_comps"}), 1024, needs_source=True
        ),
    }
)

CHEMISTRY = ("fingerprint", "descriptors")  # which read SMILES


def check_arguments(method: str, given: dict[str, Any]) -> None:
    """Raise ``ValueError`` for an argument that is not of the method, or a missing source."""
    spec = METHODS[method]
    idle = [name for name, value in given.items() if value is not None and name not in spec.takes]
    if idle:
        msg = (
            f"method={method!r} has no use for {idle[0]}=; "
            f"it takes {', '.join(sorted(spec.takes)) or 'none of these'}"
        )
        raise ValueError(msg)
    if spec.needs_source and given["source"] is None:
        smiles = "SMILES by name (mapping, Series or file), or targets= that gives them"
        what = {
            "table": "vectors by name (DataFrame, mapping, AnnData, or a csv, tsv, parquet, npz, "
            "pt, pickle, safetensors or h5ad file)",
            "propagated": "vectors by name, or the name of an embedding of the screen",
            "network": "an edge list (DataFrame or file), gene sets, or 'collectri'",
            "joined": "a list of embeddings of the screen, or tables or files by name",
            "fingerprint": smiles,
            "descriptors": smiles,
        }[method]
        msg = f"method={method!r} needs source=: {what}"
        raise ValueError(msg)
    if "graph" in spec.takes and given["graph"] is None:
        msg = (
            f"method={method!r} needs graph=: the name of a graph that sh.pp.link(adata, ...) "
            "wrote, an edge list (DataFrame or file), gene sets, or 'collectri'"
        )
        raise ValueError(msg)
