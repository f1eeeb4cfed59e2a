"""How far off the answers of any model are: it is trained again without some conditions."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._logging import logger
from ..._random import RNGLike, as_generator
from ...core._population import population
from ...core._screen import resolve
from ..base._calibration import Calibration
from ..base._fitting import SETUP
from ..base._kinds import Measured
from ..base._registry import model_class
from ..base._requests import in_words
from ._evidence import evidence_of, folds_of
from ._files import Finished
from ._members import Member
from ._weights import errors_of_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

OF_THE_LAST = ("checkpoint_dir", "resume", "logger", "callbacks")  # of the last training alone


def calibrated(
    adata: AnnData, model: str | type, *, options: Mapping[str, Any], rng: RNGLike = 0
) -> Calibration:
    """Train a model on inner folds, and return what it was wrong by on what they leave out.

    Parameters
    ----------
    adata
        Screen with a split of :func:`shoal.pp.split`; it is not changed. Test cells are on no side.
    model
        Name or class.
    options
        Arguments of ``fit_model``.
    rng
        Seed or generator of folds, trainings and predictions.

    Raises
    ------
    ValueError
        If no inner folds can be made, the model cannot be trained on one, or it can predict no
        condition that was left out.
    """
    seed = int(as_generator(rng).integers(2**31))
    name = model if isinstance(model, str) else model.__name__
    given = {key: options[key] for key in SETUP if options.get(key) is not None}
    screen = resolve(adata, given.get("perturbation_key"), control=given.get("control"), tell=False)
    cells = population(
        adata, screen, layer=given.get("layer"), use_rep=given.get("use_rep"), images=True
    )
    if len(cells.rows.cell_shape) > 1:
        msg = (
            f"calibrate=True is for models of features, and {cells.rows.slot} holds images: leave "
            "it out"
        )
        raise ValueError(msg)
    folds, note = folds_of(cells, kind=None, n_folds=None, seed=seed)
    if note:
        msg = f"calibrate=True leaves conditions out of training, and none can be: {note}"
        raise ValueError(msg)
    n_trained = len(folds)
    logger.info("%s: trained %d times more, to learn how far off its answers are", name, n_trained)
    takes_bar = "enable_progress_bar" in signature(model_class(model).train).parameters
    own = {k: v for k, v in options.items() if v is not None and k not in (*SETUP, *OF_THE_LAST)}
    own |= {"enable_progress_bar": False} if takes_bar else {}
    evidence = evidence_of(
        cells,
        [Member(name, own, model=model)],
        folds,
        embedding=None,
        seed=seed,
        finished=Finished(None, resume=False, cells=cells, folds=folds, seed=seed),
        desc=f"{name}: inner folds",
    )
    if evidence.refused:
        msg = f"calibrate=True trains the model on inner folds, and {in_words(evidence.refused)}"
        raise ValueError(msg)
    made = evidence.genes[:, 0].astype(np.float64)
    can = np.isfinite(made).all(axis=1)
    if not can.any():
        msg = (
            f"calibrate=True leaves conditions out of training, and {name} can predict none of "
            f"them, such as {evidence.names[0]!r}: give it vectors with embedding=, or take "
            "another model"
        )
        raise ValueError(msg)
    kinds = np.array(evidence.kind)
    several = {str(kind): np.flatnonzero(can & (kinds == kind)) for kind in dict.fromkeys(kinds)}
    errors = {k: errors_of_kind(evidence, at, made[at]) for k, at in several.items() if len(at)}
    return Calibration(evidence.cell, Measured.of(cells), errors)
