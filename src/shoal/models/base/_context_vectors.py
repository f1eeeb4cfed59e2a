"""The vectors of contexts that a model was given, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..._validate import some
from ._embedding import numbers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from ..._typing import Floats


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
    columns
        (D,) names of their numbers; empty in models of earlier versions.
    """

    name: str
    contexts: tuple[str, ...]
    vectors: Floats
    columns: tuple[str, ...] = ()

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
            If they have another length, numbers of other names, are not finite, or differ from
            those of known contexts.
        """
        values = numbers_of(table, "table", what="context embedding")
        if values.shape[1] != self.vectors.shape[1]:
            msg = (
                f"the vectors of contexts have {values.shape[1]} numbers, and the model was "
                f"trained on vectors of {self.vectors.shape[1]} ({self.name!r}): embed the new "
                "contexts as those of training were, sh.pp.embed_contexts(new, like=adata)"
            )
            raise ValueError(msg)
        columns = list(map(str, table.columns))
        if self.columns and sorted(columns) != sorted(self.columns):
            msg = (
                f"the vectors of contexts have the columns {some(columns, 6)}, and those of "
                f"training ({self.name!r}) have {some(self.columns, 6)}: name them alike"
            )
            raise ValueError(msg)
        if self.columns and len(set(columns)) == len(columns):
            values = values[:, [columns.index(column) for column in self.columns]]
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
