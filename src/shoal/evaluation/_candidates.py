"""What may be measured next: conditions that nobody has measured, and how far they lie apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from .._logging import logger
from .._validate import key_in, listed, some
from ..models.base._requests import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._typing import Bools, Floats, Ints
    from ..core._population import Population
    from ..core._screen import Screen

PERTURBATION, IN_CONTEXT = "perturbation", "perturbation_context"
BY = (PERTURBATION, IN_CONTEXT)  # what is measured at once: in all contexts, or in one
MOST = 5000  # candidates whose distances from each other are looked at
Condition = tuple[str, str]  # perturbation, and context; "" for all contexts


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors of single perturbations.

    Attributes
    ----------
    table
        (V, E) vectors, the index of which has the names.
    screen
        Says which parts a name has.
    """

    table: pd.DataFrame
    screen: Screen

    def lacking(self, name: str) -> list[str]:
        """Return the parts of a perturbation that have no vector."""
        return [part for part in self.screen.parts(name) if part not in self.table.index]

    def of(self, names: Iterable[str]) -> Floats:
        """Return the (n, E) vectors of perturbations: of a combination, the mean of its parts."""
        position = {str(name): i for i, name in enumerate(self.table.index)}
        values = self.table.to_numpy(dtype=np.float64)
        several = [[position[p] for p in self.screen.parts(name)] for name in names]
        return np.array([values[own].mean(axis=0) for own in several]).reshape(-1, values.shape[1])


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates and measured conditions.

    Attributes
    ----------
    candidates, measured
        m and S conditions.
    vectors
        Vectors of the perturbations, where there are any.
    skipped
        Candidates that are left out, and why.
    """

    candidates: tuple[Condition, ...]
    measured: tuple[Condition, ...]
    vectors: Vectors | None
    skipped: dict[str, str]

    def ordered(self, order: Ints) -> Pool:
        """Return the candidates in another order."""
        return replace(self, candidates=tuple(self.candidates[i] for i in order))

    @cached_property
    def distances(self) -> tuple[Floats, Floats, Floats]:
        """Distances between candidates, to measured ones, and between these.

        The squared distance of two conditions is that of their vectors, in units of its mean, and 1
        more in another context. Without vectors all perturbations are equally far apart.
        """
        both = [*self.candidates, *self.measured]
        names = sorted({name for name, _ in both})
        if self.vectors is None:
            square = 1.0 - np.eye(len(names))
        else:
            vectors = self.vectors.of(names)
            square = cdist(vectors, vectors, "sqeuclidean")
            apart = square[np.triu_indices(len(square), 1)]
            square /= float(apart.mean()) if apart.any() else 1.0
        at = np.searchsorted(names, [name for name, _ in both])
        where = np.unique([context for _, context in both], return_inverse=True)[1]
        found = np.sqrt(square[np.ix_(at, at)] + (where[:, None] != where))
        m = len(self.candidates)
        return found[:m, :m], found[:m, m:], found[m:, m:]


def pool_of(
    cells: Population,
    given: Any,
    *,
    measured: Bools,
    by: str,
    vectors: pd.DataFrame | None,
) -> Pool:
    """Return what may be measured next.

    Parameters
    ----------
    cells
        The screen.
    given
        Names of perturbations, or a table with the columns ``perturbation`` and, by context,
        ``context``. If ``None``, everything that is not measured: perturbations with a vector, and
        by context also those of the screen.
    measured
        (n_obs,) cells of what is measured.
    by
        What is measured at once.
    vectors
        Vectors of single perturbations, if there are any.

    Raises
    ------
    KeyError
        If a table lacks a column, a context is not known, or no candidate has a vector.
    TypeError
        If `given` is something else.
    ValueError
        If there is no candidate, or there are more than 5,000.
    """
    screen = cells.screen
    known = None
    if vectors is not None:
        table = vectors.set_axis(vectors.index.astype(str))
        screen = screen.having(screen.names.knowing(table.index))
        known = Vectors(table, screen)
    having = set(np.unique(cells.controls.context).tolist())
    contexts = [name for i, name in enumerate(cells.contexts) if i in having]
    if by == PERTURBATION:
        contexts = [""]
    done = sorted(_conditions(cells, np.flatnonzero(measured), by=by))
    if given is None:
        names = sorted({name for name, _ in done} if by == IN_CONTEXT else ())
        names += [] if known is None else [str(name) for name in known.table.index]
        asked = _crossed(dict.fromkeys(names), contexts)
    else:
        asked = _asked(given, screen, contexts, by=by)
    new = [one for one in dict.fromkeys(asked) if one not in set(done)]
    if given is not None and len(new) < len(set(asked)):
        there = sorted({name for name, _ in set(asked) - set(new)})
        logger.warning("measured already, and no candidates: %s", some(there))
    skipped = {} if known is None else _without_vector(new, known)
    left = [one for one in new if one[0] not in skipped]
    if skipped:
        said = in_words(skipped)
        if not left:
            msg = f"no candidate has a vector: {said}"
            raise KeyError(msg)
        logger.warning("left out, and no candidates: %s", said)
    if not left:
        raise ValueError(_nothing(given, by, vectors=known is not None))
    if len(left) > MOST:
        msg = f"there are {len(left)} candidates; name at most {MOST} of them, candidates=[...]"
        raise ValueError(msg)
    usable = [c for c in done if known is None or not known.lacking(c[0])]
    return Pool(tuple(sorted(left)), tuple(usable), known, skipped)


def how_to_embed(conditions: Iterable[Condition]) -> str:
    """Return the calls that give candidates vectors, and models that know them."""
    names = list(dict.fromkeys(name for name, _ in conditions))
    listed_names = ", ".join(map(repr, names[:3])) + ", ..." * (len(names) > 3)
    return (
        f"embed them, sh.pp.embed(adata, method='annotations', names=[{listed_names}]) or another "
        "method that knows them, and pass the vectors: sh.tl.propose(adata, "
        "embedding='annotations', ...), or a model that was trained with them, sh.tl.fit(adata, "
        "'auto', embedding='annotations')"
    )


def _conditions(cells: Population, rows: Ints, *, by: str) -> set[Condition]:
    """Return the conditions that some perturbed cells are of."""
    contexts = np.array([*cells.contexts, ""], dtype=object)
    pairs = np.unique(np.stack([cells.labels.code[rows], cells.context[rows]]), axis=1).T
    return {(cells.names[p], contexts[c] if by == IN_CONTEXT else "") for p, c in pairs}


def _asked(given: Any, screen: Screen, contexts: list[str], *, by: str) -> list[Condition]:
    """Return the conditions that a user names."""
    if not isinstance(given, pd.DataFrame):
        names = [screen.canonical(name) for name in listed(given, name="candidates")]
        return _refusing_control(_crossed(names, contexts), screen)
    key_in("perturbation", list(given.columns), where="the columns of candidates")
    names = [screen.canonical(str(name)) for name in given["perturbation"]]
    if by == PERTURBATION:
        return _refusing_control([(name, "") for name in names], screen)
    key_in("context", list(given.columns), where="the columns of candidates")
    for context in given["context"].astype(str).unique():
        key_in(context, contexts, where="the contexts with control cells")
    pairs = list(zip(names, given["context"].astype(str), strict=True))
    return _refusing_control(pairs, screen)


def _refusing_control(asked: list[Condition], screen: Screen) -> list[Condition]:
    if screen.control[0] in {name for name, _ in asked}:
        msg = f"candidates names the control, {screen.control[0]!r}; name perturbations"
        raise ValueError(msg)
    return asked


def _crossed(names: Iterable[str], contexts: list[str]) -> list[Condition]:
    return [(name, context) for name in names for context in contexts]


def _without_vector(conditions: list[Condition], known: Vectors) -> dict[str, str]:
    """Return the perturbations without a vector, and why they are no candidates."""
    why = "has no vector: add it with sh.pp.embed(adata, ..., names=[...])"
    lacking = {name: known.lacking(name) for name, _ in conditions}
    return {
        name: why if own == [name] else f"holds {', '.join(map(repr, own))}, which {why}"
        for name, own in lacking.items()
        if own
    }


def _nothing(given: Any, by: str, *, vectors: bool) -> str:
    """Return what to do where there is no candidate."""
    if given is not None:
        n = len(given if isinstance(given, pd.DataFrame) else listed(given, name="candidates"))
        if not n:
            return "candidates names no perturbation; name some, or leave it out"
        return f"every one of the {n} candidates is measured already; name others"
    if by == IN_CONTEXT:
        return "every perturbation is measured in every context; name others with candidates=[...]"
    why = "every perturbation with a vector is measured" if vectors else "no vectors name any"
    return (
        f"there are no candidates: {why}. Embed others, sh.pp.embed(adata, method='annotations', "
        "names=[...]), and pass embedding='annotations', or name them with candidates=[...]"
    )
