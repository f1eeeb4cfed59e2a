"""Several models that are asked the same: what they expect of candidates, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core._codes import members
from ..metrics._cells import densify
from ..models.base._mean_responses import FEWEST, MOST, responses
from ..models.base._requests import request_new
from ..models.ensemble._members import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints
    from ..core._population import Population
    from ._candidates import Condition

AT_ONCE = 64  # perturbations that are predicted at a time
ENOUGH = 2000  # control cells from which the variance of a cell is estimated


@dataclass(frozen=True, eq=False)
class Committee:
    """K trained models, and how much each counts.

    Attributes
    ----------
    models
        Name -> model.
    ensemble
        The ensemble whose members they are and whose weights hold; ``None`` if they count equally.
    """

    models: Mapping[str, Any]
    ensemble: Any = None

    @classmethod
    def of(cls, model: Any) -> Committee:
        """Return the models that a user means.

        Parameters
        ----------
        model
            A trained ensemble, or several models as a list or mapping.

        Raises
        ------
        TypeError
            If it is something else.
        ValueError
            If there are fewer than two.
        """
        if getattr(model, "kind", "") == "ensemble":
            return cls(dict(model.members), model)
        several = dict(model) if isinstance(model, Mapping) else model
        if isinstance(several, (list, tuple)):
            several = {f"{type(one).__name__}_{i}": one for i, one in enumerate(several, 1)}
        if not isinstance(several, dict) or not all(map(_is_model, several.values())):
            msg = (
                "only several models can disagree: pass an ensemble, sh.tl.fit(adata, 'auto'), a "
                f"list of trained models, or None, not {type(model).__name__}"
            )
            raise TypeError(msg)
        if len(several) < 2:
            msg = f"only several models can disagree, and there are {len(several)}"
            raise ValueError(msg)
        return cls({str(name): one for name, one in several.items()})

    def weights(self, conditions: Sequence[Condition], dose: float) -> Floats:
        """Return the (m, K) weights of the models for conditions."""
        if self.ensemble is None:
            return np.ones((len(conditions), len(self.models)))
        kinds = [self.ensemble.kind_of(n, context=c, dose=dose) for n, c in conditions]
        table = self.ensemble._table.reindex(index=kinds, columns=list(self.models))
        return np.asarray(table.fillna(0.0).to_numpy(dtype=np.float64))

    def expected(
        self, conditions: Sequence[Condition], cells: Population, *, dose: float, seed: int
    ) -> Floats:
        """Return the (m, K, d) mean responses that the models predict; NaN where one cannot.

        Without a context the response is that over the control cells of all contexts.
        """
        found = np.full((len(conditions), len(self.models), len(cells.features)), np.nan)
        where = np.unique([context for _, context in conditions], return_inverse=True)[1]
        for own in members(where):
            context = conditions[own[0]][1]
            code = cells.contexts.index(context) if context else None
            n_cells = FEWEST if context or len(cells.contexts) < 2 else MOST
            for part in np.array_split(own, -(-len(own) // AT_ONCE)):
                names = [conditions[i][0] for i in part]
                rng = np.random.default_rng(seed)
                request = request_new(
                    names, cells, context=code, dose=dose, n_cells=n_cells, rng=rng
                )
                for k, (name, model) in enumerate(self.models.items()):
                    draw = seed_of(name, seed)
                    found[part, k] = responses(model, request, cells, request.perturbation, draw)
        return found


def covariance(expected: Floats, weights: Floats) -> Floats:
    """Return the (m, m) covariance of what is expected of candidates, summed over the features.

    The models are taken as K guesses at the truth, with their weights as probabilities. The
    diagonal is the weighted spread of the models around their mean.

    Parameters
    ----------
    expected
        (m, K, d) predicted responses; NaN where a model has none.
    weights
        (m, K) weights.
    """
    there: Bools = np.asarray(np.isfinite(expected).all(axis=2))
    weight = weights * there
    total = weight.sum(axis=1, keepdims=True)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    values = np.where(there[:, :, None], expected, 0.0)
    apart = values - np.einsum("mk,mkd->md", weight, values)[:, None]
    scaled = (np.sqrt(weight)[:, :, None] * apart).reshape(len(expected), -1)
    return np.asarray(scaled @ scaled.T)


def noise_of_measuring(cells: Population, n: Ints) -> float:
    """Return the variance of the noise of a measured response, summed over the features.

    Parameters
    ----------
    cells
        The screen, whose control cells say how much a cell varies.
    n
        Cells of each measured condition. That of the median one counts.
    """
    control = cells.controls.cells
    every = np.sort(control[:: max(len(control) // ENOUGH, 1)])
    variance = densify(cells.rows.take(every)).astype(np.float64).var(axis=0).sum()
    return float(variance * (1 / np.median(n) + 1 / len(control)))


def _is_model(one: Any) -> bool:
    return hasattr(one, "twins") and hasattr(one, "vocabulary")
