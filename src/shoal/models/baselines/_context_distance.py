"""Responses of contexts with near controls: that of the nearest, or weighted by the distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._validate import flag
from ..base._context_embedding import add_contexts
from ..base._requests import require_vectors
from ._context_agreement import normalised
from ._context_places import Places
from ._context_shift import ContextShift

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ._context_agreement import Agreement

# Widths of the kernel to choose from, in units of the median distance of contexts with responses.
WIDTHS = (*(2.0 ** np.arange(-5, 5)).tolist(), np.inf)

ROUNDING = 1e-9  # of squared errors, in units of the squares of the responses


class ByDistance(ContextShift):
    """Responses of contexts that count by their distance, of control cells or of given vectors.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether responses are shrunk by their noise, towards the mean response.
    context_embedding
        Vectors of contexts, whose distances are taken; those of mean control cells if ``None``.
    """

    def __init__(
        self,
        adata: AnnData | Population,
        *,
        shrink: bool = True,
        context_embedding: str | pd.DataFrame | None = None,
    ):
        flag(shrink, name="shrink")
        self._start(adata, shrink=bool(shrink), context_embedding=context_embedding)

    add_contexts = add_contexts  # in a file of its own

    def _places_of(self, cells: Population) -> Places:
        known = self.vocabulary.context_vectors
        if known is None:
            return super()._places_of(cells)
        vectors = known.of(self.vocabulary.contexts)
        there = np.isfinite(vectors).all(axis=1)
        return Places(np.where(there[:, None], vectors, 0.0), np.where(there, 0.0, np.nan))

    def _distances(self, context: int, cells: Population, known: int) -> Floats:
        given = self.vocabulary.context_vectors
        if given is None or context < 0:
            return super()._distances(context, cells, known)
        name = cells.contexts[context]
        require_vectors(self.vocabulary, [name])
        return self.places.squared_distances(given.of([name])[0], 0.0)


class NearestContext(ByDistance):
    """Control cells plus the perturbation's response in the context with the nearest controls.

    The distance of two contexts is that of their mean control cells, squared and without what noise
    adds to it.

    The response is

    - that of the wanted context, where the perturbation was measured there;
    - else that of the nearest of the contexts in which it was measured;
    - over all contexts, where nothing is known of the wanted one: it is missing, or has fewer than
      two control cells;
    - for a perturbation (single or combination) that was not measured as such, the mean response.

    A context that training never saw is placed by its control cells in the screen that is
    predicted. A screen without contexts is refused.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether responses are shrunk by their noise, towards the mean response.
    context_embedding
        Vectors of contexts (a name that :func:`shoal.pp.embed_contexts` wrote, or a table), whose
        distances are then taken instead of those of mean control cells.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import NearestContext
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=60, contexts=3, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> model = NearestContext(adata)
    >>> model.train()
    >>> model.predict("P1", context="context1", n_cells=20).shape
    (20, 60)
    """

    def _counts(self, n: Ints, distance: Floats) -> Floats:
        return normalised(n * (_beyond(n, distance) <= 0))


class ContextWeighted(ByDistance):
    r"""Control cells plus the mean of the perturbation's responses, near contexts counting more.

    The response in a training context s counts as

    .. math:: n_s \exp(-d_s / h),

    with its number of cells n and the distance d of its controls from those of the wanted context.
    It is the distance of `NearestContext`. The width h is the one by which training contexts are
    best predicted from one another: each is left out in turn, and the squared errors of all its
    responses are added up. A width without end gives `OwnShift`. It is also taken where fewer than
    three contexts have a response, so that nothing can be chosen.

    - Where the perturbation was measured in the wanted context, its response there is taken.
    - Where nothing is known of the wanted context, distances do not count.
    - A perturbation (single or combination) that was not measured as such gets the mean response.

    A context that training never saw is placed by its control cells in the screen that is
    predicted. A screen without contexts is refused.

    Parameters
    ----------
    adata
        Screen.
    shrink
        Whether responses are shrunk by their noise, towards the mean response.
    context_embedding
        Vectors of contexts (a name that :func:`shoal.pp.embed_contexts` wrote, or a table), whose
        distances are then taken instead of those of mean control cells.

    Examples
    --------
    >>> import shoal as sh
    >>> from shoal.models import ContextWeighted
    >>> adata = sh.ds.simulate(n_perturbations=4, n_genes=60, contexts=3, rng=0)
    >>> sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    >>> sh.pp.prepare(adata, normalize="log1p")
    >>> model = ContextWeighted(adata)
    >>> model.train()
    >>> model.predict("P1", context="context1", n_cells=20).shape
    (20, 60)
    """

    @property
    def width(self) -> float:
        """Width h of the kernel, in units of the squared distance; infinite if all count alike."""
        return float(self.arrays["width"])

    def _learn(self, agreement: Agreement, places: Places) -> dict[str, NDArray[Any]]:
        distance, has = places.between(), np.flatnonzero((agreement.n > 0).any(axis=0))
        apart = distance[np.ix_(has, has)][np.triu_indices(len(has), 1)]
        apart = apart[np.isfinite(apart) & (apart > 0)]
        unit = float(np.median(apart)) if len(apart) else 1.0
        widths = [unit * width for width in WIDTHS]
        n = agreement.n[:, None, :] * agreement.others
        errors = np.array([agreement.error(_kernel(n, distance, width)) for width in widths])
        size = float(np.trace(agreement.gram, axis1=1, axis2=2).sum())
        widest = np.flatnonzero(errors <= errors.min() + ROUNDING * size)[-1]  # of equals
        return {"width": np.array(widths[widest])}

    def _counts(self, n: Ints, distance: Floats) -> Floats:
        return _kernel(n, distance, self.width)


def _beyond(n: Ints, distance: Floats) -> Floats:
    """Return how much farther each context is than the nearest one in which something was measured.

    0 where no distance is known.
    """
    there = np.where(n > 0, distance, np.inf)
    least = there.min(axis=-1, keepdims=True)
    return np.subtract(there, least, out=np.zeros(there.shape), where=np.isfinite(least))


def _kernel(n: Ints, distance: Floats, width: float) -> Floats:
    """Return weights of contexts, by their cells `n` and their squared distances."""
    fall = np.exp(-_beyond(n, distance) / width) if np.isfinite(width) else 1.0
    return normalised(n * fall)
