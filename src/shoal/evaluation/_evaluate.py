"""One evaluation: a prediction, its controls and baselines, all scored on the same task."""

from __future__ import annotations

from dataclasses import dataclass
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from .._contenders import COPY, PREDICTION
from .._logging import logger
from .._random import RNGLike, as_generator
from .._validate import key_in, one_of, whole
from ..core._population import population
from ..core._predictions import is_refitted, refuse_counts, skipped_by
from ..core._screen import resolve
from ..metrics._external_suites import EXTERNAL_SUITES
from ..metrics._external_vcc2026 import SUITE as VCC2026
from ..metrics._suite import SUITE
from ..models.base._embedding import vectors_of
from ..models.base._requests import in_words
from ._baseline_predictions import baseline_predictions
from ._baselines import baseline_names
from ._checks import checked
from ._conditions import caution
from ._controls import CALIBRATING, control_copy, mean_baseline
from ._external_suites import MEAN, score_of, with_controls
from ._peer_counts import PeerCounts, mean_baseline_of, peer_counts, predicted_counts, refuse_signed
from ._predictions import Beside, holds_real_values, opened, populations_of, unpredicted
from ._reference import AUTO, check_reference, reference_name, reference_taken, with_reference
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

    from ..metrics._external_suites import ExternalSuite
    from ..metrics._registry import Metric

CALIBRATED = "calibrated"  # the suite of this package
REAL = "the predicted cells are copies of the real cells of their conditions"
ALONE = (
    "no baseline could be scored: 0 is as good as a copy of the controls, which is easily beaten"
)
SEEN = "the model was trained on val too (refit=True): these are no unseen conditions"
FEWEST = {True: 4, False: 2}  # cells of a condition: populations have 2, halves of it too


@dataclass(frozen=True)
class Settings:
    """How a prediction is evaluated; :func:`shoal.tl.evaluate` describes its arguments."""

    layer: str | None = None
    metrics: Sequence[str] | None = None
    suite: str = CALIBRATED
    baselines: str | Sequence[str] | None = "auto"
    embedding: str | pd.DataFrame | None = None
    split: str | None = "test"
    n_comps: int = 50
    min_cells: int = 20
    n_draws: int = 5
    reference: str = AUTO

    def __post_init__(self) -> None:
        one_of(self.suite, (CALIBRATED, *EXTERNAL_SUITES, VCC2026), name="suite")
        whole(self.n_comps, name="n_comps")
        whole(self.min_cells, name="min_cells", least=0)
        whole(self.n_draws, name="n_draws")
        check_reference(self.reference)
        fewest = FEWEST[self.suite == CALIBRATED]
        if self.min_cells < fewest:
            msg = (
                f"min_cells={self.min_cells}: populations have at least 2 cells, and are halved if "
                f"calibrated, so {fewest} is the least"
            )
            raise ValueError(msg)

    @property
    def external(self) -> ExternalSuite | None:
        """The suite of another package, ``None`` for the calibrated one."""
        return EXTERNAL_SUITES.get(self.suite)


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
    screen, split, counts = resolve(adata), settings.split, None
    if external is not None and external.takes_counts:
        counts = peer_counts(adata, screen, layer=settings.layer, split=split)
    if counts is None:
        cells = population(adata, screen, layer=settings.layer)
    else:
        cells = population(counts.real, screen)
    if settings.embedding is not None:
        vectors_of(adata, settings.embedding)
    with opened(adata, prediction, layer=settings.layer) as given:
        if external is None or not external.takes_counts:
            refuse_counts(*given.recorded_in(adata), what="an evaluation")
        fixed = reference_name(
            cells, settings.reference, split=split, embedding=settings.embedding, seed=seed
        )
        baselines = baseline_names(adata, settings.baselines)
        if external is None and (baselines or settings.reference != AUTO):
            baselines = with_reference(baselines, fixed)
        without = unpredicted(cells, given, split=split)
        tasks = evaluation_tasks(
            cells,
            split=split,
            halves=external is None,
            n_comps=settings.n_comps,
            min_cells=settings.min_cells,
            seed=seed,
            n_draws=settings.n_draws if external is None else 1,
            baselines=baselines,
            without=without,
        )
        task = tasks[0]
        if external is not None and external.takes_counts:
            refuse_signed(task.cells.scale, settings.suite)
        made = populations_of(tasks, given)
        copied = holds_real_values(task, made[0])
        if external is not None and external.uses_predicted_control:
            made = (with_controls(task, made[0], given),)
        if external is not None and external.takes_counts:
            made = (predicted_counts(made[0]),)
        made = tuple(checked(one, given.slot) for one in made)
        scores = Scores(tasks, metrics, seed=seed)
        scores.add(PREDICTION, made, transductive=given.transductive)
    _add_controls(scores, external, counts, copy=settings.baselines is not None)
    asked = []
    for found in baseline_predictions(
        tasks,
        baselines,
        embedding=settings.embedding,
        reference=fixed if external is None else "",
    ):
        asked.append(found.name)
        if isinstance(found.made, str):
            logger.info("%s is left out: %s", found.name, found.made)
        scores.enter(found)
    if scores.same:
        logger.info("the same predicted cells, scored once: %s", "; ".join(scores.in_words()))
    rivals = [name for name in asked if name not in scores.refused]
    alone = external is None and settings.baselines is not None and not rivals
    seen = split == "val" and isinstance(given, Beside) and is_refitted(adata, given.name)
    cautions = (
        caution(cells, split),
        REAL if copied else "",
        ALONE if alone else "",
        SEEN if seen else "",
    )
    standing: Standing | None = None
    if external is None:
        scores.reference, why = reference_taken(fixed, scores.row_of(), scores.refused)
        if why:
            logger.log(INFO if settings.baselines is None else WARNING, "%s", why)
        standing = Standing(scores)
        numbers = _scored(standing, given.name) | {"reference_note": why}
    else:
        numbers = {"score": score_of(external, scores)}
    said = "; ".join(filter(None, cautions))
    if said:
        logger.warning("%s", said)
    if without:
        logger.warning("not scored, for want of a prediction: %s", in_words(without))
    refused = skipped_by(adata, given.name) if without and isinstance(given, Beside) else ""
    params = {
        **numbers,
        "prediction": given.name,
        "transductive": given.transductive,
        "layer": settings.layer,
        "suite": settings.suite,
        "split": settings.split,
        "caution": said,
        "skipped": in_words(without, most=None) + (f"; by the model: {refused}" if refused else ""),
        "n_conditions": len(task.conditions),
        "n_draws": len(tasks),
        "n_comps": task.truth.axes.shape[1],
        "min_cells": settings.min_cells,
        "best_baseline": standing.best if standing else "",
        "baselines": rivals,
        "seed": seed,
    }
    return params, tables_of(scores, standing)


def _scored(standing: Standing, name: str) -> dict[str, Any]:
    """Return the score and the verdict, which is also said aloud."""
    found, verdict = standing.estimate(PREDICTION), standing.verdict(name)
    logger.info("%s", verdict)
    return {
        "score": found.value,
        "score_low": found.low,
        "score_high": found.high,
        "reference": standing.scores.reference,
        "responds": standing.scores.responses.anything,
        "verdict": verdict,
    }


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
    """Return the metrics of a suite by name; all if `names` is ``None``.

    Raises
    ------
    KeyError
        If the suite has no metric of a name.
    ValueError
        If `names` is empty.
    """
    if names is None:
        return dict(suite)
    several = [names] if isinstance(names, str) else list(names)
    if not several:
        msg = f"metrics is empty; name some of {', '.join(suite)}"
        raise ValueError(msg)
    for name in several:
        key_in(name, suite, where="the metrics of this suite of sh.tl.evaluate")
    return {name: suite[name] for name in dict.fromkeys(several)}


def seed_of(rng: RNGLike) -> int:
    """Return the number from which everything that an evaluation draws is seeded."""
    return int(as_generator(rng).integers(2**31))
