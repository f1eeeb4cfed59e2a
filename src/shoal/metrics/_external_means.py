"""The metrics of Systema and PerturBench on mean cells, number for number."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from ._comparison import _squares, len_of, mean_of
from ._delta import pearson_rows
from ._discrimination import rank_score
from ._errors import rmse
from ._means import members
from ._registry import Metric, Scored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._typing import Floats, Ints, Matrix
    from ._comparison import Populations, Truth

    Compute = Callable[[Truth, Populations], Scored]

PSEUDOCOUNT = 0.1  # of PerturBench
DE = 20  # number of genes in the second correlation of Systema

_ORDER: WeakKeyDictionary[Truth, Ints] = WeakKeyDictionary()


def by_t(truth: Truth) -> Ints:
    """Return (P, G) genes by falling absolute t of the real cells against their controls.

    It is Welch's t, by which scanpy ranks genes and several packages choose them.
    """
    if truth not in _ORDER:
        real, control = (
            [_moments(cells) for cells in several] for several in (truth.cells, truth.controls)
        )
        t = np.stack([_welch(*real[i], *control[at]) for i, at in enumerate(truth.group)])
        _ORDER[truth] = np.argsort(-np.abs(t), axis=1, kind="stable")
    return _ORDER[truth]


def _moments(cells: Matrix) -> tuple[Floats, Floats]:
    """Return the mean of every gene and its squared standard error."""
    n, mean = len_of(cells), mean_of(cells)
    spread = np.maximum(_squares(cells) - n * mean**2, 0.0)
    return mean, spread / (n * max(n - 1, 1))


def _welch(mean: Floats, error: Floats, control: Floats, control_error: Floats) -> Floats:
    both = np.sqrt(error + control_error)
    return np.divide(mean - control, both, out=np.zeros_like(mean), where=both > 0)


# -- Systema ------------------------------------------------------------------------


def _pearson_de(truth: Truth, predicted: Populations) -> Scored:
    """Correlate over the 20 strongest genes that did not drop out.

    A gene dropped out if controls express it and no perturbed cell does.
    """
    keep = np.zeros(truth.mask.shape, dtype=bool)
    dropped = (truth.real.means == 0) & (truth.control != 0)
    for row, genes in enumerate(by_t(truth)):
        keep[row, genes[~dropped[row, genes]][:DE]] = True
    return Scored(
        pearson_rows(predicted.means, truth.real.means, reference=truth.reference, mask=keep)
    )


def _accuracy(truth: Truth, predicted: Populations) -> Scored:
    """Return the share of real means that are farther than the matching one. A tie counts as 0."""
    from scipy.spatial.distance import cdist

    values = np.full(len(truth.names), np.nan)
    for rows in members(truth.group, len(values)):
        distance = cdist(predicted.means[rows], truth.real.means[rows])
        if len(rows) > 1:
            values[rows] = (distance > np.diag(distance)[:, None]).sum(axis=1) / (len(rows) - 1)
    return Scored(values)


# -- PerturBench ------------------------------------------------------------------------


def _lfc(function: Callable[[Truth, Floats, Floats], Floats]) -> Compute:
    """Wrap a function of predicted and real log fold changes, each from its own controls."""

    def compute(truth: Truth, predicted: Populations) -> Scored:
        both = [
            _log(populations.means) - _log(populations.effect_control)
            for populations in (predicted, truth.real)
        ]
        return Scored(function(truth, *both))

    return compute


def _log(means: Floats) -> Floats:
    """Return log2 of a mean of log-normalised cells: a second logarithm, as in PerturBench."""
    return np.asarray(np.log2(np.maximum(means, 0) + PSEUDOCOUNT))


# -- the registries ------------------------------------------------------------------------

FLAT, ALONE = "a shift is the same in all genes", "there is no other condition of the same context"


def _metric(
    name: str, family: str, perfect: float, compute: Compute, undefined: str, reference: str
) -> Metric:
    return Metric(
        name,
        family,
        "higher" if perfect else "lower",
        perfect,
        compute,
        "means",
        undefined,
        reference,
        masked=False,
    )


def _named(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


_OF_SYSTEMA, _OF_PERTURBENCH = "Viñas Torné et al. 2025 (Systema)", "Wu et al. 2024 (PerturBench)"

SYSTEMA: Mapping[str, Metric] = _named(
    _metric(
        "corr_all_allpert",
        "response",
        1,
        lambda t, g: Scored(pearson_rows(g.means, t.real.means, reference=t.reference)),
        FLAT,
        _OF_SYSTEMA,
    ),
    _metric("corr_20de_allpert", "response", 1, _pearson_de, FLAT, _OF_SYSTEMA),
    _metric("centroid_accuracy", "discrimination", 1, _accuracy, ALONE, _OF_SYSTEMA),
)

PERTURBENCH: Mapping[str, Metric] = _named(
    _metric(
        "rmse_average",
        "error",
        0,
        lambda t, g: Scored(rmse(g.means, t.real.means)),
        "",
        _OF_PERTURBENCH,
    ),
    _metric(
        "rmse_rank_average",
        "discrimination",
        0,
        lambda t, g: Scored(rank_score(g.means, t.real.means, group=t.group)),
        ALONE,
        _OF_PERTURBENCH,
    ),
    _metric(
        "cosine_logfc",
        "response",
        1,
        _lfc(lambda t, a, b: pearson_rows(a, b, reference=0 * b, centre=False)),
        "a fold change is 0 in all genes",
        _OF_PERTURBENCH,
    ),
    _metric(
        "cosine_rank_logfc",
        "discrimination",
        0,
        _lfc(lambda t, a, b: rank_score(a, b, metric="cosine", group=t.group)),
        ALONE,
        _OF_PERTURBENCH,
    ),
)
