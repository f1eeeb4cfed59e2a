"""Vectors of human genes that come with the package, from what the genes are annotated with."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._logging import logger
from ._embed_names import OtherNames
from ._embed_source import Vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .._typing import Floats

FILE = "go.npz"  # written by benchmarks/gene_annotations.py
ORIGIN = "Gene Ontology (CC BY 4.0), packaged with shoal"
LEVELS = 180  # steps in the length of a vector


def from_annotations(
    keys: Sequence[str], *, n_comps: int, others: OtherNames | None = None
) -> Vectors:
    """Return the leading dimensions of the vectors of genes, by their symbols."""
    genes, steps, levels = _stored()
    k = min(n_comps, levels.shape[1])
    if k < n_comps:
        logger.info("the table of annotations has %d dimensions, not n_comps=%d", k, n_comps)
    matched = (OtherNames() if others is None else others).match(keys, genes)
    held = list(matched.called)
    rows = genes.get_indexer(list(matched.called.values()))
    values = unpacked(steps[rows], levels[rows, :k])
    absent = {
        key: "not among the annotated human genes" if why == "not in the source" else why
        for key, why in matched.absent.items()
    }
    zero = ~values.any(axis=1)
    absent |= dict.fromkeys(_of(held, zero), f"no annotation counts in its first {k} dimensions")
    index = pd.Index(_of(held, ~zero), dtype=object)
    table = pd.DataFrame(values[~zero], index=index)
    return Vectors(table, absent, genes, matched=matched, origin=ORIGIN)


def packed(vectors: Floats) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """Round vectors to 8 bits.

    Parameters
    ----------
    vectors
        (n, d) vectors, none of which is zero.

    Returns
    -------
    steps
        (n,) distance between two levels: the 180th part of the vector's length, or the 127th part
        of its largest entry if that is more.
    levels
        (n, d) whole numbers from -127 to 127.
    """
    length, largest = np.linalg.norm(vectors, axis=1), np.abs(vectors).max(axis=1)
    steps = np.maximum(length / LEVELS, largest / 127).astype(np.float16)
    levels = np.rint(vectors / steps[:, None].astype(np.float64)).clip(-127, 127)
    return steps, levels.astype(np.int8)


def unpacked(steps: NDArray[np.float16], levels: NDArray[np.int8]) -> Floats:
    """Return the vectors that `packed` rounded, (n, d) float64."""
    return steps[:, None].astype(np.float64) * levels


@cache
def _stored() -> tuple[pd.Index, NDArray[np.float16], NDArray[np.int8]]:
    """Return the symbols of genes, and their steps and levels."""
    path = files(__package__) / "gene_annotations" / FILE
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as held:
        genes = held["genes"].tobytes().decode().split("\n")
        return pd.Index(genes, dtype=object), held["steps"], held["levels"]


def _of(names: Sequence[str], chosen: NDArray[np.bool_]) -> list[str]:
    return [name for name, keep in zip(names, chosen, strict=True) if keep]
