r"""How a perturbation changes the library size of cells, learned from training cells.

The change is the mean log library size of the cells of a perturbation, minus that of the control
cells of their contexts and batches. With its sampling variance v and the variance :math:`\tau^2` of
true changes over perturbations, the estimate is shrunk to 0 by :math:`\tau^2 / (\tau^2 + v)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..._logging import logger
from ..._validate import some
from ...core._codes import grouped, members
from ...core._controls import LEVELS, Controls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._typing import Bools, Floats, Ints
    from ...core._population import Population
    from ...core._screen import Screen

    Parts = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DepthChanges:
    """Changes of the log library size.

    Attributes
    ----------
    screen
        Which says the parts of a perturbation.
    known
        Parts of a perturbation -> its doses in training (sorted; NaN in a screen without doses),
        and the change at each.
    """

    screen: Screen
    known: Mapping[Parts, tuple[Floats, Floats]]

    def of(self, names: Sequence[str], perturbation: Ints, dose: Floats) -> Floats:
        """Return the change for every row of a request; 0 where nothing is known.

        - A combination that was not in training has the sum of its parts' changes.
        - A dose that was not in training has the change of the nearest one.

        Parameters
        ----------
        names
            Names of the perturbations.
        perturbation
            (n,) positions in them.
        dose
            (n,) doses; NaN for none.
        """
        made = np.zeros(len(perturbation))
        code, keys = grouped(perturbation=perturbation, dose=dose)
        for at, (which, own) in zip(members(code), keys.to_numpy(), strict=True):
            parts = self.screen.parts(names[int(which)])
            several = [parts] if parts in self.known else [(part,) for part in parts]
            made[at] = sum(self._at(one, own) for one in several)
        return made

    def _at(self, parts: Parts, dose: float) -> float:
        if parts not in self.known:
            return 0.0
        doses, changes = self.known[parts]
        if len(doses) == 1 or not dose > 0:
            return float(changes.mean())
        return float(changes[np.nanargmin(np.abs(np.log(doses) - np.log(dose)))])


def depth_changes(cells: Population, rows: Ints, unit: Floats, perturbed: Bools) -> DepthChanges:
    """Learn the changes of library size.

    Parameters
    ----------
    cells
        The screen.
    rows
        (n,) rows of training cells, perturbed ones and controls.
    unit
        (n,) library sizes, up to a factor that all cells share; cells without counts have 0.
    perturbed
        (n,) which of the rows are perturbed cells.
    """
    known = unit > 0
    rows, log, perturbed = rows[known], np.log(unit[known]), perturbed[known]
    control = np.flatnonzero(~perturbed)
    if not perturbed.any() or len(control) < 2:
        return DepthChanges(cells.screen, {})
    at = rows[perturbed]
    matched, count, residual = _matched(cells, rows[control], log[control], at)
    difference, pair = log[perturbed] - matched, np.stack([cells.context[at], cells.batch[at]])
    code, keys = grouped(perturbation=cells.labels.code[at], dose=cells.dose[at])
    groups = members(code)
    change, noise = np.empty(len(groups)), np.empty(len(groups))
    for i, own in enumerate(groups):
        change[i] = difference[own].mean()
        first, n = np.unique(pair[:, own], axis=1, return_index=True, return_counts=True)[1:]
        noise[i] = residual * (1 / len(own) + ((n / len(own)) ** 2 / count[own[first]]).sum())
    change = shrunk_to_zero(change, noise)
    table: dict[Parts, tuple[Floats, Floats]] = {}
    for own in members(keys["perturbation"].to_numpy()):
        name = cells.names[int(keys["perturbation"].iloc[own[0]])]
        doses = keys["dose"].to_numpy(np.float64)[own]
        table[cells.screen.parts(name)] = (doses, change[own])
    return DepthChanges(cells.screen, table)


def shrunk_to_zero(change: Floats, noise: Floats) -> Floats:
    """Return estimates shrunk to 0 by their noise.

    Parameters
    ----------
    change
        (k,) estimates of effects that are 0 on average.
    noise
        (k,) their sampling variances.
    """
    noise = np.maximum(noise, 1e-12)
    between = max(float((change**2 / noise - 1).sum() / (1 / noise).sum()), 0.0)
    return change * between / (between + noise)


def _matched(
    cells: Population, control: Ints, log: Floats, perturbed: Ints
) -> tuple[Floats, Ints, float]:
    """Return the mean log library size of the controls that stand for each perturbed cell.

    Returns
    -------
    mean, count
        (n,) mean of these controls, and their number.
    residual
        Variance of the library sizes of controls around these means.
    """
    order = np.argsort(control, kind="stable")
    control, log = control[order], log[order]
    stand_in = Controls(control, cells.context[control], cells.batch[control])
    mean, count = np.empty(len(perturbed)), np.empty(len(perturbed), dtype=np.int64)
    squares, freedom, distant = 0.0, 0, {}
    code, keys = grouped(context=cells.context[perturbed], batch=cells.batch[perturbed])
    for at, (context, batch) in zip(members(code), keys.to_numpy(), strict=True):
        pool, level = stand_in.pool(context, batch)
        own = log[np.searchsorted(control, pool)]
        mean[at], count[at] = own.mean(), len(own)
        squares += float(((own - own.mean()) ** 2).sum())
        freedom += len(own) - 1
        if level > 1:
            distant[cells.contexts[context] if context >= 0 else "(missing)"] = LEVELS[level]
    if distant:
        logger.warning(
            "library sizes: no control cells of %s; those of its perturbed cells are compared with "
            "%s",
            some(list(distant)),
            ", ".join(dict.fromkeys(distant.values())),
        )
    return mean, count, squares / max(freedom, 1)
