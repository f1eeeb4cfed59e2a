"""Metrics of retrieval: whether real cells find their perturbation by what is predicted for it.

Conditions of one context are candidates of one another. A profile is the shift of a cell, or of a
predicted mean, from the real controls of the context. It is seen in the principal components of
training cells, without any target of the perturbations that are compared (`Truth.ranked`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._comparison import project
from ._first_labels import top_k_accuracy
from ._means import members, shifts
from ._registry import Metric, Scored
from ._retrieval import retrieval_precision
from ._suite_means import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._typing import Floats, Ints
    from ._comparison import Populations, Truth

TARGETS = (
    "the targets of all perturbations that are compared leave too few genes, and a target gives "
    "its perturbation away"
)


@dataclass(frozen=True)
class Profiles:
    """Profiles of the N conditions of one context.

    Attributes
    ----------
    predicted
        (N, k) predicted mean shifts.
    real
        (n, k) shifts of real cells.
    label
        (n,) condition of each real cell, from 0 to N - 1.
    """

    predicted: Floats
    real: Floats
    label: Ints


def top(k: int) -> Callable[[Profiles], Floats]:
    """Return what gives the share of real cells with the own prediction among the k nearest."""

    def share(own: Profiles) -> Floats:
        n = len(own.predicted)
        found = top_k_accuracy(
            own.real,
            own.predicted,
            query_label=own.label,
            reference_label=np.arange(n),
            k=k,
        )
        return np.bincount(own.label, weights=found, minlength=n) / np.bincount(own.label)

    return share


def precision(own: Profiles) -> Floats:
    """Return how early each predicted mean finds the real cells of its condition; 0 at chance."""
    return retrieval_precision(
        own.predicted,
        own.real,
        query_label=np.arange(len(own.predicted)),
        reference_label=own.label,
    ).normalised


def retrieved(
    function: Callable[[Profiles], Floats], *, more_than: int
) -> Callable[[Truth, Populations], Scored]:
    """Wrap a function of the profiles of a context with more than some number of conditions."""

    def compute(truth: Truth, predicted: Populations) -> Scored:
        values = np.full(len(truth.names), np.nan)
        reasons: dict[int, str] = {}
        for rows, own in _contexts(truth, predicted, more_than=more_than):
            if own is None:
                reasons |= dict.fromkeys(rows.tolist(), TARGETS)
            else:
                values[rows] = function(own)
        return Scored(values, reasons)

    return compute


def _contexts(
    truth: Truth, predicted: Populations, *, more_than: int
) -> Iterator[tuple[Ints, Profiles | None]]:
    """Yield the conditions of each context, and their profiles; ``None`` without genes for them."""
    for rows in members(truth.group, len(truth.names)):
        if len(rows) <= more_than:
            continue
        genes = truth.ranked[rows[0]]
        if not (truth.ranked[rows] == genes).all():
            yield rows, None
            continue
        axes = truth.axes * genes[:, None]
        cells = [project(truth.cells[int(row)], axes) for row in rows]
        control = truth.control[rows]
        yield (
            rows,
            Profiles(
                predicted=shifts(predicted.means[rows], control, genes) @ truth.axes,
                real=np.concatenate(cells) - control[0] @ axes,
                label=np.repeat(np.arange(len(rows)), [len(own) for own in cells]),
            ),
        )


def _metric(
    name: str, function: Callable[[Profiles], Floats], reference: str, *, k: int = 1
) -> Metric:
    """Return a metric of conditions of which there are more than `k` in a context."""
    return Metric(
        name,
        "discrimination",
        "higher",
        1.0,
        retrieved(function, more_than=k),
        "components",
        ALONE if k == 1 else f"of up to {k} conditions of a context, all are among the first {k}",
        reference,
        negative="control",
        on_request=True,
    )


RETRIEVAL = (
    _metric("retrieval_top1", top(1), "Chen et al. 2025"),
    _metric("retrieval_top5", top(5), "Chen et al. 2025", k=5),
    _metric("retrieval_map", precision, "Kalinin et al. 2025 (copairs 0.5)"),
)
