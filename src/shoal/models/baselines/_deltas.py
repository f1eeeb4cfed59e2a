"""Measured responses: the mean of each training condition minus the mean of the controls that match its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ...core._controls import Controls
from ...core._population import grouped, recode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population


@dataclass(frozen=True)
class ControlMeans:
    """Means of the control cells that stand in for a context and batch.

    Attributes
    ----------
    controls
        The pools, whose ``cells`` are 0, 1, 2, ...
    stratum
        (n,) stratum (context x batch) of each control.
    sums
        (n_strata, n_features) sums over strata; every pool is a union of strata.
    """

    controls: Controls
    stratum: Ints
    sums: Floats

    @classmethod
    def of(cls, cells: Population, chosen: Bools) -> ControlMeans:
        """Read the `chosen` control cells."""
        at = np.flatnonzero(chosen)
        context, batch = cells.context[at], cells.batch[at]
        stratum, keys = grouped(context=context, batch=batch)
        return cls(
            controls=Controls(cells=np.arange(len(at)), context=context, batch=batch),
            stratum=stratum,
            sums=group_sums(cells, at, stratum, len(keys)),
        )

    def at(self, context: Ints, batch: Ints) -> Floats:
        """Return (n, n_features) means of the pools of some contexts and batches."""
        pools = [self.controls.pool(int(c), int(b))[0] for c, b in zip(context, batch, strict=True)]
        part = np.array(
            [np.isin(np.arange(len(self.sums)), self.stratum[pool]) for pool in pools],
            dtype=np.float64,
        )
        return part @ self.sums / np.array([[len(pool)] for pool in pools])


@dataclass(frozen=True)
class Deltas:
    """Responses of the training conditions; a condition is perturbation x context x dose.

    Attributes
    ----------
    names
        (P,) perturbations with training cells, sorted.
    perturbation, context
        (C,) codes of each condition into `names` (sorted) and the contexts of training, -1 where there is none.
    dose
        (C,) dose, NaN where there is none.
    n
        (C,) cells.
    delta
        (C, n_features) mean response.
    control
        (n_features,) mean of the training controls.
    """

    names: NDArray[np.str_]
    perturbation: Ints
    context: Ints
    dose: Floats
    n: Ints
    delta: Floats
    control: Floats

    def shares(self, context: int, dose: float) -> sparse.csr_matrix:
        """Return (P, C) how the response of each perturbation is put together from conditions; rows sum to 1.

        The conditions of the wanted context, or, where the perturbation was not measured there, those of all contexts,
        by number of cells. Between two measured doses it is interpolated in log10 dose, outside it stays as it is.
        """
        chosen, weights = [], []
        first = np.searchsorted(self.perturbation, np.arange(len(self.names) + 1))
        for rows in map(np.arange, first[:-1], first[1:]):
            here = rows[(self.context[rows] == context) & (context >= 0)]
            chosen.append(here if len(here) else rows)
            weights.append(dose_weights(self.dose[chosen[-1]], self.n[chosen[-1]], dose))
        ends = np.cumsum([0, *map(len, chosen)])
        parts = (np.concatenate(weights), np.concatenate(chosen), ends)
        return sparse.csr_matrix(parts, shape=(len(self.names), len(self.delta)))

    def at(self, context: int, dose: float) -> Floats:
        """Return (P, n_features) responses in a context (-1: over all) and at a dose (NaN: over all)."""
        return self.shares(context, dose) @ self.delta


def measure(cells: Population, contexts: tuple[str, ...]) -> Deltas:
    """Return the responses of the training cells; contexts are given as codes into `contexts`."""
    at = np.flatnonzero(cells.train)
    code, keys = grouped(
        perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
    )
    stratum, strata = grouped(context=cells.context[at], batch=cells.batch[at])
    n = np.bincount(code, minlength=len(keys))
    means = ControlMeans.of(cells, cells.train_control)
    share = np.bincount(code * len(strata) + stratum, minlength=len(keys) * len(strata)).reshape(
        len(keys), -1
    )
    matched = (share / n[:, None]) @ means.at(
        strata["context"].to_numpy(), strata["batch"].to_numpy()
    )
    seen, perturbation = np.unique(keys["perturbation"].to_numpy(), return_inverse=True)
    return Deltas(
        names=np.array([cells.names[i] for i in seen], dtype=np.str_),
        perturbation=perturbation,
        context=recode(keys["context"].to_numpy(), cells.contexts, contexts),
        dose=keys["dose"].to_numpy(dtype=np.float64),
        n=n,
        delta=group_sums(cells, at, code, len(keys)) / n[:, None] - matched,
        control=means.sums.sum(axis=0) / len(means.stratum),
    )


def group_sums(cells: Population, at: Ints, code: Ints, n_groups: int) -> Floats:
    """Return (n_groups, n_features) sums over groups of the cells `at`.

    A group holds whole conditions (perturbation, context, dose and split; of control cells context,
    batch and split), whose sums the population knows.
    """
    group = np.full(cells.rows.shape[0], -1)
    group[at] = code
    return cells.sums.by(group, n_groups)


def dose_weights(measured: Floats, n: Ints, wanted: float) -> Floats:
    """Return weights of measurements for a wanted dose, summing to 1: by cells, and interpolated in log10 dose."""
    usable = measured > 0
    if not (wanted > 0 and usable.any()):
        return n / n.sum()
    size = np.where(usable, n, 0)
    logs = np.log10(np.where(usable, measured, 1.0))
    levels = np.unique(logs[usable])
    target = np.clip(np.log10(wanted), levels[0], levels[-1])
    level_weight = [np.interp(target, levels, row) for row in np.eye(len(levels))]
    weights = np.zeros(len(measured))
    for level, weight in zip(levels, level_weight, strict=True):
        same = usable & (logs == level)
        weights[same] = weight * size[same] / size[same].sum()
    return weights
