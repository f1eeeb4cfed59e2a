"""The test whose unit is the replicate, beside that of cells: guides, donors, wells or batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._logging import logger
from .._validate import key_in
from ..core._design import codes
from ..core._plan import shifts_of
from ..core._walk import group_sums
from ..metrics._coherence import signed_sqrt
from ..metrics._null import adjust
from ..metrics._replicates import Replicates, replicate_test

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints
    from ..core._groups import Directions
    from ..core._matrix import Rows
    from ..core._plan import Plan
    from ..core._screen import Screen

LEAST_CELLS = 20  # cells of a replicate; the mean of fewer is not counted
SAMPLE = 800  # control cells that are kept whole


@dataclass(frozen=True)
class ByReplicate:
    """What the test says.

    Attributes
    ----------
    columns
        Columns of the table, (G,) each; none where no replicates are recorded.
    params
        What was used: ``replicate_key``, ``replicate_design``, ``n_control_replicates``,
        ``replicate_df``, ``replicate_variance`` and ``replicate_note``.
    """

    columns: dict[str, Any]
    params: dict[str, Any]

    def flagged(self, flags: list[str]) -> list[str]:
        """Return the flags of the rows, with ``few_replicates`` where nothing can be said."""
        if "n_replicates" not in self.columns:
            return flags
        alone = self.columns["n_replicates"] < 2
        return [
            ",".join(filter(None, (flag, "few_replicates" if one else "")))
            for flag, one in zip(flags, alone, strict=True)
        ]


def by_replicate(
    adata: AnnData,
    screen: Screen,
    rows: Rows,
    plan: Plan,
    sums: Directions,
    *,
    replicate_key: str | None,
    min_cells: int,
) -> ByReplicate:
    """Test every perturbation against the differences between replicates.

    Parameters
    ----------
    adata, screen, plan
        Screen, its description and what is compared.
    rows
        (n_obs, d) matrix. It is read once more, and a sample of the controls.
    sums
        What the statistics of cells were computed from.
    replicate_key
        Column of ``obs``; ``"auto"`` for the recorded guides or batches, ``None`` for no test.
    min_cells
        Fewest cells of a perturbation that is tested.

    Raises
    ------
    KeyError
        If there is no such column.
    TypeError
        If it is no text.
    ValueError
        If it is the column of perturbations.
    """
    key, found = _chosen(adata, screen, plan, replicate_key)
    if found is None:
        return ByReplicate({}, _params("", None, "no replicates are recorded"))
    tested = None
    if not found.note:
        means = _mean_shifts(found, rows, plan, sums)
        tested = replicate_test(
            _as_replicates(found, plan, sums, means), _within(found, rows, plan, sums, means)
        )
    nothing = np.full(plan.n_groups, np.nan)
    pvalue = (
        nothing
        if tested is None
        else np.where(sums.groups[0].n >= min_cells, tested.pvalue, np.nan)
    )
    columns = {
        "magnitude_replicate": nothing if tested is None else signed_sqrt(tested.estimate),
        "pvalue_replicate": pvalue,
        "qvalue_replicate": adjust(pvalue),
        "n_replicates": found.counts,
    }
    spread = None if tested is None else tested.spread
    params = _params(key, found, found.note) | {
        "replicate_df": 0 if spread is None else spread.free,
        "replicate_variance": np.nan if spread is None else spread.ratio,
    }
    _tell(key, found, columns, asked=replicate_key != "auto")
    return ByReplicate(columns, params)


@dataclass(frozen=True)
class _Found:
    """The replicates of a column.

    Attributes
    ----------
    code
        (n_obs,) replicate of each cell, -1 for none.
    owner
        (R,) perturbation of each replicate, n_groups for the control.
    label
        (R,) its label.
    n
        (R,) its cells.
    n_groups
        Number of perturbations.
    paired
        Whether replicates of perturbations hold control cells too.
    """

    code: Ints
    owner: Ints
    label: Ints
    n: Ints
    n_groups: int
    paired: bool

    @property
    def own(self) -> Bools:
        """(R,) replicates of perturbations that count."""
        shared = np.isin(self.label, self.label[self.owner == self.n_groups])
        return (self.owner < self.n_groups) & (shared == self.paired)

    @property
    def counts(self) -> Ints:
        """(G,) replicates of each perturbation."""
        return np.bincount(self.owner[self.own], minlength=self.n_groups)

    @property
    def n_control(self) -> int:
        """Replicates of the control."""
        return int((self.owner == self.n_groups).sum())

    @property
    def note(self) -> str:
        """Why nothing can be said; empty if something can."""
        if not self.paired and self.n_control < 2:
            return f"the control has {self.n_control} replicates of {LEAST_CELLS} cells, 2 needed"
        if not (self.counts >= 2).any():
            return f"no perturbation has 2 replicates of {LEAST_CELLS} cells"
        return ""


def _chosen(
    adata: AnnData, screen: Screen, plan: Plan, replicate_key: str | None
) -> tuple[str, _Found | None]:
    """Return the column of replicates and what it holds."""
    if replicate_key is None:
        return "", None
    if replicate_key != "auto":
        if not isinstance(replicate_key, str):
            msg = (
                f"replicate_key must name one column of adata.obs, not {replicate_key!r}; join "
                "several columns into one first"
            )
            raise TypeError(msg)
        key_in(replicate_key, adata.obs.columns, where="adata.obs", hint="(given as replicate_key)")
        if replicate_key == screen.perturbation_key:
            msg = (
                f"replicate_key={replicate_key!r} is the column of perturbations; pass the column "
                "of guides, donors, wells or batches, or replicate_key=None"
            )
            raise ValueError(msg)
        return replicate_key, _found(adata, plan, replicate_key)
    recorded = [k for k in (screen.guide_key, screen.batch_key) if k is not None]
    found = [(key, _found(adata, plan, key)) for key in recorded]
    usable = [pair for pair in found if not pair[1].note]
    return (usable or found or [("", None)])[0]


def _found(adata: AnnData, plan: Plan, key: str) -> _Found:
    """Number the combinations of perturbation and replicate of enough cells."""
    label = codes(adata, key)
    keep = (plan.group >= 0) & (label >= 0)
    width = int(label.max(initial=0)) + 1
    pairs, number, n = np.unique(
        plan.group[keep] * width + label[keep], return_inverse=True, return_counts=True
    )
    enough = n >= LEAST_CELLS
    renumbered = np.where(enough, np.cumsum(enough) - 1, -1)
    code = np.full(len(label), -1)
    code[keep] = renumbered[number]
    owner, labels, n = pairs[enough] // width, pairs[enough] % width, n[enough]
    own = owner < plan.n_groups
    shared = np.isin(labels[own], labels[~own])
    paired = bool(len(shared) and shared.mean() >= 0.5)
    return _Found(code, owner, labels, n, plan.n_groups, paired)


def _mean_shifts(found: _Found, rows: Rows, plan: Plan, sums: Directions) -> Floats:
    """Return the (R, d) mean shifts of all replicates from one walk through the matrix."""
    total = group_sums(rows, found.code, len(found.n))
    total -= plan.footprint(found.code, len(found.n)) @ sums.shift.coef
    return total / found.n[:, None]


def _within(found: _Found, rows: Rows, plan: Plan, sums: Directions, means: Floats) -> Floats:
    """Return shifts of at most 800 control cells from the mean of their replicate.

    The cells are evenly spaced in order of length: the choice needs no seed and does not depend on
    the order of the rows.
    """
    control = np.flatnonzero((found.code >= 0) & plan.is_control)
    by_length = control[np.argsort(sums.square[control], kind="stable")]
    n = min(len(by_length), SAMPLE)
    chosen = np.sort(by_length[((np.arange(n) + 0.5) * len(by_length) / n).astype(np.int64)])
    code = found.code[chosen]
    shifts = shifts_of(rows.take(chosen), plan, chosen, sums.shift.coef) - means[code]
    return shifts * np.sqrt(found.n[code] / np.maximum(found.n[code] - 1, 1))[:, None]


def _centre_noise(found: _Found, plan: Plan, sums: Directions) -> Floats:
    """Return (R,) what the fit of the control centroids adds to the noise of a replicate's mean.

    It is F A F / n^2, with F the sum of the rows of the basis over its cells in a stratum, and A
    the inverse Gram matrix of the controls there, summed over strata.
    """
    made = plan.cohorts_of(found.code)
    feet = plan.feet(made)
    joint = np.einsum("ck,ckl,cl->c", feet, sums.inverse[made.stratum], feet)
    return np.bincount(made.group, weights=joint, minlength=len(found.n)) / found.n**2.0


def _as_replicates(found: _Found, plan: Plan, sums: Directions, means: Floats) -> Replicates:
    """Return the replicates that count, in a paired design as differences."""
    own, is_control = found.own, found.owner == plan.n_groups
    noise = 1.0 / found.n
    if not found.paired:
        keep = own | is_control
        return Replicates(means[keep], noise[keep], found.owner[keep], plan.n_groups)
    if _nested(found, plan):  # a shift is a difference within the replicate already
        means, noise = means[own], (noise + _centre_noise(found, plan, sums))[own]
    else:
        control = np.flatnonzero(is_control)
        place = control[np.searchsorted(found.label[control], found.label[own])]
        means, noise = means[own] - means[place], noise[own] + noise[place]
    return Replicates(means, noise, found.owner[own], plan.n_groups, paired=True)


def _nested(found: _Found, plan: Plan) -> bool:
    """Return whether all cells of a stratum are of one replicate."""
    keep = found.code >= 0
    pairs = np.column_stack([plan.stratum[keep], found.label[found.code[keep]]])
    return len(np.unique(pairs, axis=0)) == len(np.unique(pairs[:, 0]))


def _params(key: str, found: _Found | None, note: str) -> dict[str, Any]:
    design = "" if found is None else "paired" if found.paired else "two samples"
    return {
        "replicate_key": key,
        "replicate_design": design,
        "n_control_replicates": 0 if found is None else found.n_control,
        "replicate_note": note,
    }


def _tell(key: str, found: _Found, columns: dict[str, Any], *, asked: bool) -> None:
    if found.note:
        say = logger.warning if asked else logger.info
        say("nothing can be said by replicates of %r: %s", key, found.note)
        return
    logger.info(
        "%d perturbations respond beyond what replicates differ by (%r, q < 0.05); %d have fewer "
        "than 2 replicates of %d cells and are not tested",
        int((columns["qvalue_replicate"] < 0.05).sum()),
        key,
        int((found.counts < 2).sum()),
        LEAST_CELLS,
    )
