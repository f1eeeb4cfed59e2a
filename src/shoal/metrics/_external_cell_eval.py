"""The metrics of cell-eval 0.8, number for number; the user guide lists their oddities.

Effects of a prediction are measured from the predicted control cells. Differential expression is
that of pdex (:mod:`shoal.metrics._external_pdex`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np

from ._delta import pearson_rows
from ._discrimination import Metric as Distance
from ._discrimination import discrimination_score
from ._energies import energies
from ._errors import mae, mse
from ._external_pdex import ALPHA, tested
from ._lists import average_precision, ranks, roc_area
from ._means import members
from ._registry import Metric, Scored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._typing import Bools, Floats, Ints
    from ._comparison import Populations, Truth

    Compute = Callable[[Truth, Populations], Scored]
    Direction = Literal["higher", "lower", "target"]

LENGTHS = (None, 50, 100, 200, 500)
SOURCE = "cell-eval 0.8.2"


_ENERGY: WeakKeyDictionary[Populations, Floats] = WeakKeyDictionary()


def baseline_scaled(user: Mapping[str, float], base: Mapping[str, float]) -> float:
    """Return cell-eval's score: the mean share of the way from the baseline to perfect.

    A share below 0 counts as 0, and so does a missing one.
    """
    values, zero, perfect = (np.array([of[name] for name in VCC]) for of in (user, base, _PERFECT))
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = (values - zero) / (perfect - zero)
    return float(np.maximum(np.where(np.isnan(parts), 0.0, parts), 0.0).mean())


def _energy(predicted: Populations) -> Floats:
    """Return (P,) biased energy distances of all genes to the controls, computed once."""
    if predicted not in _ENERGY:
        _ENERGY[predicted] = energies(
            predicted.cells, predicted.effect_controls, predicted.truth.group, biased=True
        )
    return _ENERGY[predicted]


# -- from tables to values ------------------------------------------------------------------------


def _means(function: Callable[[Floats, Floats], Floats]) -> Compute:
    return lambda truth, predicted: Scored(function(predicted.means, truth.real.means))


def _effects(function: Callable[[Truth, Floats, Floats], Floats]) -> Compute:
    """Wrap a function of predicted effects (from predicted controls) and real effects."""

    def compute(truth: Truth, predicted: Populations) -> Scored:
        return Scored(
            function(
                truth, predicted.means - predicted.effect_control, truth.real.means - truth.control
            )
        )

    return compute


def _genes(function: Callable[[Floats, Floats, Floats, Floats], float]) -> Compute:
    """Wrap a function of one condition: real FDR and fold change, predicted FDR and fold change."""

    def compute(truth: Truth, predicted: Populations) -> Scored:
        real, of_predicted = tested(truth.real), tested(predicted)
        return Scored(
            np.array(
                [
                    function(*row)
                    for row in zip(
                        real.fdr, real.lfc, of_predicted.fdr, of_predicted.lfc, strict=True
                    )
                ]
            )
        )

    return compute


def _copied(function: Callable[[Truth, Populations, Ints], float]) -> Compute:
    """Wrap a function of a whole context: each of its conditions gets that one number."""

    def compute(truth: Truth, predicted: Populations) -> Scored:
        values = np.full(len(truth.names), np.nan)
        for rows in members(truth.group, len(values)):
            values[rows] = function(truth, predicted, rows)
        return Scored(values)

    return compute


def _pds(metric: Distance) -> Compute:
    return _effects(
        lambda t, predicted, real: discrimination_score(
            predicted, real, metric=metric, mask=t.mask, group=t.group, ties="order"
        )
    )


def _overlap(k: int | None, *, of_predicted: bool) -> Compute:
    def share(real: Ints, predicted_genes: Ints) -> float:
        n = len(predicted_genes if of_predicted else real)
        n = n if k is None else min(k, n)
        return (
            len(np.intersect1d(real[:n], predicted_genes[:n], assume_unique=True)) / n if n else 0.0
        )

    def compute(truth: Truth, predicted: Populations) -> Scored:
        pairs = zip(tested(truth.real).strongest, tested(predicted).strongest, strict=True)
        return Scored(np.array([share(*pair) for pair in pairs]))

    return compute


def _direction(real_fdr: Floats, real_lfc: Floats, fdr: Floats, lfc: Floats) -> float:
    hit = real_fdr < ALPHA
    return float(np.mean(np.sign(real_lfc[hit]) == np.sign(lfc[hit]))) if hit.any() else np.nan


def _lfc_spearman(real_fdr: Floats, real_lfc: Floats, fdr: Floats, lfc: Floats) -> float:
    hit = real_fdr < ALPHA
    return _correlation(*ranks(np.array([real_lfc[hit], lfc[hit]])))


def _recall(real_fdr: Floats, real_lfc: Floats, fdr: Floats, lfc: Floats) -> float:
    hit = real_fdr < ALPHA
    return float(np.mean(fdr[hit] < ALPHA)) if hit.any() else np.nan


def _area(area: Callable[[Floats, Bools], float]) -> Compute:
    """Wrap an area under a curve.

    Labels are the real hits; the score is -log10 of the predicted FDR, at most 10.
    """
    return _genes(
        lambda real_fdr, real_lfc, fdr, lfc: area(
            -np.log10(np.clip(fdr, np.float32(1e-10), 1)), real_fdr < ALPHA
        )
    )


def _n_spearman(truth: Truth, predicted: Populations, rows: Ints) -> float:
    """Correlate the numbers of hits over the conditions that have a real one; 1 if none has."""
    of_real, of_predicted = (
        (tested(one).fdr[rows] < ALPHA).sum(axis=1) for one in (truth.real, predicted)
    )
    kept = of_real > 0
    return (
        _correlation(*ranks(np.array([of_real[kept], of_predicted[kept]]))) if kept.any() else 1.0
    )


def _energies(truth: Truth, predicted: Populations, rows: Ints) -> float:
    return _correlation(_energy(truth.real)[rows], _energy(predicted)[rows])


def _correlation(a: Floats, b: Floats) -> float:
    """Return Pearson's correlation; NaN for fewer than 2 values or a constant side."""
    return (
        float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan
    )


# -- the registry ------------------------------------------------------------------------

FLAT, ALONE = (
    "an effect is the same in all genes",
    "there is no other condition of the same context",
)
NO_HIT, SAME = (
    "no gene of the real cells is significant, or all are",
    "all conditions are alike on one side",
)


def _metric(
    name: str, family: str, perfect: float, compute: Compute, needs: str, undefined: str = ""
) -> Metric:
    direction: Direction = "higher" if perfect == 1 else "lower" if perfect == 0 else "target"
    masked = family == "discrimination"
    return Metric(
        name, family, direction, perfect, compute, needs, undefined, SOURCE, masked=masked
    )


_ALL = (
    _metric(
        "pearson_delta",
        "response",
        1,
        _effects(lambda t, a, b: pearson_rows(a, b, reference=0 * b)),
        "means",
        FLAT,
    ),
    _metric("mse", "error", 0, _means(mse), "means"),
    _metric("mae", "error", 0, _means(mae), "means"),
    _metric("mse_delta", "error", 0, _effects(lambda t, a, b: mse(a, b)), "means"),
    _metric("mae_delta", "error", 0, _effects(lambda t, a, b: mae(a, b)), "means"),
    *(
        _metric(f"discrimination_score_{kind}", "discrimination", 1, _pds(kind), "means", ALONE)
        for kind in get_args(Distance)
    ),
    _metric("pearson_edistance", "structure", 1, _copied(_energies), "cells", SAME),
    *(
        _metric(
            f"{kind}_at_{k or 'N'}",
            "genes",
            1,
            _overlap(k, of_predicted=kind == "precision"),
            "genes",
        )
        for kind in ("overlap", "precision")
        for k in LENGTHS
    ),
    _metric("de_spearman_sig", "genes", 1, _copied(_n_spearman), "genes", SAME),
    _metric("de_direction_match", "genes", 1, _genes(_direction), "genes", NO_HIT),
    _metric("de_spearman_lfc_sig", "genes", 1, _genes(_lfc_spearman), "genes", NO_HIT),
    _metric("de_sig_genes_recall", "genes", 1, _genes(_recall), "genes", NO_HIT),
    _metric(
        "de_nsig_counts_real",
        "genes",
        np.nan,
        _genes(lambda a, b, c, d: float((a < ALPHA).sum())),
        "genes",
    ),
    _metric(
        "de_nsig_counts_pred",
        "genes",
        np.nan,
        _genes(lambda a, b, c, d: float((c < ALPHA).sum())),
        "genes",
    ),
    _metric("pr_auc", "genes", 1, _area(average_precision), "genes", NO_HIT),
    _metric("roc_auc", "genes", 1, _area(roc_area), "genes", NO_HIT),
)

CELL_EVAL: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
VCC: Mapping[str, Metric] = MappingProxyType(
    {name: CELL_EVAL[name] for name in ("mae", "discrimination_score_l1", "overlap_at_N")}
)
_PERFECT = {name: metric.perfect for name, metric in VCC.items()}
