"""Measured responses: mean of each training condition minus that of its matched controls."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ...core._codes import grouped, recode
from ._control_means import ControlMeans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population


@dataclass(frozen=True)
class Deltas:
    """Responses of the C training conditions; a condition is perturbation x context x dose.

    Attributes
    ----------
    names
        (P,) perturbations with training cells, sorted.
    perturbation
        (C,) position of each condition's perturbation in `names`; ascending.
    context
        (C,) position of its context among those of training; -1 where there is none.
    dose
        (C,) dose; NaN where there is none.
    n
        (C,) cells.
    delta
        (C, n_features) mean response.
    control
        (n_features,) mean of the training controls.
    matched
        (C, S) weight of a control cell of each stratum in the mean that was subtracted. A stratum
        is context x batch.
    n_matched
        (S,) training controls of each stratum.
    """

    names: NDArray[np.str_]
    perturbation: Ints
    context: Ints
    dose: Floats
    n: Ints
    delta: Floats
    control: Floats
    matched: Floats
    n_matched: Ints

    def shares(self, context: int, dose: float) -> sparse.csr_matrix:
        """Return how the response of each perturbation is put together from its conditions.

        - Where the perturbation was measured in the wanted context, conditions of that context
          count; else those of all contexts.
        - Conditions count by their number of cells.
        - Between two measured doses the response is interpolated in log10 dose. Outside the
          measured doses it is that of the nearest.

        Parameters
        ----------
        context
            Position of the wanted context; -1 for all contexts.
        dose
            Wanted dose; NaN for all doses.

        Returns
        -------
        (P, C) weights; each row sums to 1.
        """
        owner, n_owners = self.perturbation, len(self.names)
        here = (self.context == context) & (context >= 0)
        measured_here = np.bincount(owner[here], minlength=n_owners) > 0
        chosen = np.flatnonzero(here | ~measured_here[owner])
        weights = dose_weights(owner[chosen], self.dose[chosen], self.n[chosen], dose)
        ends = np.cumsum([0, *np.bincount(owner[chosen], minlength=n_owners)])
        return sparse.csr_matrix((weights, chosen, ends), shape=(n_owners, len(owner)))

    def at(self, context: int, dose: float) -> Floats:
        """Return the (P, n_features) measured responses in a context and at a dose.

        -1 stands for all contexts, NaN for all doses.
        """
        return np.asarray(self.shares(context, dose) @ self.delta)

    def variances(self, shares: sparse.csr_matrix) -> Floats:
        """Return the variance of the noise of responses, from their mean over perturbations.

        The noise of control cells that all responses share is no difference between them.

        Parameters
        ----------
        shares
            (P, C) how the responses are put together, as `shares` returns it.

        Returns
        -------
        (P,) variances, in units of that of one cell: 1 / n for a response from n cells and many
        controls, if there are many perturbations.
        """
        mean = np.full(shares.shape[0], 1 / shares.shape[0]) @ shares
        perturbed = shares.power(2) @ (1 / self.n) - 2 * (shares @ (mean / self.n))
        control = (shares @ self.matched - mean @ self.matched) ** 2 @ self.n_matched
        return np.maximum(perturbed + (mean**2 / self.n).sum() + control, 0.0)


def measure(cells: Population, contexts: tuple[str, ...]) -> Deltas:
    """Return the responses of the training cells; contexts are positions in `contexts`."""
    at, conditions = np.flatnonzero(cells.train), cells.sums.perturbed.of_split(0)
    keys, n = conditions.keys, conditions.n
    code, _ = grouped(
        perturbation=cells.labels.code[at], context=cells.context[at], dose=cells.dose[at]
    )
    stratum, strata = grouped(context=cells.context[at], batch=cells.batch[at])
    means = ControlMeans.of_training(cells)
    pair = code * len(strata) + stratum
    share = np.bincount(pair, minlength=len(keys) * len(strata)).reshape(len(keys), -1)
    own, weights = means.weights(strata["context"].to_numpy(), strata["batch"].to_numpy())
    matched = (share / n[:, None]) @ weights[own]
    seen, perturbation = np.unique(keys["perturbation"].to_numpy(), return_inverse=True)
    return Deltas(
        names=np.array([cells.names[i] for i in seen], dtype=np.str_),
        perturbation=perturbation,
        context=recode(keys["context"].to_numpy(), cells.contexts, contexts),
        dose=keys["dose"].to_numpy(dtype=np.float64),
        n=n,
        delta=conditions.sums / n[:, None] - matched @ means.sums,
        control=means.overall,
        matched=matched,
        n_matched=np.bincount(means.stratum, minlength=len(means.sums)),
    )


def measured_of(cells: Population, chosen: Bools) -> Deltas:
    """Return the responses of (n_obs,) chosen perturbed cells, to the controls of training."""
    side = np.where(chosen | cells.train_control, 0, -1)
    return measure(cells.with_split(side), cells.contexts)


def deltas_of(arrays: Mapping[str, NDArray[Any]]) -> Deltas:
    """Return the responses that are among some arrays, each under the name of its field."""
    return Deltas(**{field.name: arrays[field.name] for field in fields(Deltas)})


def dose_weights(owner: Ints, measured: Floats, n: Ints, wanted: float) -> Floats:
    """Return how measurements count for a wanted dose.

    Parameters
    ----------
    owner
        (m,) perturbation of each measurement, ascending.
    measured
        (m,) dose of each measurement; NaN where there is none.
    n
        (m,) cells of each measurement.
    wanted
        Dose that is wanted; NaN for all doses.

    Returns
    -------
    (m,) weights that sum to 1 within each perturbation. Without a wanted dose, or where a
    perturbation has no measured dose, measurements count by their cells. Else those of the two
    doses around the wanted one count, interpolated in log10 dose.
    """
    weights = np.asarray(n / _totals(owner, n), dtype=np.float64)
    at = np.flatnonzero(measured > 0)
    if wanted > 0 and len(at):
        weights[np.isin(owner, owner[at])] = 0.0
        weights[at] = _interpolated(owner[at], np.log10(measured[at]), n[at], np.log10(wanted))
    return weights


def _interpolated(owner: Ints, level: Floats, n: Ints, wanted: float) -> Floats:
    """Return the weights of measurements at levels (log10 doses) for a wanted level."""
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    group = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(owner)]))
    lowest, highest = (of.reduceat(level, first)[group] for of in (np.minimum, np.maximum))
    target = np.clip(wanted, lowest, highest)
    below = np.maximum.reduceat(np.where(level <= target, level, -np.inf), first)[group]
    above = np.minimum.reduceat(np.where(level >= target, level, np.inf), first)[group]
    slope = 1.0 / np.where(above > below, above - below, 1.0)
    upper = slope * (target - below)
    is_below, is_above = level == below, level == above
    share = np.where(is_below, 1.0 - upper, np.where(is_above, upper, 0.0))
    cells = np.where(is_below, _totals(group, n * is_below), _totals(group, n * is_above))
    return share * n / np.maximum(cells, 1)


def _totals(group: Ints, values: Floats) -> Floats:
    """Return for every value the sum over its group."""
    return np.bincount(group, weights=values)[group]
