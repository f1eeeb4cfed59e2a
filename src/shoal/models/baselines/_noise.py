"""Noise of measured responses: how the cells of a condition vary around its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...core._codes import grouped
from ...core._order import stable_order
from ...metrics._cells import densify
from ...metrics._pca import axes_of_rows
from ._control_means import ControlMeans
from ._deltas import measure

if TYPE_CHECKING:
    from ..._typing import Floats, Ints
    from ...core._population import Population
    from ._deltas import Deltas

CELLS = 2000  # training cells that the noise is estimated from
AXES = 20  # principal axes of training cells; chosen on inner conditions of real screens


@dataclass(frozen=True, eq=False)
class Noise:
    """Variance of a training cell around the mean of its condition, the same for all conditions.

    Attributes
    ----------
    axes
        (n_features, k) principal axes of training cells.
    variance
        (k + 1,) variance along each axis, and last that along all other directions together.
    """

    axes: Floats
    variance: Floats


def noise_rows(cells: Population) -> Ints:
    """Return the rows of the training cells that the noise is estimated from, sorted.

    Of more than 2,000 training cells these are drawn with a fixed seed. The order of rows does not
    matter.
    """
    at = stable_order(cells.adata)
    at = at[(cells.train | cells.train_control)[at]]
    if len(at) > CELLS:
        at = np.random.default_rng(0).choice(at, CELLS, replace=False)
    return np.sort(at)


def noise_of(cells: Population, deltas: Deltas) -> Noise:
    """Estimate the noise of the responses of the training cells.

    Parameters
    ----------
    cells
        The screen.
    deltas
        Its measured responses.
    """
    rows = noise_rows(cells)
    values = densify(cells.rows.take(rows)).astype(np.float64)
    axes, _ = axes_of_rows(values - values.mean(axis=0), AXES)
    values = deviations(values, rows, cells, deltas)
    if not len(values):
        return Noise(axes, np.zeros(axes.shape[1] + 1))
    along = ((values @ axes) ** 2).mean(axis=0)
    others = (values**2).sum() / len(values) - along.sum()
    return Noise(axes, np.append(along, max(others, 0.0)))


def deviations(values: Floats, rows: Ints, cells: Population, deltas: Deltas) -> Floats:
    """Return how training cells differ from the mean of their condition.

    A perturbed cell varies around the mean of its matched controls plus the response of its
    condition, a control cell around the mean of the controls of its context and batch. So
    differences between batches are no noise. A condition of one cell says nothing of it.

    Parameters
    ----------
    values
        (n, n_features) values of the cells.
    rows
        (n,) rows of the cells.
    cells
        The screen.
    deltas
        Its measured responses.

    Returns
    -------
    (m, n_features) differences, without cells that are alone in their condition. Their mean square
    is the variance: each is larger by what its own part in the mean takes away.
    """
    means = ControlMeans.of_training(cells)
    values = values - means.at(cells.context[rows], cells.batch[rows])
    train, control = np.flatnonzero(cells.train), np.flatnonzero(cells.train_control)
    group = np.full(len(cells.split), -1)
    group[train], _ = grouped(
        perturbation=cells.labels.code[train], context=cells.context[train], dose=cells.dose[train]
    )
    group[control] = len(deltas.n) + means.stratum
    perturbed = cells.train[rows]
    values[perturbed] -= deltas.delta[group[rows[perturbed]]]
    n = np.concatenate([deltas.n, np.bincount(means.stratum, minlength=len(means.sums))])
    n = n[group[rows]]
    found: Floats = values[n > 1] * np.sqrt(n / np.maximum(n - 1, 1))[n > 1, None]
    return found


def spread_of(cells: Population, axes: Floats) -> tuple[Floats, Floats]:
    """Return how training cells vary around the mean of their condition.

    Parameters
    ----------
    cells
        The screen.
    axes
        (d, p) directions.

    Returns
    -------
    cell
        (d,) variance of every feature.
    spread
        (p, p) covariance along the axes.
    """
    rows = noise_rows(cells)
    values = densify(cells.rows.take(rows)).astype(np.float64)
    values = deviations(values, rows, cells, measure(cells, cells.contexts))
    n, along = max(len(values), 1), values @ axes
    return (values**2).sum(axis=0) / n, along.T @ along / n
