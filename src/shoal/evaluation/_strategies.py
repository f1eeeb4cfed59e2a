"""Strategies that rank candidates: one function each, found by its name."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .._logging import logger
from .._validate import some
from ..metrics._proposals import hit_probability, order_by_coverage, order_by_reduction
from ..models.base._embedding import ONE_HOT
from ..models.base._requests import in_words
from ._candidates import PERTURBATION, how_to_embed
from ._committee import Committee, covariance, noise_of_measuring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._typing import Bools, Floats, Ints
    from ..core._population import Population
    from ._candidates import Pool

Ranked = tuple["Ints", "Floats"]
NOTHING = 1e-12  # of the squared size of the responses: rounding


@dataclass(frozen=True, eq=False)
class Question:
    """What a strategy is told.

    Attributes
    ----------
    cells
        The screen. Test cells, and those of no side, are not looked at by any strategy.
    pool
        Candidates and measured conditions.
    by
        What is measured at once.
    committee
        Models that may disagree; ``None`` if there are none.
    responds
        Measured perturbation -> whether it responds; ``None`` if that is not known.
    dose
        Dose at which models are asked; NaN for none.
    seed
        Seed of predictions.
    """

    cells: Population
    pool: Pool
    by: str
    committee: Committee | None = None
    responds: Mapping[str, bool] | None = None
    dose: float = float("nan")
    seed: int = 0


def by_disagreement(question: Question, n: int) -> Ranked:
    """Rank by how much a measurement takes from the disagreement of models on all candidates."""
    committee, cells, pool = question.committee, question.cells, question.pool
    if committee is None:
        msg = "strategy='disagreement' takes models: pass model=, an ensemble or several models"
        raise ValueError(msg)
    weights = committee.weights(pool.candidates, question.dose)
    expected = committee.expected(pool.candidates, cells, dose=question.dose, seed=question.seed)
    _check_answers(committee, expected, pool)
    silent = _tell_silent(committee, expected, weights, pool)
    spread = covariance(expected, weights)
    size = float(np.nansum(expected**2)) / max(expected.shape[1], 1)
    if not float(np.trace(spread)) > NOTHING * size:
        counted = [name for name, w in zip(committee.models, weights.T, strict=True) if w.any()]
        msg = (
            "the models do not disagree on any candidate, as where measured responses do not "
            "differ beyond their noise, or vectors tell nothing of them: those with a weight are "
            f"{', '.join(counted) or 'none'}{silent}. Pass other models, such as "
            "model=[sh.tl.fit(adata, 'latent_linear', embedding=...), sh.tl.fit(adata, 'nearest', "
            "embedding=...)], or strategy='coverage'"
        )
        raise ValueError(msg)
    n_cells = np.bincount(cells.labels.code[cells.train])
    return order_by_reduction(spread, noise_of_measuring(cells, n_cells[n_cells > 0]), n)


def by_coverage(question: Question, n: int) -> Ranked:
    """Rank by how much nearer the candidates are to something measured."""
    _need_vectors(question, "coverage")
    among, to_measured, _ = question.pool.distances
    return order_by_coverage(among, to_measured.min(axis=1, initial=np.inf), n)


def by_hits(question: Question, n: int) -> Ranked:
    """Rank by the probability that a candidate responds."""
    _need_vectors(question, "hit")
    if question.by != PERTURBATION:
        msg = "strategy='hit' asks which perturbations respond: pass by='perturbation'"
        raise ValueError(msg)
    if question.responds is None:
        msg = (
            "strategy='hit' learns from the measured perturbations which ones respond: call "
            "sh.tl.coherence(adata) first"
        )
        raise ValueError(msg)
    _, to_measured, among = question.pool.distances
    known = [i for i, (name, _) in enumerate(question.pool.measured) if name in question.responds]
    if not known:
        msg = "uns['coherence'] says of no measured perturbation whether it responds"
        raise ValueError(msg)
    y = np.array([question.responds[question.pool.measured[i][0]] for i in known])
    found, width = hit_probability(to_measured[:, known], y, among[np.ix_(known, known)])
    if width == 0:
        logger.warning(
            "the vectors do not tell which perturbations respond: all candidates have the "
            "probability %.2f, and their order is random",
            found[0],
        )
    order = np.argsort(-found, kind="stable")[:n]
    return order, found[order]


def by_chance(question: Question, n: int) -> Ranked:
    """Rank at random: candidates come in a random order already."""
    order = np.arange(len(question.pool.candidates))[:n]
    return order, np.full(len(order), np.nan)


STRATEGIES: Mapping[str, Callable[[Question, int], Ranked]] = MappingProxyType(
    {
        "disagreement": by_disagreement,
        "coverage": by_coverage,
        "hit": by_hits,
        "random": by_chance,
    }
)
"""Name -> function that returns the positions of up to n candidates, and their scores."""


def _check_answers(committee: Committee, expected: Floats, pool: Pool) -> None:
    """Raise if no model can predict any candidate, and say of which ones none can.

    Raises
    ------
    ValueError
        If there is no candidate of which a model says anything.
    """
    answers: Bools = np.asarray(np.isfinite(expected).all(axis=2))
    lost = ~answers.any(axis=1)
    unknown = [pool.candidates[i] for i in np.flatnonzero(lost)]
    if not unknown:
        return
    names = some(list(dict.fromkeys(name for name, _ in unknown)))
    if not lost.all():
        logger.warning(
            "no model can predict %s, so they come last: %s", names, how_to_embed(unknown)
        )
        return
    what = (
        f"none of the models ({', '.join(committee.models)}) can say anything of {names}: nobody "
    )
    ensemble = committee.ensemble
    if ensemble is not None and ensemble.vocabulary.embedding != ONE_HOT:
        msg = (
            f"{what}has run them, and the members with a weight go by no vectors, because nothing "
            "that was tried within training told perturbations apart by them. Take "
            "strategy='coverage', or pass models that go by vectors, "
            "model=[sh.tl.fit(adata, 'latent_linear', embedding=...), sh.tl.fit(adata, 'nearest', "
            "embedding=...)]"
        )
        raise ValueError(msg)
    msg = (
        f"{what}has run them, and the models have no vectors of them. To mend it, "
        f"{how_to_embed(unknown)}"
    )
    raise ValueError(msg)


def _tell_silent(committee: Committee, expected: Floats, weights: Floats, pool: Pool) -> str:
    """Log which models cannot predict some candidates, and do not count there; return it."""
    lost = ~np.isfinite(expected).all(axis=2) & (weights > 0)
    several = []
    for k in np.flatnonzero(lost.any(axis=0)):
        name, model = list(committee.models.items())[k]
        those = [pool.candidates[i][0] for i in np.flatnonzero(lost[:, k])]
        reasons = model.cannot_predict(those)
        why = in_words(reasons) if reasons else f"{some(those)} cannot be predicted there"
        several.append(f"{name} does not count where it cannot predict: {why}")
    if several and committee.ensemble is None:
        logger.warning("%s", "; ".join(several))
    return "".join(f"; {text}" for text in several)


def _need_vectors(question: Question, strategy: str) -> None:
    if question.pool.vectors is None and question.by == PERTURBATION:
        msg = (
            f"strategy={strategy!r} goes by vectors of the perturbations, and there are none: "
            f"{how_to_embed(question.pool.candidates)}"
        )
        raise ValueError(msg)
