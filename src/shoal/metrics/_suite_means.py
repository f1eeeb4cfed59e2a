"""The default suite of metrics, part one: those computed from means and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ._combination import additive_residual, interaction_auprc
from ._delta import pearson_rows
from ._discrimination import centroid_accuracy, discrimination_score, retrieval_rank
from ._errors import mae, rmse
from ._registry import CELL_EVAL, FEW, SCPERTEVAL, SYSTEMA, Metric, one, rows
from ._sizes import magnitude_error, magnitude_spearman
from ._structure import collapse_index, similarity_structure
from ._weighted import weighted_mse, weighted_r2

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._typing import Floats
    from ._comparison import Populations, Truth
    from ._registry import Scored

INTERACTIONS = 0.05  # share of gene x pair combinations that count as interactions
FLAT = "the predicted or the real shift is the same in all genes"
ALONE = "there is no other condition of the same context to tell it from"
NO_WEIGHT = "no gene has a weight: there is no other condition of the same context"
NO_PAIR = "not a combination of two measured parts, or the prediction is exactly additive"


def _residual(truth: Truth, predicted: Populations) -> Floats:
    a, b = truth.parts
    return additive_residual(
        predicted.means, truth.real.means, a=a, b=b, control=truth.control, mask=truth.mask
    )


def _interactions(truth: Truth, predicted: Populations) -> float:
    a, b = truth.parts
    pairs = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if not truth.mask[pairs].any():
        return float("nan")
    gap = np.abs(truth.real.means - (a + b - truth.control))
    least = float(np.quantile(gap[pairs][truth.mask[pairs]], 1 - INTERACTIONS))
    return interaction_auprc(
        predicted.means,
        truth.real.means,
        a=a,
        b=b,
        control=truth.control,
        threshold=least,
        mask=truth.mask,
    )


def _pds(metric: Literal["l1", "l2", "cosine"]) -> Callable[[Truth, Populations], Scored]:
    """Return the discrimination score of shifts from the real controls."""
    return rows(
        lambda t, g: discrimination_score(
            g.means - t.control,
            t.real.means - t.control,
            metric=metric,
            mask=t.ranked,
            group=t.group,
        )
    )


MEANS = (
    Metric(
        "pearson_delta",
        "response",
        "higher",
        1.0,
        rows(lambda t, g: pearson_rows(g.means, t.real.means, reference=t.control, mask=t.mask)),
        "means",
        FLAT,
        CELL_EVAL,
        correlation=True,
    ),
    Metric(
        "pearson_delta_perturbed",
        "response",
        "higher",
        1.0,
        rows(lambda t, g: pearson_rows(g.means, t.real.means, reference=t.reference, mask=t.mask)),
        "means",
        FLAT,
        SYSTEMA,
        negative="control",
        correlation=True,
    ),
    Metric(
        "cosine_delta",
        "response",
        "higher",
        1.0,
        rows(
            lambda t, g: pearson_rows(
                g.means, t.real.means, reference=t.control, mask=t.mask, centre=False
            )
        ),
        "means",
        "the predicted or the real shift is 0",
        "PerturbBench 2024",
        correlation=True,
    ),
    Metric(
        "weighted_mse",
        "response",
        "lower",
        0.0,
        rows(lambda t, g: weighted_mse(g.means, t.real.means, weights=t.weights)),
        "means",
        NO_WEIGHT,
        "Mejia et al. 2025",
    ),
    Metric(
        "weighted_r2",
        "response",
        "higher",
        1.0,
        rows(
            lambda t, g: weighted_r2(
                g.means, t.real.means, reference=t.reference, weights=t.weights
            )
        ),
        "means",
        NO_WEIGHT,
        "Mejia et al. 2025",
    ),
    Metric(
        "pds_l1",
        "discrimination",
        "higher",
        1.0,
        _pds("l1"),
        "means",
        ALONE,
        CELL_EVAL,
        negative="control",
    ),
    Metric(
        "pds_l2",
        "discrimination",
        "higher",
        1.0,
        _pds("l2"),
        "means",
        ALONE,
        CELL_EVAL,
        negative="control",
    ),
    Metric(
        "pds_cosine",
        "discrimination",
        "higher",
        1.0,
        _pds("cosine"),
        "means",
        ALONE,
        CELL_EVAL,
        negative="control",
    ),
    Metric(
        "nir",
        "discrimination",
        "higher",
        1.0,
        rows(lambda t, g: retrieval_rank(g.means, t.real.means, mask=t.ranked, group=t.group)),
        "means",
        ALONE,
        SCPERTEVAL,
        negative="control",
    ),
    Metric(
        "centroid_accuracy",
        "discrimination",
        "higher",
        1.0,
        rows(lambda t, g: centroid_accuracy(g.means, t.real.means, mask=t.ranked, group=t.group)),
        "means",
        ALONE,
        SYSTEMA,
        negative="control",
    ),
    Metric(
        "similarity_structure",
        "structure",
        "higher",
        1.0,
        rows(
            lambda t, g: similarity_structure(
                g.means, t.real.means, reference=t.control, mask=t.mask, group=t.group
            )
        ),
        "means",
        "fewer than 5 conditions of the same context, or all predicted similarities are equal",
        "shoal, after representational similarity analysis",
        correlation=True,
    ),
    Metric(
        "collapse_index",
        "structure",
        "target",
        1.0,
        one(lambda t, g: collapse_index(g.means, t.real.means, mask=t.mask, group=t.group)),
        "means",
        "the real conditions do not differ",
        "Mejia et al. 2025",
        per="screen",
    ),
    Metric(
        "magnitude_error",
        "structure",
        "target",
        0.0,
        rows(lambda t, g: magnitude_error(g.magnitude, t.real.magnitude)),
        "components",
        FEW,
        "shoal",
        masked=False,
    ),
    Metric(
        "magnitude_spearman",
        "structure",
        "higher",
        1.0,
        one(lambda t, g: magnitude_spearman(g.magnitude, t.real.magnitude)),
        "components",
        "all predicted magnitudes are equal, or fewer than 3 conditions",
        CELL_EVAL,
        per="screen",
        masked=False,
    ),
    Metric(
        "coherence_error",
        "structure",
        "target",
        0.0,
        rows(lambda t, g: g.coherence - t.real.coherence),
        "components",
        FEW,
        "shoal",
        masked=False,
    ),
    Metric(
        "additive_residual",
        "combination",
        "higher",
        1.0,
        rows(_residual),
        "means",
        NO_PAIR,
        "shoal",
    ),
    Metric(
        "interaction_auprc",
        "combination",
        "higher",
        1.0,
        one(_interactions),
        "means",
        NO_PAIR,
        "Ahlmann-Eltze et al. 2025",
        per="screen",
    ),
    Metric(
        "mae",
        "error",
        "lower",
        0.0,
        rows(lambda t, g: mae(g.means, t.real.means, mask=t.mask)),
        "means",
        "",
        "record",
    ),
    Metric(
        "rmse",
        "error",
        "lower",
        0.0,
        rows(lambda t, g: rmse(g.means, t.real.means, mask=t.mask)),
        "means",
        "",
        "record",
    ),
)
