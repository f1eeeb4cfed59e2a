"""The vectors of contexts that a model is given, and where they place a context for a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._keys import CONTEXT_EMBEDDINGS
from ..._logging import logger
from ..._validate import some
from ._embedding import numbers_of, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from ..._typing import Floats
    from ...core._population import Population

ROUNDING = 1e-6  # of the largest singular value
OWN = "sh.pp.embed_contexts(adata, source='controls') makes vectors of a screen's own control cells"


@dataclass(frozen=True)
class Placement:
    """Where vectors of contexts lie among those of training.

    A network learns how responses depend on the directions in which training contexts differ, and
    in no other direction. What a vector has outside of them is left out. Of n training contexts
    there are at most n - 1 such directions, and a linear function of them can be any n numbers.

    A context that lies farther from the centre than all training contexts is moved to the distance
    of the farthest.

    Attributes
    ----------
    centre
        (D,) mean vector of the training contexts.
    axes
        (D, k) orthonormal directions in which they differ, divided by one length, so that the mean
        square of a coordinate is 1 over training contexts.
    reach
        Largest distance of a training context from the centre.
    """

    centre: Floats
    axes: Floats
    reach: float

    @classmethod
    def of(cls, vectors: Floats) -> Placement:
        """Return the placement of (n, D) vectors of training contexts."""
        centre = vectors.mean(axis=0)
        _, sizes, axes = np.linalg.svd(vectors - centre, full_matrices=False)
        axes = axes[sizes > ROUNDING * max(float(sizes.max(initial=0)), 1e-12)].T
        places = (vectors - centre) @ axes
        unit = float(np.sqrt((places**2).mean())) if places.size else 1.0
        reach = float(np.linalg.norm(places, axis=1).max(initial=0)) / unit
        return cls(centre, axes / unit, reach)

    @property
    def n(self) -> int:
        """Number of directions."""
        return int(self.axes.shape[1])

    def __call__(self, vectors: Floats) -> Floats:
        """Return the (n, k) coordinates of (n, D) vectors."""
        places = (vectors - self.centre) @ self.axes
        size = np.linalg.norm(places, axis=1, keepdims=True)
        return places * np.minimum(1.0, self.reach / np.maximum(size, 1e-12))


@dataclass(frozen=True)
class ContextVectors:
    """Vectors of contexts by name, as a model was given them.

    Attributes
    ----------
    name
        Name in ``uns["context_embeddings"]``, or ``"table"``.
    contexts
        Contexts that have a vector, in the screen of training or not.
    vectors
        (n, D) float64 vectors.
    """

    name: str
    contexts: tuple[str, ...]
    vectors: Floats

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.contexts)}

    def without(self, contexts: Iterable[str]) -> list[str]:
        """Return those of some contexts that have no vector."""
        return [name for name in contexts if name and name not in self._position]

    def of(self, contexts: Sequence[str]) -> Floats:
        """Return the (n, D) vectors of contexts; NaN where there is none."""
        rows = np.vstack([self.vectors, np.full((1, self.vectors.shape[1]), np.nan)])
        return np.asarray(rows[[self._position.get(name, -1) for name in contexts]])

    def having(self, table: pd.DataFrame) -> ContextVectors:
        """Return the vectors with those of further contexts.

        Raises
        ------
        ValueError
            If they have another length, are not finite, or differ from those of known contexts.
        """
        values = numbers_of(table, "table", what="context embedding")
        if values.shape[1] != self.vectors.shape[1]:
            msg = (
                f"the vectors of contexts have {values.shape[1]} numbers, and the model was "
                f"trained on vectors of {self.vectors.shape[1]} ({self.name!r}): embed the new "
                "contexts as those of training were, sh.pp.embed_contexts(new, like=adata)"
            )
            raise ValueError(msg)
        names = list(map(str, table.index))
        known = [i for i, name in enumerate(names) if name in self._position]
        before = self.of([names[i] for i in known])
        other = [names[i] for i, own in zip(known, before, strict=True) if not near(own, values[i])]
        if other:
            msg = (
                f"the model knows other vectors of {some(other)}, so the table is not on the scale "
                f"of {self.name!r}: embed new contexts with sh.pp.embed_contexts(new, like=adata)"
            )
            raise ValueError(msg)
        new = [i for i, name in enumerate(names) if name not in self._position]
        return replace(
            self,
            contexts=(*self.contexts, *(names[i] for i in new)),
            vectors=np.vstack([self.vectors, values[new]]),
        )


def near(one: Floats, other: Floats) -> bool:
    """Return whether two vectors are equal but for rounding."""
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-5))


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
    name, table = table_of(
        cells.adata,
        embedding,
        slot=CONTEXT_EMBEDDINGS,
        argument="context_embedding",
        call="sh.pp.embed_contexts(adata, ...)",
        row="context",
    )
    values = numbers_of(table, name, what="context embedding")
    found = ContextVectors(name, tuple(map(str, table.index)), values)
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


def reason_without_vector(name: str) -> str:
    """Return why a context without a vector cannot be predicted, and what to do."""
    return (
        f"has no vector in the context embedding {name!r}: give it with model.add_contexts(table), "
        "as sh.pp.embed_contexts(new, like=adata) makes it"
    )


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
    """
    known = self.vocabulary.context_vectors
    if known is None:
        msg = (
            "this model was trained without vectors of contexts, so new ones mean nothing to it: "
            "train with context_embedding="
        )
        raise ValueError(msg)
    if not isinstance(vectors, pd.DataFrame):
        _, vectors = table_of(
            vectors,
            known.name,
            slot=CONTEXT_EMBEDDINGS,
            argument="vectors",
            call="sh.pp.embed_contexts(new, like=adata)",
            row="context",
        )
    self.vocabulary = replace(self.vocabulary, context_vectors=known.having(vectors))
