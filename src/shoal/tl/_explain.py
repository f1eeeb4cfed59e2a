"""Why a response is less coherent than a translation: cells are read again, group by group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core._plan import shifts_of
from ..metrics import _excess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._typing import Floats, Ints
    from ..core._matrix import Rows
    from ..core._plan import Plan
    from ._measure import Measured

MOST = 600  # control cells that make the covariance of one perturbation


def explain(
    rows: Rows,
    plan: Plan,
    measured: Measured,
    *,
    part: Ints | None = None,
    alpha: float = 0.05,
) -> dict[str, Floats]:
    """Return the excess-covariance columns and the cause of incoherence.

    Only for perturbations whose coherence differs from that of a translation. A cause also needs a
    response.

    Parameters
    ----------
    rows
        (n_obs, d) matrix. The cells of perturbations are read again, in batches of bounded size.
    plan, measured
        Groups, and their statistics.
    part
        (n_obs,) number of the part that each cell belongs to, such as perturbation x context; -1
        for none. Parts may respond in different ways, so their means are no excess variance.
    alpha
        Level of ``residual_qvalue`` and, for a cause, of ``qvalue``.
    """
    table, n_groups = measured.columns, plan.n_groups
    shares = {name: np.full(n_groups, np.nan) for name in ("along_shift", "top_share", "alignment")}
    causes = np.full(n_groups, "none", dtype=object)
    departs = table["residual_qvalue"] < alpha
    incoherent = departs & (table["residual"] < 0) & (table["qvalue"] < alpha)
    controls = _Controls(measured)
    for group, index, cells in _each_group(rows, plan, np.flatnonzero(departs), measured):
        control = controls.of(group)
        if part is not None:
            cells = _about_parts(cells, part[index])
        summary = _excess.excess(cells, control)
        for name, values in shares.items():
            values[group] = getattr(summary, name)
        if incoherent[group]:
            noise = control.noise(len(cells)) / control.trace
            causes[group] = _excess.cause(
                summary, float(np.expm1(table["dispersion"][group])), 2 * noise
            )
        del cells
    return {f"excess_{name}": values for name, values in shares.items()} | {"cause": causes}


@dataclass
class _Controls:
    """Covariances of the controls of each perturbation: the mean over the strata of its cells."""

    measured: Measured
    known: dict[bytes, _excess.Spread] = field(default_factory=dict)

    def of(self, group: int) -> _excess.Spread:
        """Return the covariance of the controls of one perturbation, as a sample."""
        made, sample = self.measured.made, self.measured.sums.sample
        lo, hi = np.searchsorted(made.group, [group, group + 1])
        strata, share = made.stratum[lo:hi], made.share[lo:hi]
        key = strata.tobytes() + share.tobytes()
        if key not in self.known:
            rows = [
                sample.rows(h, max(10, int(np.ceil(MOST * p))))
                for h, p in zip(strata, share, strict=True)
            ]
            scale = [
                np.sqrt(p / max(len(at) - 1, 1)) / sample.stretch[h]
                for h, p, at in zip(strata, share, rows, strict=True)
            ]
            cells = sample.cells[np.concatenate(rows)]
            cells *= np.repeat(scale, [len(at) for at in rows])[:, None].astype(np.float32)
            self.known = {key: _excess.Spread(cells, 1)}
        return self.known[key]


def _about_parts(cells: Floats, part: Ints) -> Floats:
    """Replace the mean of each part of the cells by the mean of all, in place.

    The deviations are scaled for the degrees of freedom that the means cost.
    """
    mean = cells.mean(axis=0)
    own = np.unique(part, return_inverse=True)[1]
    n, parts = len(cells), int(own.max()) + 1
    for k in range(parts):
        inside = np.flatnonzero(own == k)
        cells[inside] -= cells[inside].mean(axis=0)
    cells *= np.sqrt((n - 1) / max(n - parts, 1))
    cells += mean
    return cells


def _each_group(
    rows: Rows, plan: Plan, groups: Ints, measured: Measured
) -> Iterator[tuple[int, Ints, Floats]]:
    """Yield each group, the rows of its cells and their shifts.

    As many groups are read at once as fit in memory. One at a time is made dense.
    """
    batch = np.cumsum(measured.columns["n_cells"][groups]) // max(rows.batch // 4, 1)
    order = np.argsort(plan.group, kind="stable")
    first = np.searchsorted(plan.group[order], np.arange(plan.n_groups + 1))
    coef = measured.sums.shift.coef
    for number in np.unique(batch):
        chosen = groups[batch == number]
        cells = [order[first[g] : first[g + 1]] for g in chosen]
        index = np.sort(np.concatenate(cells))
        block = rows.take(index)
        for g, own in zip(chosen, cells, strict=True):
            yield g, own, shifts_of(block[np.searchsorted(index, own)], plan, own, coef)
        del block  # before the next batch is read
