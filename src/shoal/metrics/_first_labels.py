"""The first labels: whether the label of a query is among those nearest to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._threads import one_thread
from .._validate import one_of
from ._arguments import arrays
from ._candidates import blocks, check_lengths, same_kind, same_width
from ._mean_ranks import DISTANCES
from ._texts import documented

if TYPE_CHECKING:
    from .._typing import Floats, Ints
    from ._discrimination import Metric


@arrays
@one_thread()
@documented
def top_k_accuracy(
    query: Floats,
    reference: Floats,
    *,
    query_label: Ints,
    reference_label: Ints,
    k: int = 1,
    query_unit: Ints | None = None,
    reference_unit: Ints | None = None,
    metric: Metric = "cosine",
) -> Floats:
    """Whether the label of a query is among the k labels that are nearest to it.

    Labels are ranked by their nearest reference profile. Chance is k divided by the number of
    labels. Where labels are equally near, the value is the share of their orders in which the right
    one is among the first k.

    Parameters
    ----------
    query
        (n, d) profiles, such as those of a new cell line.
    reference
        (m, d) profiles whose labels are known, or one mean per label.
    query_label, reference_label
        (n,) and (m,) perturbations, as numbers or names.
    k
        How many labels count.
    query_unit, reference_unit
        (n,) and (m,) unit of each profile, such as its well. A reference of the query's own unit is
        left out. Where the references are the queries themselves, number the profiles.
    metric
        As for :func:`shoal.metrics.average_precision`.

    Returns
    -------
    (n,) values from 0 to 1. NaN where no reference has the label of the query.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, only one of the units is given, or an option
        is not known.

    Examples
    --------
    >>> import numpy as np, shoal as sh
    >>> means = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> query = np.array([[0.9, 0.2], [0.9, 0.2]])
    >>> label = {"query_label": ["a", "b"], "reference_label": ["a", "b", "c"]}
    >>> sh.metrics.top_k_accuracy(query, means, **label)
    array([1., 0.])
    >>> sh.metrics.top_k_accuracy(query, means, **label, k=2)
    array([1., 1.])
    """
    one_of(metric, tuple(DISTANCES), name="metric")
    if (query_unit is None) != (reference_unit is None):
        msg = "query_unit and reference_unit go together: give both, or none"
        raise ValueError(msg)
    check_lengths(query, {"query_label": query_label, "query_unit": query_unit}, "query")
    of_reference = {"reference_label": reference_label, "reference_unit": reference_unit}
    check_lengths(reference, of_reference, "reference")
    same_width(query, reference)
    same_kind(query_label, reference_label, ("query_label", "reference_label"))
    if query_unit is not None and reference_unit is not None:
        same_kind(query_unit, reference_unit, ("query_unit", "reference_unit"))
    names, code = np.unique(reference_label, return_inverse=True)
    position = {name: i for i, name in enumerate(names.tolist())}
    own = np.array([position.get(name, -1) for name in query_label.tolist()])
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(len(names)))
    found = np.full(len(query), np.nan)
    for rows, distance, rounding in blocks(query, reference, metric):
        if query_unit is not None and reference_unit is not None:
            distance[query_unit[rows][:, None] == reference_unit[None, :]] = np.inf
        nearest = np.minimum.reduceat(distance[:, order], starts, axis=1)
        slack = np.max(rounding, axis=1, keepdims=True)
        mine = np.take_along_axis(nearest, np.maximum(own[rows], 0)[:, None], axis=1)
        with np.errstate(invalid="ignore"):  # inf - inf, of labels without a reference
            gap = nearest - mine
        before = (gap < -slack).sum(axis=1)
        tied = (np.abs(gap) <= slack).sum(axis=1)  # the own label among them
        share = np.clip((k - before) / np.maximum(tied, 1), 0, 1)
        found[rows] = np.where((own[rows] >= 0) & np.isfinite(mine[:, 0]), share, np.nan)
    return found
