"""Distances between grouped cells and their permutation tests, stratum by stratum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .._logging import progress
from .._settings import settings
from .._threads import each
from ..metrics._mmd import median_bandwidth
from ..metrics._pairs import Points, centre_of, euclidean, gaussian, group_sums
from ..metrics._permutation import draw, n_reached
from ..metrics._reference import PairReference, SquaredReference, from_means, from_sums, noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints, Matrix
    from ..core._grouped_cells import GroupedCells
    from ..metrics._pairs import Link
    from ..metrics._permutation import Exchange, Relabelling

CHUNK = 1000  # relabellings drawn at once; fixed, so that results do not depend on memory settings


class Reference(Protocol):
    """Control cells, ready to be compared with populations."""

    def compare(self, values: Matrix, exchange: Exchange | None = None) -> tuple[float, Floats]:
        """Return the distance of `values` and the distances after each exchange of labels."""


@dataclass(frozen=True)
class Metric:
    """What is measured between two populations.

    Attributes
    ----------
    link
        Function h of the squared distance, or ``None`` if h is the squared distance itself.
    at_zero
        h(0).
    biased
        Whether V-statistics are meant.
    """

    link: Link | None = None
    at_zero: float = 0.0
    biased: bool = False

    @property
    def least(self) -> int:
        """Fewest cells a population needs."""
        return 1 if self.biased else 2

    def reference(self, control: Matrix, relabelling: Relabelling | None) -> Reference:
        """Prepare control cells for comparisons."""
        if self.link is None:
            return SquaredReference(control, biased=self.biased, block_bytes=settings.block_bytes)
        return PairReference(
            control,
            self.link,
            at_zero=self.at_zero,
            biased=self.biased,
            relabelling=relabelling,
            block_bytes=settings.block_bytes,
        )


def make_metric(
    name: str, cells: GroupedCells, *, biased: bool, bandwidth: Sequence[float] | None
) -> Metric:
    """Return the metric of this name; without `bandwidth` the controls give the kernel width."""
    if name == "mmd":
        link = gaussian(control_bandwidth(cells) if bandwidth is None else bandwidth)
        return Metric(link, at_zero=-1.0, biased=biased)
    return Metric(euclidean if name == "energy" else None, biased=biased)


def control_bandwidth(cells: GroupedCells) -> list[float]:
    """Return the median distance between controls of all strata."""
    index = np.sort(np.concatenate([groups[-1] for groups in cells.members]))
    return [median_bandwidth(cells.rows.take(index))]


def to_control(cells: GroupedCells, metric: Metric) -> Floats:
    """Return (G,) distances to the controls, NaN where no stratum has enough cells."""
    if metric.link is not None:
        return _compare(cells, metric, 0, np.random.default_rng(0))[0]
    n = cells.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = cells.sums / n[:, :, None]
    noises = np.zeros(n.shape) if metric.biased else noise(cells.sums, cells.squares, n)
    values = from_means(mean[:, :-1], mean[:, -1:], noises[:, :-1], noises[:, -1:])
    return _average(values, cells.control_weights(metric.least))


def permute(
    cells: GroupedCells, metric: Metric, n_perms: int, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    """Return (G,) distances, and how many of `n_perms` relabellings within strata reach them."""
    reached = np.zeros(cells.counts.shape[1] - 1, dtype=np.int64)
    observed = np.full(len(reached), np.nan)
    for start in range(0, n_perms, CHUNK):
        observed, null = _compare(cells, metric, min(CHUNK, n_perms - start), rng)
        reached += n_reached(null, observed)
    return observed, reached


def between_all(cells: GroupedCells, metric: Metric) -> Floats:
    """Return (G + 1, G + 1) distances between all populations, the controls last."""
    size = cells.counts.shape[1]
    total, weight = np.zeros((size, size)), np.zeros((size, size))
    for s, n in enumerate(cells.counts):
        present = np.flatnonzero(n >= metric.least)
        if len(present) == 0:
            continue
        at = np.ix_(present, present)
        h = cells.weights(n[present, None], n[present], metric.least)
        values = (_means_between if metric.link is None else _pairs_between)(
            cells, s, present, metric
        )
        total[at] += h * values
        weight[at] += h
    total[weight == 0], weight[weight == 0] = np.nan, 1.0
    distances = total / weight
    np.fill_diagonal(distances, np.where(np.isnan(np.diag(distances)), np.nan, 0.0))
    return distances


def _compare(
    cells: GroupedCells, metric: Metric, n_perms: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Compare each perturbation with the controls.

    Returns (G,) distances, and (G, n_perms) distances after each permutation of labels.
    """
    weights = cells.control_weights(metric.least)
    observed, null = np.zeros(weights.shape[1]), np.zeros((weights.shape[1], n_perms))
    for s, h in enumerate(weights):
        groups = np.flatnonzero(h > 0)
        if len(groups) == 0:
            continue
        n, m = cells.counts[s, groups], int(cells.counts[s, -1])
        relabelling = draw(n, m, n_perms, rng) if n_perms else None
        reference = metric.reference(cells.cells(s, -1), relabelling)
        compared = each(
            partial(_compare_one, cells, s, groups, reference, relabelling), range(len(groups))
        )
        for g, (value, relabelled) in zip(
            groups, progress(compared, total=len(groups), desc="distance to control"), strict=True
        ):
            observed[g] += h[g] * value
            null[g] += h[g] * relabelled if n_perms else 0.0
    total = weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, observed / total, np.nan), null / np.where(
            total > 0, total, 1.0
        )[:, None]


def _compare_one(
    cells: GroupedCells,
    stratum: int,
    groups: Ints,
    reference: Reference,
    relabelling: Relabelling | None,
    i: int,
) -> tuple[float, Floats]:
    """Compare one population with the controls of its stratum."""
    exchange = relabelling.of(i) if relabelling is not None else None
    return reference.compare(cells.cells(stratum, groups[i]), exchange)


def _average(values: Floats, weights: Floats) -> Floats:
    """Return weighted means over the first axis; NaN where all weights are 0."""
    total = weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            total > 0, (np.where(weights > 0, values, 0.0) * weights).sum(axis=0) / total, np.nan
        )


def _means_between(cells: GroupedCells, s: int, present: Ints, metric: Metric) -> Floats:
    n, sums = cells.counts[s, present], cells.sums[s, present]
    mean = sums / n[:, None]
    noises = np.zeros(len(n)) if metric.biased else noise(sums, cells.squares[s, present], n)
    mean = mean - mean.mean(axis=0)
    size = np.einsum("gd,gd->g", mean, mean) - noises
    return 2.0 * (size[:, None] + size - 2.0 * mean @ mean.T)


def _pairs_between(cells: GroupedCells, s: int, present: Ints, metric: Metric) -> Floats:
    if metric.link is None:
        msg = "a metric without a link is computed from means"
        raise TypeError(msg)
    n = cells.counts[s, present]
    index = np.concatenate([cells.members[s][g] for g in present])
    values = cells.rows.take(index)
    points = Points(values, centre_of(values), block_bytes=settings.block_bytes // 4)
    sums = group_sums(points, n, metric.link, watch=partial(progress, desc="pairs of populations"))
    own = np.diag(sums)
    return from_sums(
        sums, own[:, None], own, n[:, None], n, biased=metric.biased, at_zero=metric.at_zero
    )
