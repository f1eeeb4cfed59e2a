"""One attempt: train a model and predict the test cells, or read a prediction, and score it."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .._logging import logger, reason
from ..core._shallow import shallow
from ..models.base._fitting import fit_model
from ..models.base._registry import model_class
from ._meter import Meter
from ._prediction_file import PredictionFile
from ._rows import Row
from ._tuning import tuned

if TYPE_CHECKING:
    from anndata import AnnData

    from ._models import Contender, Model
    from ._scorer import Scorer

LIBRARIES = {
    "baseline": ("shoal", "anndata", "numpy", "scipy"),
    "model": ("torch", "lightning", "scvi-tools"),
}


def row_of(contender: Contender, *, data: str, split: str, seed: int) -> Row:
    """Return which result a contender has on a split of a data set with a seed, without numbers."""
    row = Row(data, split, contender.label, seed, contender.kind)
    return (
        replace(row, file=contender.digest(row)) if isinstance(contender, PredictionFile) else row
    )


def attempt(
    adata: AnnData, row: Row, contender: Contender, scorer: Scorer, *, inner: int | None = None
) -> Row:
    """Train, predict and score a model; or read and score the prediction of another program.

    Parameters
    ----------
    adata
        The screen; it is not changed.
    row
        Which result it is, without numbers.
    contender
        The model and its settings, or the file with the prediction.
    scorer
        Scores its prediction.
    inner
        Inner folds of training on which the settings of a model with ``tune`` are chosen.

    Returns
    -------
    The row with its numbers, or with the reason (``note``) why there are none.
    """
    try:
        if isinstance(contender, PredictionFile):
            numbers = _of_file(row, contender, scorer)
        else:
            numbers = _of_model(adata, row, contender, scorer, inner=inner)
    except Exception as err:  # noqa: BLE001 (others go on, and the row says what it was)
        logger.warning(
            "%s on %s, %s, seed %d failed: %s",
            row.model,
            row.data,
            row.split,
            row.seed,
            reason(err),
        )
        return failed(row, reason(err))
    return replace(row, versions=versions(row.kind), **numbers)


def _of_model(
    adata: AnnData, row: Row, model: Model, scorer: Scorer, *, inner: int | None
) -> dict[str, Any]:
    """Train a model, predict, and return the numbers of its row."""
    work = shallow(adata)
    options = ({} if scorer.layer is None else {"layer": scorer.layer}) | dict(model.options)
    model_class(model.model)  # imports what it needs, which is not part of training
    meter = Meter()
    choice = None
    if model.tune is not None:
        choice = tuned(adata, model.model, model.tune, options=options, inner=inner, rng=row.seed)
        options = dict(choice.options)
    trained = fit_model(work, model.model, rng=row.seed, **options)
    seconds_fit = meter.seconds
    cells = trained._population(None)
    predicted = trained.twins(cells, subset=cells.split == 2, rng=row.seed, **model.predict)
    seconds_predict, peak_mb = meter.seconds - seconds_fit, meter.peak_mb
    meter = Meter()
    numbers = scorer.score(row.model, trained.vocabulary, predicted)
    return numbers | {
        "transductive": trained.vocabulary.transductive,
        "seconds_fit": seconds_fit,
        "seconds_predict": seconds_predict,
        "seconds_evaluate": meter.seconds,
        "peak_mb": peak_mb,
        "chosen": "" if choice is None else choice.name,
        "tried": {} if choice is None else choice.errors,
    }


def _of_file(row: Row, given: PredictionFile, scorer: Scorer) -> dict[str, Any]:
    """Read the prediction of another program, and return the numbers of its row."""
    meter = Meter()
    numbers, transductive = scorer.score_file(row.model, given.of(row))
    return numbers | {"transductive": transductive, "seconds_evaluate": meter.seconds}


def failed(row: Row, note: str) -> Row:
    """Return the row of an attempt without result."""
    return replace(row, note=note, versions=versions(row.kind))


def versions(kind: str) -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    installed = {"python": platform.python_version()}
    for name in (*LIBRARIES["baseline"], *(LIBRARIES["model"] if kind == "model" else ())):
        with suppress(PackageNotFoundError):  # a model of one's own need not have them
            installed[name] = version(name)
    return installed
