"""The argument `context_embedding`: which vectors of contexts a call means, and later ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._keys import CONTEXT_EMBEDDINGS
from ..._logging import logger
from ..._validate import check_adata, some
from ._context_vectors import ContextVectors
from ._embedding import numbers_of, table_of
from ._placement import Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ...core._population import Population

OWN = "sh.pp.embed_contexts(adata, source='controls') makes vectors of a screen's own control cells"


def context_vectors_of(
    cells: Population, embedding: str | pd.DataFrame | None, trained: Sequence[str]
) -> ContextVectors | None:
    """Return the vectors of contexts that a call means; ``None`` for none.

    Parameters
    ----------
    cells
        Screen.
    embedding
        Name in ``uns["context_embeddings"]``, or a table with a row for each context.
    trained
        Contexts with perturbed cells of training.

    Raises
    ------
    KeyError
        If there is no such embedding, or a context of training has no vector in it.
    ValueError
        If the screen has no contexts, only one of them is trained on, or vectors are not finite.
    TypeError
        If it is neither a name nor a table.
    """
    if embedding is None:
        return None
    if cells.screen.context_key is None:
        msg = (
            "context_embedding gives vectors of contexts, and the screen has no contexts: name "
            "their column, sh.pp.annotate(adata, ..., context_key=...)"
        )
        raise ValueError(msg)
    found = context_table(cells.adata, embedding)
    name = found.name
    learned = np.unique(cells.context[(cells.train | cells.val) & (cells.context >= 0)])
    missing = found.without(cells.contexts[i] for i in learned)
    if missing:
        msg = (
            f"contexts of training or validation have no vector in the context embedding {name!r}: "
            f"{some(missing)}. Add them to its source, leave their cells out, or take the screen's "
            f"own: {OWN}"
        )
        raise KeyError(msg)
    if len(trained) < 2:
        msg = (
            f"only {some(trained)} has perturbed cells in training, and from one context nothing "
            "can be learned about how responses depend on vectors of contexts: leave out "
            "context_embedding="
        )
        raise ValueError(msg)
    later = found.without(name for name in cells.contexts if name not in trained)
    if later:
        logger.warning("contexts without a vector (%s) cannot be predicted: %s", name, some(later))
    if not Placement.of(found.of(trained)).n:
        msg = f"the training contexts have the same vector in {name!r}: it tells nothing apart"
        raise ValueError(msg)
    return found


def context_table(adata: AnnData, embedding: str | pd.DataFrame) -> ContextVectors:
    """Return all vectors of an embedding of contexts.

    Parameters
    ----------
    adata
        Screen.
    embedding
        Name in ``uns["context_embeddings"]``, or a table with a row for each context.

    Raises
    ------
    KeyError
        If there is no such embedding.
    ValueError
        If the vectors are no numbers, not finite, or there are two of a context.
    TypeError
        If it is neither a name nor a table.
    """
    name, table = table_of(
        adata,
        embedding,
        slot=CONTEXT_EMBEDDINGS,
        argument="context_embedding",
        call="sh.pp.embed_contexts(adata, ...)",
        row="context",
    )
    values = numbers_of(table, name, what="context embedding")
    contexts, columns = (tuple(map(str, axis)) for axis in (table.index, table.columns))
    return ContextVectors(name, contexts, values, columns)


def check_takes(model: Any, embedding: str | pd.DataFrame | None) -> None:
    """Raise ``TypeError`` if vectors of contexts are given to a network that reads none."""
    if embedding is not None and not model.takes_context_vectors:
        name = type(model).__name__
        msg = (
            f"the network of {name} does not read vectors of contexts: leave out "
            "context_embedding=. One that reads condition['context_vector'] says so with "
            "takes_context_vectors = True"
        )
        raise TypeError(msg)


def add_contexts(self: Any, vectors: pd.DataFrame | AnnData) -> None:
    """Give the model vectors of contexts that it was not trained with, such as new cell lines.

    They are saved with the model. The network does not change.

    Parameters
    ----------
    vectors
        A table with a row for each context, or an AnnData that holds such a table in
        ``uns["context_embeddings"]`` under the name that the model was trained with. The vectors
        are on the scale of training, as ``sh.pp.embed_contexts(new, like=adata)`` makes them.

    Raises
    ------
    ValueError
        If the model was trained without vectors of contexts, or the table has another length, other
        vectors of known contexts, or values that are not finite.
    KeyError
        If the AnnData holds no such table.
    TypeError
        If it is neither a table nor an AnnData.
    """
    known = self.vocabulary.context_vectors
    if known is None:
        msg = (
            "this model was trained without vectors of contexts, so new ones mean nothing to it: "
            "train with context_embedding="
        )
        raise ValueError(msg)
    if not isinstance(vectors, pd.DataFrame):
        check_adata(vectors, name="vectors, if they are no table,")
        _, vectors = table_of(
            vectors,
            known.name,
            slot=CONTEXT_EMBEDDINGS,
            argument="vectors",
            call="sh.pp.embed_contexts(new, like=adata)",
            row="context",
        )
    self.vocabulary = replace(self.vocabulary, context_vectors=known.having(vectors))
