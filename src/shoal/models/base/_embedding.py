"""The vectors of perturbations that a call means: those of an embedding, or one-hot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from ..._keys import EMBEDDINGS, EMBEDDINGS_INFO
from ..._validate import key_in, some
from ...core._joined_columns import sources_of

if TYPE_CHECKING:
    from anndata import AnnData

    from ..._typing import Floats, Matrix

ONE_HOT = "one-hot"
LARGEST = 1e18  # of a number whose square fits into 32 bits


def one_hot(n: int) -> sparse.csr_matrix:
    """Return (n, n) one-hot vectors, which take as much memory as n numbers."""
    return sparse.identity(n, dtype=np.float32, format="csr")


def embedding_of(
    adata: AnnData, embedding: str | pd.DataFrame | None, singles: list[str]
) -> tuple[str, tuple[str, ...], Matrix, bool, dict[str, int]]:
    """Return the vectors that a call means.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Name of an embedding of the screen, or a table; one-hot vectors if ``None``.
    singles
        Single perturbations of training.

    Returns
    -------
    name
        Name of the embedding.
    perturbations
        Single perturbations that have a vector.
    vectors
        Their vectors, (V, E) float32.
    transductive
        Whether the vectors have seen held-out cells.
    sources
        Number of dimensions of each source of joined vectors; empty where there is one source.

    Raises
    ------
    KeyError
        If there is no such embedding, or a perturbation of training has no vector in it.
    ValueError
        If the vectors hold NaN or infinite values, or a name twice.
    """
    if embedding is None:
        return ONE_HOT, tuple(singles), one_hot(len(singles)), False, {}
    name, table = vectors_of(adata, embedding)
    stored = adata.uns.get(EMBEDDINGS, {})
    transductive = _is_transductive(
        adata, [key for key, own in stored.items() if table.equals(own)]
    )
    table = table.set_axis(table.index.astype(str))
    missing = [s for s in singles if s not in table.index]
    if missing:
        msg = (
            f"perturbations of training have no vector in the embedding {name!r}: "
            f"{', '.join(missing[:12])}"
            f"{' and others' if len(missing) > 12 else ''}; embed them too, or drop their cells"
        )
        raise KeyError(msg)
    vectors = table.to_numpy(dtype=np.float32)
    return name, tuple(table.index), vectors, transductive, sources_of(table.columns)


def vectors_of(adata: AnnData, embedding: str | pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the name and the table of an embedding of perturbations.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Name of an embedding of the screen, or a table.

    Raises
    ------
    KeyError
        If there is no such embedding.
    TypeError
        If it is neither a name nor a table.
    ValueError
        If the vectors are no numbers, hold NaN or infinite values, or a name twice.
    """
    if isinstance(embedding, list | tuple):
        msg = (
            "embedding must be one name or table, not several: join them first, "
            f"sh.pp.embed(adata, method='joined', source={list(embedding)!r}, key_added='both'), "
            "and pass embedding='both'"
        )
        raise TypeError(msg)
    name, table = table_of(
        adata,
        embedding,
        slot=EMBEDDINGS,
        argument="embedding",
        call="sh.pp.embed(adata, ...)",
        row="perturbation",
    )
    numbers_of(table, name, what="embedding")
    return name, table


def table_of(
    adata: AnnData,
    embedding: str | pd.DataFrame,
    *,
    slot: str,
    argument: str,
    call: str,
    row: str,
) -> tuple[str, pd.DataFrame]:
    """Return the name and the table of vectors that an argument means.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Name in a slot of ``uns``, or a table.
    slot
        The slot.
    argument, call, row
        Argument, function that writes the slot, and what has a row in it, for messages.

    Raises
    ------
    KeyError
        If there is no such name.
    TypeError
        If it is neither a name nor a table.
    """
    if isinstance(embedding, pd.DataFrame):
        return "table", embedding
    if not isinstance(embedding, str):
        msg = (
            f"{argument} must be the name of an embedding that {call} wrote, or a DataFrame with a "
            f"row for each {row}, not {type(embedding).__name__}"
        )
        raise TypeError(msg)
    stored = adata.uns.get(slot, {})
    key_in(embedding, list(stored), where=f"adata.uns[{slot!r}]", hint=f"{call} writes them.")
    return embedding, stored[embedding]


def numbers_of(table: pd.DataFrame, name: str, *, what: str) -> Floats:
    """Return the (n, D) float64 vectors of a table.

    Raises
    ------
    ValueError
        If they are no numbers, hold NaN or infinite values, or a name twice.
    """
    if not table.shape[1]:
        msg = f"the {what} {name!r} has no columns, and so no vectors"
        raise ValueError(msg)
    try:
        values = table.to_numpy()
        values = values if values.dtype.kind == "c" else values.astype(np.float64)
    except (TypeError, ValueError):
        values = np.empty(0, dtype=complex)
    if values.dtype.kind == "c":
        msg = f"the {what} {name!r} holds values that are no numbers; give numbers alone"
        raise ValueError(msg) from None
    names = table.index.astype(str)
    if names.has_duplicates:
        msg = f"the {what} {name!r} holds a name twice: {some(list(names[names.duplicated()]), 6)}"
        raise ValueError(msg)
    wrong = ~(np.abs(values) <= LARGEST).all(axis=1)
    if wrong.any():
        msg = (
            f"the {what} {name!r} holds values that are not finite, or above {LARGEST:.0e}, in "
            f"{int(wrong.sum())} of {len(names)} rows: {some(list(names[wrong]), 6)}; fill them, "
            "or leave these rows out"
        )
        raise ValueError(msg)
    return values


def _is_transductive(adata: AnnData, names: list[str]) -> bool:
    """Whether an embedding is recorded as one that has seen held-out cells."""
    record = adata.uns.get(EMBEDDINGS_INFO, {}).get("table", pd.DataFrame())
    return "transductive" in record and bool(
        record["transductive"].reindex(names, fill_value=False).any()
    )
