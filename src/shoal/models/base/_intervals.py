"""Intervals of the responses that a model predicts, from its errors on conditions left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._logging import logger
from ..._random import RNGLike, as_generator
from ..._validate import between, flag, whole
from ._mean_responses import MOST, responses
from ._requests import (
    request_new,
    requested_context,
    requested_dose,
    requested_names,
    warn_of_dose,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ._calibration import Calibration
    from ._requests import PredictionRequest


@dataclass(frozen=True, eq=False)
class Intervals:
    """Predicted responses of m conditions, and how far off they may be.

    Attributes
    ----------
    kind
        Kind of question that each is.
    response
        (m, d) predicted responses.
    half
        (m, d) half the width of the intervals; NaN where no question of the kind was tried.
    size
        (m,) size of the predicted response: its length over all features.
    bound
        (m,) distance within which the true response is; NaN where no such question was tried, or
        errors were no larger than the noise of measuring.
    probability
        (m,) probability of a response; NaN where no such question was tried.
    """

    kind: tuple[str, ...]
    response: Floats
    half: Floats
    size: Floats
    bound: Floats
    probability: Floats


def calibration_of(model: Any) -> Calibration:
    """Return what a model was wrong by on conditions that were left out of training.

    Raises
    ------
    ValueError
        If nothing was left out.
    """
    found: Calibration | None = getattr(model, "calibration", None)
    if found is None:
        name, note = type(model).__name__, str(getattr(model, "note", ""))
        fix = (
            "train it with sh.tl.fit(adata, ..., calibrate=True), which trains it once more for "
            "each of four inner folds, or take sh.tl.fit(adata, 'auto')"
        )
        msg = (
            f"nothing says how far off the answers of this {name} may be, because no conditions "
            f"were left out of its training: {note or fix}"
        )
        raise ValueError(msg)
    return found


def intervals_of(
    model: Any,
    request: PredictionRequest,
    cells: Population,
    population: Ints,
    *,
    level: float,
    n_cells: Ints | None,
    pooled: bool,
    seed: int,
) -> Intervals:
    """Return the intervals of every population of a request.

    Parameters
    ----------
    model
        A model that was calibrated.
    request
        Cells, sorted by condition.
    cells
        Their population.
    population
        (n,) code of the population of every cell: 0, 1, 2, ...
    level, pooled
        As in ``model.intervals``.
    n_cells
        (m,) cells of the measurement of each population that is to be covered; those of the median
        condition of training if ``None``.
    seed
        Seed of what the model draws.

    Raises
    ------
    ValueError
        If the model was not calibrated, or no question of these kinds was tried.
    """
    known = calibration_of(model)
    first, contexts = np.unique(population, return_index=True)[1], [*cells.contexts, ""]
    names = [request.names[request.perturbation[i]] for i in first]
    kinds = [
        known.measured.kind(
            name,
            contexts[request.context[i]],
            float(request.dose[i]),
            model.vocabulary.screen,
        )
        for name, i in zip(names, first, strict=True)
    ]
    lost = {name: kind for name, kind in zip(names, kinds, strict=True) if kind not in known.kinds}
    if lost:
        tell_untried(lost, known, all_of_them=not set(kinds) & set(known.kinds))
    response = responses(model, request, cells, population, seed)
    size = (response**2).sum(axis=1)
    half = np.full_like(response, np.nan)
    bound, probability = np.full(len(first), np.nan), np.full(len(first), np.nan)
    for kind, own in known.kinds.items():
        at = np.flatnonzero(np.array(kinds) == kind)
        if not len(at):
            continue
        if level > own.reached and not pooled:
            logger.warning(
                "%g of a question that is %r takes %d units left out of training, and there were "
                "%d, which vouch for %.2f: the intervals are wider than for that level by what "
                "errors scatter within training and on other screens. Or pass pooled=True",
                level,
                kind,
                int(np.ceil(level / (1 - level) - 1e-9)),
                own.n_units,
                own.reached,
            )
        number = None if n_cells is None else n_cells[at]
        half[at] = own.half_widths(size[at], known.cell, level, n_cells=number, pooled=pooled)
        bound[at] = own.bounds(size[at], level)
        if np.isnan(bound[at]).any():
            logger.warning(
                "no bound tells how far the true response of a question that is %r may be: within "
                "training errors were no larger than the noise of measuring, which hides them",
                kind,
            )
        probability[at] = own.probabilities(size[at])
    return Intervals(tuple(kinds), response, half, np.sqrt(size), bound, probability)


def tell_untried(lost: dict[str, str], known: Calibration, *, all_of_them: bool) -> None:
    """Say, or raise, that some conditions have no intervals.

    Parameters
    ----------
    lost
        Perturbation -> kind of question, none of which was tried.
    known
        What was tried.
    all_of_them
        Whether no condition has intervals.

    Raises
    ------
    ValueError
        If no condition has any.
    """
    name, kind = next(iter(lost.items()))
    tried = ", ".join(map(repr, known.kinds)) or "none"
    fix = (
        "Leave some out with sh.pp.split(adata, by=...), or, of sh.tl.fit(adata, 'auto'), with "
        "config={'by': ...}"
    )
    if all_of_them:
        msg = (
            f"{name!r} is a question of the kind {kind!r}, and none such was left out of training, "
            f"so nothing says how far off the answer may be. Tried were: {tried}. {fix}"
        )
        raise ValueError(msg)
    logger.warning(
        "%d perturbations have no intervals, such as %r, which is %r: no such question was left "
        "out of training. Tried were: %s. %s",
        len(lost),
        name,
        kind,
        tried,
        fix,
    )


class WithIntervals:
    """Intervals of what a model predicts, of perturbations by name."""

    calibration: Calibration | None = None

    def intervals(
        self,
        perturbations: str | Sequence[str],
        *,
        context: str | None = None,
        dose: float | None = None,
        level: float = 0.9,
        n_cells: int | None = None,
        pooled: bool = False,
        adata: AnnData | None = None,
        rng: RNGLike = 0,
    ) -> pd.DataFrame:
        """Return intervals of the mean response of every gene, from the errors within training.

        By default a share `level` of the genes of a perturbation lies within its intervals, for a
        share `level` of perturbations. That is *marginal*: it holds over perturbations like those
        of training. Of those that respond most strongly fewer genes are covered. What is covered is
        a measured response, with its sampling noise. :func:`shoal.tl.predict` writes the intervals
        of measured conditions, with ``interval=``.

        Parameters
        ----------
        perturbations
            Names. A combination joins single ones.
        context
            Context, which a screen with contexts needs.
        dose
            Dose, which a screen with doses needs.
        level
            Share that is covered, between 0 and 1.
        n_cells
            Cells of the measurement that is to be covered: fewer cells have more noise. Those of
            the median condition of training if ``None``.
        pooled
            Whether `level` is the share of all genes of all perturbations together instead. These
            intervals are narrower.
        adata
            Screen whose control cells predictions start from; that of training if ``None``.
        rng
            Seed or generator.

        Returns
        -------
        A row for each perturbation and feature: ``perturbation``, ``feature``, ``response`` (mean
        of the perturbed cells minus that of their controls), ``low`` and ``high``, in the units of
        the values. Then, the same for all features of a perturbation, ``bound`` (distance within
        which the true response is, see :func:`shoal.tl.predict`; NaN where errors were no larger
        than the noise of measuring) and ``probability`` (of a response).

        Raises
        ------
        KeyError
            If a perturbation or the context is not known.
        ValueError
            If the level makes no sense, a context or dose is missing, the model was not calibrated,
            or no question of the kind was left out of training.
        """
        between(level, 0, 1, name="level")
        flag(pooled, name="pooled")
        if n_cells is not None:
            n_cells = whole(n_cells, name="n_cells")
        model: Any = self
        rng, cells = as_generator(rng), model._population(adata)
        calibration_of(model)
        names = requested_names(perturbations, cells, model.vocabulary)
        model._refuse(names, cells)
        if context is None and cells.screen.context_key is not None:
            msg = f"which context? Pass context=...; there are {', '.join(cells.contexts)}"
            raise ValueError(msg)
        code, number = requested_context(context, cells), requested_dose(dose, cells)
        warn_of_dose(number, model.vocabulary)
        request = request_new(names, cells, context=code, dose=number, n_cells=MOST, rng=rng)
        found = intervals_of(
            model,
            request,
            cells,
            request.perturbation,
            level=level,
            n_cells=None if n_cells is None else np.full(len(names), n_cells),
            pooled=pooled,
            seed=int(rng.integers(2**31)),
        )
        d = len(cells.features)
        return pd.DataFrame(
            {
                "perturbation": np.repeat(names, d),
                "feature": np.tile(cells.features, len(names)),
                "response": found.response.ravel(),
                "low": (found.response - found.half).ravel(),
                "high": (found.response + found.half).ravel(),
                "bound": np.repeat(found.bound, d),
                "probability": np.repeat(found.probability, d),
            }
        )
