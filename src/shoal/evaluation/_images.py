"""The evaluation of predicted images: tables and one sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._contenders import score_in_words
from .._logging import logger
from .._random import as_generator
from .._validate import key_in, whole
from ..core._image_reading import crops
from ._conditions import caution, seen_by_model
from ._image_contenders import COPY, SECOND, measure_contenders
from ._image_scores import METRICS, feature_medians, image_scores, image_values
from ._image_task import image_task

if TYPE_CHECKING:
    from anndata import AnnData

    from .._random import RNGLike
    from ..core._screen import Screen
    from ._image_contenders import Features

CLEAR = 0.05  # of a score below 0, before it is called worse than a copy
LEAST = 8  # cells of a condition: halves of 4, which are cut in two again


@dataclass(frozen=True)
class ImageSettings:
    """The arguments of an evaluation of images, see :func:`shoal.tl.evaluate_images`."""

    use_rep: str
    nucleus: str | None
    features: Features | None
    split: str | None
    min_cells: int
    max_cells: int
    n_draws: int


def evaluate_images(
    adata: AnnData, screen: Screen, prediction: str, settings: ImageSettings, *, rng: RNGLike
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Judge predicted images.

    Returns
    -------
    params
        Settings, score and verdict.
    tables
        ``table``, ``contenders``, ``values``, ``features`` and ``missing``.

    Raises
    ------
    KeyError, TypeError, ValueError
        See :func:`shoal.tl.evaluate_images`.
    """
    settings = replace(
        settings,
        min_cells=whole(settings.min_cells, name="min_cells", least=LEAST),
        max_cells=whole(settings.max_cells, name="max_cells", least=LEAST),
        n_draws=whole(settings.n_draws, name="n_draws"),
    )
    if settings.features is not None and not callable(settings.features):
        msg = (
            "features must be a function that turns (n, C, H, W) images into (n, d) numbers, not "
            f"{settings.features!r}"
        )
        raise TypeError(msg)
    seed = int(as_generator(rng).integers(2**31))
    if settings.nucleus is not None:
        channels = crops(adata, settings.use_rep).scale.channels
        key_in(settings.nucleus, channels, where="the channels")
    task = image_task(
        adata,
        screen,
        use_rep=settings.use_rep,
        prediction=prediction,
        split=settings.split,
        min_cells=settings.min_cells,
        max_cells=settings.max_cells,
        n_draws=settings.n_draws,
        seed=seed,
    )
    measured = measure_contenders(
        task, prediction, nucleus=settings.nucleus, features=settings.features
    )
    values, pooled = image_values(task, measured)
    contenders = image_scores(values, pooled, seed=seed)
    cautions = (
        caution(task.cells, settings.split),
        seen_by_model(task.cells, settings.split, (adata, prediction)),
    )
    if cautions[1]:
        logger.warning("%s", cautions[1])
    own = values[values["contender"] == prediction].set_index("condition")
    tables = {
        "table": own[list(METRICS)],
        "contenders": contenders,
        "values": values,
        "features": feature_medians(task, measured, prediction),
        "missing": pd.DataFrame(
            {"condition": list(task.skipped), "why": list(task.skipped.values())}
        ),
    }
    params = {
        **screen.params(),
        "prediction": prediction,
        "use_rep": settings.use_rep,
        "nucleus": settings.nucleus,
        "features": "named" if settings.features is None else "given",
        "split": settings.split,
        "n_draws": settings.n_draws,
        "n_conditions": len(task.names),
        "score": _column(contenders, "score")[prediction],
        "caution": "; ".join(filter(None, cautions)),
        "verdict": _verdict(contenders, prediction, len(task.names)),
    }
    return params, tables


def _verdict(contenders: pd.DataFrame, prediction: str, n: int) -> str:
    """Return what came out, in one sentence or two."""
    scores = _column(contenders, "score")
    score = scores[prediction]
    if not np.isfinite(score):
        return (
            f"{prediction!r} cannot be scored: in no metric is a second experiment nearer to the "
            f"real images than a copy of the controls, over {n} conditions"
        )
    baselines = {name: s for name, s in scores.items() if name not in (prediction, SECOND)}
    ends = (_column(contenders, name)[prediction] for name in ("score_low", "score_high"))
    best = max(baselines, key=lambda name: baselines[name])
    own = {metric: _column(contenders, f"{metric}_score")[prediction] for metric in METRICS}
    text = (
        f"{prediction!r} scores {score_in_words(score, *ends)} over {n} conditions, where a copy "
        "of the controls is 0 and a second experiment 1"
    )
    if best != COPY:
        text += f"; {best} scores {baselines[best]:.2f}"
    if score <= baselines[best]:
        text += ": the prediction is no better than that baseline"
    less = [metric for metric, s in own.items() if s < -CLEAR]
    if less and score > 0:
        text += f". It is worse than a copy in {', '.join(less)}"
    unclear = [metric for metric, s in own.items() if np.isnan(s)]
    if unclear:
        text += f". {', '.join(unclear)} cannot tell a second experiment from a copy"
    return text


def _column(table: pd.DataFrame, name: str) -> dict[str, float]:
    """Return a column as numbers by the names of its rows."""
    return {str(row): float(value) for row, value in zip(table.index, table[name], strict=True)}
