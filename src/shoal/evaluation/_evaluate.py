"""One evaluation: a prediction, its controls and baselines, all scored on the same task."""

from __future__ import annotations

from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from .._contenders import COPY, PREDICTION
from .._logging import logger
from .._random import RNGLike, as_generator
from .._validate import key_in, listed
from ..core._population import population
from ..core._predictions import is_refitted, refuse_counts, skipped_by
from ..core._screen import resolve
from ..metrics._external_vcc2026 import SUITE as VCC2026
from ..metrics._suite import SUITE
from ..models.base._context_embedding import context_table
from ..models.base._embedding import vectors_of
from ..models.base._requests import in_words
from ._baseline_predictions import baseline_predictions
from ._baselines import baseline_names
from ._checks import checked
from ._conditions import caution, seen_by_model
from ._controls import CALIBRATING, control_copy, mean_baseline
from ._external_suites import MEAN, score_of, with_controls
from ._peer_counts import PeerCounts, mean_baseline_of, peer_counts, predicted_counts, refuse_signed
from ._predictions import Beside, holds_real_values, opened, populations_of, unpredicted
from ._reference import AUTO, reference_name, reference_taken, with_reference
from ._scores import Scores
from ._standing import Standing
from ._tables import tables_of
from ._task import evaluation_tasks
from ._vcc2026 import evaluate_panels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData

    from ..core._population import Population
    from ..metrics._comparison import Populations
    from ..metrics._external_suites import ExternalSuite
    from ..metrics._registry import Metric
    from ._predictions import Apart
    from ._settings import Settings
    from ._task import EvaluationTask

REAL = "the predicted cells are copies of the real cells of their conditions"
ALONE = (
    "no baseline could be scored: 0 is as good as a copy of the controls, which is easily beaten"
)
SEEN = "the model was trained on val too (refit=True): these are no unseen conditions"


def evaluate(
    adata: AnnData,
    prediction: str | PathLike[str] | AnnData,
    settings: Settings,
    *,
    rng: RNGLike,
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Score a prediction beside controls and baselines.

    Parameters
    ----------
    adata
        The screen.
    prediction
        Name of a prediction in `adata`, an AnnData, or a path of one.
    settings
        How it is evaluated.
    rng
        Seed or generator of everything that is drawn.

    Returns
    -------
    Parameters and tables of ``uns["evaluation"]``.
    """
    if settings.suite == VCC2026:  # panels of counts, with ends of their own
        return evaluate_panels(
            adata,
            prediction,
            layer=settings.layer,
            metrics=settings.metrics,
            baselines=settings.baselines,
            split=settings.split,
        )
    external, seed = settings.external, seed_of(rng)
    metrics = chosen_metrics(settings.metrics, SUITE if external is None else external.metrics)
    cells, counts = _cells_of(adata, settings)
    told = _told(adata, settings)
    with opened(adata, prediction, layer=settings.layer) as given:
        if not settings.takes_counts:
            refuse_counts(*given.recorded_in(adata), what="an evaluation")
        fixed = reference_name(
            cells,
            settings.reference,
            split=settings.split,
            embedding=settings.embedding,
            context_embedding=settings.context_embedding,
            seed=seed,
        )
        baselines = baseline_names(adata, settings.baselines)
        if external is None and (baselines or settings.reference != AUTO):
            baselines = with_reference(baselines, fixed)
        without = unpredicted(cells, given, split=settings.split)
        tasks = evaluation_tasks(
            cells,
            split=settings.split,
            halves=external is None,
            n_comps=settings.n_comps,
            min_cells=settings.min_cells,
            seed=seed,
            n_draws=settings.n_draws if external is None else 1,
            baselines=baselines,
            without=without,
        )
        if settings.takes_counts:
            refuse_signed(tasks[0].cells.scale, settings.suite)
        made = populations_of(tasks, given)
        copied = holds_real_values(tasks[0], made[0])
        scores = Scores(tasks, metrics, seed=seed)
        made = _as_the_suite_takes_it(made, tasks[0], given, settings)
        scores.add(PREDICTION, made, transductive=given.transductive)
    _add_controls(scores, external, counts, copy=settings.baselines is not None)
    rivals = _add_baselines(scores, baselines, settings, reference=fixed)
    standing: Standing | None = None
    if external is None:
        standing, numbers = _standing_of(scores, fixed, settings, given.name)
    else:
        numbers = {"score": score_of(external, scores)}
    cautions = (
        caution(cells, settings.split),
        REAL if copied else "",
        ALONE if external is None and settings.baselines is not None and not rivals else "",
        SEEN if settings.split == "val" and _was_refitted(adata, given) else "",
        seen_by_model(cells, settings.split, given.recorded_in(adata)),
    )
    said = "; ".join(filter(None, cautions))
    if said:
        logger.warning("%s", said)
    if without:
        logger.warning("not scored, for want of a prediction: %s", in_words(without))
    params = {
        **numbers,
        "prediction": given.name,
        "transductive": given.transductive,
        "layer": settings.layer,
        "suite": settings.suite,
        "split": settings.split,
        **told,
        "caution": said,
        "skipped": _skipped(adata, given, without),
        "n_conditions": len(tasks[0].conditions),
        "n_draws": len(tasks),
        "n_comps": tasks[0].truth.axes.shape[1],
        "min_cells": settings.min_cells,
        "best_baseline": standing.best if standing else "",
        "baselines": rivals,
        "seed": seed,
    }
    return params, tables_of(scores, standing)


def _told(adata: AnnData, settings: Settings) -> dict[str, str]:
    """Return the names of the vectors that baselines are told; ``"table"`` for one that has none.

    Raises
    ------
    KeyError
        If there are no such vectors.
    """
    names = {"embedding": "", "context_embedding": ""}
    if settings.embedding is not None:
        names["embedding"] = vectors_of(adata, settings.embedding)[0]
    if settings.context_embedding is not None:
        names["context_embedding"] = context_table(adata, settings.context_embedding).name
    return names


def _cells_of(adata: AnnData, settings: Settings) -> tuple[Population, PeerCounts | None]:
    """Return the cells that are scored, and the counts of a suite that takes them."""
    screen, counts = resolve(adata), None
    if settings.takes_counts:
        counts = peer_counts(adata, screen, layer=settings.layer, split=settings.split)
    if counts is None:
        return population(adata, screen, layer=settings.layer), None
    return population(counts.real, screen), counts


def _as_the_suite_takes_it(
    made: tuple[Populations, ...], task: EvaluationTask, given: Beside | Apart, settings: Settings
) -> tuple[Populations, ...]:
    """Return the predicted cells of each draw with the controls, and on the scale, of the suite.

    Raises
    ------
    ValueError
        If they are on another scale than the real cells, or not finite.
    """
    if settings.external is not None and settings.external.uses_predicted_control:
        made = (with_controls(task, made[0], given),)
    if settings.takes_counts:
        made = (predicted_counts(made[0]),)
    return tuple(checked(one, given.slot) for one in made)


def _add_baselines(
    scores: Scores, names: Sequence[str], settings: Settings, *, reference: str
) -> list[str]:
    """Score baselines; return the names of those that could be scored."""
    asked = []
    for found in baseline_predictions(
        scores.tasks,
        names,
        embedding=settings.embedding,
        context_embedding=settings.context_embedding,
        reference=reference if settings.external is None else "",
    ):
        asked.append(found.name)
        scores.enter(found)
    _tell_refused(scores.refused, named=settings.baselines != AUTO)
    if scores.same:
        logger.info("the same predicted cells, scored once: %s", "; ".join(scores.in_words()))
    return [name for name in asked if name not in scores.refused]


def _tell_refused(refused: Mapping[str, str], *, named: bool) -> None:
    """Log which baselines predict nothing; why, only of those that were asked for by name."""
    if named:
        for name, why in refused.items():
            logger.info("%s is left out: %s", name, why)
    elif refused:
        logger.info(
            "baselines that cannot predict these conditions, %d: %s; why is said in the table "
            "'missing' of the evaluation",
            len(refused),
            ", ".join(refused),
        )


def _standing_of(
    scores: Scores, fixed: str, settings: Settings, name: str
) -> tuple[Standing, dict[str, Any]]:
    """Measure all from the reference; return where they stand, and score and verdict.

    The verdict is also said aloud, and so is why another reference stands in for the fixed one.
    """
    scores.reference, why = reference_taken(fixed, scores.row_of(), scores.refused)
    if why:
        logger.log(INFO if settings.baselines is None else WARNING, "%s", why)
    standing = Standing(scores)
    found, verdict = standing.estimate(PREDICTION), standing.verdict(name)
    logger.info("%s", verdict)
    return standing, {
        "score": found.value,
        "score_low": found.low,
        "score_high": found.high,
        "reference": scores.reference,
        "responds": scores.responses.anything,
        "verdict": verdict,
        "reference_note": why,
    }


def _was_refitted(adata: AnnData, given: Beside | Apart) -> bool:
    return isinstance(given, Beside) and is_refitted(adata, given.name)


def _skipped(adata: AnnData, given: Beside | Apart, without: Mapping[str, str]) -> str:
    """Say which conditions have no prediction, and what the model said of these."""
    by_model = skipped_by(adata, given.name) if without and isinstance(given, Beside) else ""
    return in_words(without, most=None) + (f"; by the model: {by_model}" if by_model else "")


def _add_controls(
    scores: Scores, external: ExternalSuite | None, counts: PeerCounts | None, *, copy: bool
) -> None:
    """Score the predictions that need no model; those of an external suite calibrate nothing."""
    if external is None:
        add_calibrating(scores)
        return
    if copy:
        scores.add(COPY, [control_copy(scores.task)])
    if external.score is not None:
        task = scores.task
        made = mean_baseline(task) if counts is None else mean_baseline_of(task, counts)
        scores.add(MEAN, [made])


def add_calibrating(scores: Scores) -> None:
    """Score the controls that calibrate the metrics."""
    for name, make in CALIBRATING.items():
        scores.add(name, [make(task) for task in scores.tasks])


def chosen_metrics(names: Sequence[str] | None, suite: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics of a suite by name; all but those on request if `names` is ``None``.

    Raises
    ------
    KeyError
        If the suite has no metric of a name.
    ValueError
        If `names` is empty.
    """
    if names is None:
        return {name: record for name, record in suite.items() if not record.on_request}
    several = listed(names, name="metrics")
    if not several:
        msg = f"metrics is empty; name some of {', '.join(suite)}"
        raise ValueError(msg)
    for name in several:
        key_in(name, suite, where="the metrics of this suite of sh.tl.evaluate")
    return {name: suite[name] for name in dict.fromkeys(several)}


def seed_of(rng: RNGLike) -> int:
    """Return the number from which everything that an evaluation draws is seeded."""
    return int(as_generator(rng).integers(2**31))
