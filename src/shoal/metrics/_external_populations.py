"""The metrics of Unlasting and of the conditional Monge gap, on populations of cells.

They are the same number for number, where they are not random.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ._cells import densify
from ._comparison import mean_of
from ._distance import energy_distance
from ._errors import rmse
from ._external_means import by_t
from ._marginals import wasserstein_per_gene
from ._mmd import mmd
from ._registry import Metric, Scored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._typing import Floats, Matrix
    from ._comparison import Populations, Truth

    Pair = Callable[[Matrix, Matrix], float]

MARKERS = 50  # number of genes that cmonge looks at
GAMMAS = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)
EPSILON, STEPS, TOLERANCE, EVERY = 0.1, 2_000, 1e-3, 10  # OTT's Sinkhorn and its defaults


def _pairs(function: Pair, n_genes: int | None) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function of predicted and real cells of one condition.

    The function sees the `n_genes` strongest genes of the condition, or all of them.
    """

    def compute(truth: Truth, predicted: Populations) -> Scored:
        values, reasons = np.full(len(truth.names), np.nan), {}
        for i, (cells, real) in enumerate(zip(predicted.cells, truth.cells, strict=True)):
            at = slice(None) if n_genes is None else by_t(truth)[i, :n_genes]
            try:
                values[i] = function(cells[:, at], real[:, at])
            except ValueError as err:
                reasons[i] = str(err)
        return Scored(values, reasons)

    return compute


def _rmse(predicted: Matrix, real: Matrix) -> float:
    return float(rmse(mean_of(predicted)[None], mean_of(real)[None])[0])


def _e_distance(predicted: Matrix, real: Matrix) -> float:
    """Return the root of the unbiased energy distance; 0 where the distance is below 0."""
    return float(np.sqrt(max(energy_distance(densify(predicted), densify(real)), 0.0)))


def _e_distance_paper(predicted: Matrix, real: Matrix) -> float:
    """Return the energy distance as the paper writes it: biased, and without a root."""
    return energy_distance(densify(predicted), densify(real), biased=True)


def _emd(predicted: Matrix, real: Matrix) -> float:
    return float(wasserstein_per_gene(predicted, real).mean())


def _mmd(predicted: Matrix, real: Matrix) -> float:
    widths = [float(np.sqrt(0.5 / gamma)) for gamma in GAMMAS]
    return mmd(densify(predicted), densify(real), bandwidth=widths, biased=True)


def _signature(predicted: Matrix, real: Matrix) -> float:
    return float(np.linalg.norm(mean_of(predicted) - mean_of(real)))


def _r2(predicted: Matrix, real: Matrix) -> float:
    means = mean_of(predicted), mean_of(real)
    return (
        float(np.corrcoef(*means)[0, 1] ** 2) if all(np.ptp(mean) > 0 for mean in means) else np.nan
    )


def _wasserstein(predicted: Matrix, real: Matrix) -> float:
    return entropic_cost(densify(predicted), densify(real))


def _divergence(predicted: Matrix, real: Matrix) -> float:
    x, y = densify(predicted), densify(real)
    return entropic_cost(x, y) - (entropic_cost(x, x) + entropic_cost(y, y)) / 2


def entropic_cost(x: Floats, y: Floats, *, epsilon: float = EPSILON) -> float:
    """Entropic optimal transport at Euclidean cost, as OTT stops and reports it.

    The value is the cost of the plan plus `epsilon` times its relative entropy. Potentials are
    updated in turn for up to 2,000 steps. Every 10 steps the marginals of the plan are checked, and
    the iteration stops when they are off by less than 1e-3 in all.
    """
    from scipy.spatial.distance import cdist

    cost = cdist(x, y) / epsilon
    f, g = np.zeros(len(x)), np.zeros(len(y))
    for step in range(STEPS):
        updated = -_soft_max(g - cost)
        if step % EVERY == 0 and step and np.mean(np.abs(np.expm1(f - updated))) < TOLERANCE:
            break
        f = updated
        g = -_soft_max((f[:, None] - cost).T)
    return float(epsilon * (f.mean() + g.mean()))


def _soft_max(values: Floats) -> Floats:
    """Return the logarithm of the mean exponential of every row."""
    top = values.max(axis=1)
    return np.asarray(top + np.log(np.exp(values - top[:, None]).mean(axis=1)))


def _metric(
    name: str, perfect: float, function: Pair, n_genes: int | None, reference: str
) -> Metric:
    return Metric(
        name,
        "population",
        "higher" if perfect else "lower",
        perfect,
        _pairs(function, n_genes),
        "cells",
        "too few cells, or means that are the same in all genes",
        reference,
        masked=False,
    )


UNLASTING: Mapping[str, Metric] = MappingProxyType(
    {
        f"{name}_{which}" if which else name: _metric(
            f"{name}_{which}" if which else name, 0, function, n_genes, "Unlasting 2025"
        )
        for name, function in (
            ("RMSE", _rmse),
            ("E_distance", _e_distance),
            ("E_distance_paper", _e_distance_paper),
            ("EMD", _emd),
        )
        for which, n_genes in (("", None), ("DE20", 20), ("DE40", 40))
    }
)

CMONGE: Mapping[str, Metric] = MappingProxyType(
    {
        name: _metric(name, perfect, function, MARKERS, "conditional Monge gap (cmonge)")
        for name, perfect, function in (
            ("wasserstein", 0, _wasserstein),
            ("mmd", 0, _mmd),
            ("sinkhorn_div", 0, _divergence),
            ("drug_signature", 0, _signature),
            ("r2", 1, _r2),
        )
    }
)
