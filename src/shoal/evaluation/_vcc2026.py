"""An evaluation in the manner of the Virtual Cell Challenge 2026."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import logger
from .._validate import is_auto, key_in, listed
from ..core._population import population
from ..core._screen import resolve
from ..metrics._external_vcc2026 import RULES, SUITE, target_values
from ..metrics._external_vcc2026_ends import SPLITS, mean_response, replicate
from ..metrics._external_vcc2026_profiles import Counts, profiles_of
from ..metrics._external_vcc2026_sides import side_of
from ._conditions import caution, seen_by_model
from ._panels import asked, panels
from ._predictions import opened
from ._vcc2026_tables import MEAN, Result, score_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import pandas as pd
    from anndata import AnnData

    from .._typing import Floats
    from ..metrics._external_vcc2026_sides import Side
    from ._panels import Judged


def evaluate_panels(
    adata: AnnData,
    prediction: str | PathLike[str] | AnnData,
    *,
    layer: str | None,
    metrics: Sequence[str] | None,
    baselines: Any,
    split: str | None,
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Score a prediction as the Virtual Cell Challenge 2026 does.

    Parameters
    ----------
    adata
        Screen of counts.
    prediction
        Name of a prediction in `adata`, an AnnData, or a path of one.
    layer
        Layer of the real counts; ``X`` if ``None``.
    metrics
        Names of metrics; all six if ``None``.
    baselines
        ``None`` or ``"auto"``: no baseline is fitted here.
    split
        Value of ``obs["split"]`` whose targets are the panel; ``None`` for all.

    Returns
    -------
    Parameters and tables of ``uns["evaluation"]``.

    Raises
    ------
    KeyError
        If a metric, a column or a gene does not exist.
    ValueError
        If baselines are named, values are no counts, or targets or controls are missing.
    """
    names = _chosen(metrics)
    if not (baselines is None or is_auto(baselines)):
        msg = (
            f"baselines={baselines!r}: suite={SUITE!r} takes whole counts. Predict each "
            "baseline by itself, with sh.tl.predict(adata, model, counts=True), and evaluate it"
        )
        raise ValueError(msg)
    cells = population(adata, resolve(adata), layer=layer)
    with opened(adata, prediction, layer=layer) as given:
        task = asked(cells, given, split=split)
        results = [_judged(one) for one in panels(task)]
    for one in results:
        if one.reason:
            logger.warning("%s", f"{one.context}: {one.reason}" if one.context else one.reason)
    seen = seen_by_model(cells, split, given.recorded_in(adata))
    said = "; ".join(filter(None, (caution(cells, split), seen)))
    if said:
        logger.warning("%s", said)
    tables = tables_of(results, task.conditions, names, transductive=given.transductive)
    score = score_of(results) if set(names) == set(RULES) else float("nan")
    verdict = _verdict(score, tables["summary"])
    logger.info("%s", verdict)
    params = {
        "score": score,
        "score_low": float("nan"),
        "score_high": float("nan"),
        "reference": MEAN,
        "responds": any(bool(one.n_de.any()) for one in results),
        "verdict": verdict,
        "prediction": given.name,
        "transductive": given.transductive,
        "layer": layer,
        "suite": SUITE,
        "split": split,
        "caution": said,
        "skipped": "",
        "n_conditions": len(task.conditions),
        "n_draws": SPLITS,
        "n_comps": 0,
        "min_cells": 0,
        "best_baseline": MEAN,
        "baselines": [],
        "seed": 0,
    }
    return params, tables


def _chosen(metrics: Sequence[str] | None) -> list[str]:
    """Return the names of the metrics; all if none is named."""
    if metrics is None:
        return list(RULES)
    names = list(dict.fromkeys(listed(metrics, name="metrics")))
    for name in names:
        key_in(name, RULES, where=f"the metrics of suite={SUITE!r}")
    if not names:
        msg = f"metrics is empty; name some of {', '.join(RULES)}"
        raise ValueError(msg)
    return names


def _judged(judged: Judged) -> Result:
    """Score the prediction of a context, and both ends of its scale."""
    panel = judged.panel
    counts, control = panel.counts, panel.control
    known = profiles_of(counts, [control])
    real = side_of(counts, panel.members, counts, control, known=known)

    def values_of(side: Side) -> dict[str, Floats]:
        return target_values(side, real, target=panel.target, names=panel.genes)

    made = side_of(Counts(judged.predicted), judged.members, counts, control, known=known)
    values = values_of(made)
    n_de, baseline, reason = real.significant.sum(axis=1), {}, ""
    try:
        cells, rows = mean_response(panel)
        baseline = values_of(side_of(cells, rows, counts, control, known=known))
    except ValueError as err:
        reason = str(err)
    second = replicate(panel, real)
    return Result(judged.context, judged.at, values, baseline, second, n_de, reason)


def _verdict(score: float, summary: pd.DataFrame) -> str:
    """Return one plain sentence."""
    scaled = summary["skill"].to_numpy(float)
    known = scaled[np.isfinite(scaled)]
    found = f"better than the mean response on {(known > 0).sum()} of {len(known)} metrics"
    if not np.isfinite(score):
        return f"no score, because not all six metrics have a scale here; {found}"
    return f"score {score:.3f} (0 the mean response, 1 a replicate of the screen); {found}"
