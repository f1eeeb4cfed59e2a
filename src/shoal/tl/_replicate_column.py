"""The replicates of a screen: guides, donors, wells or batches, and their design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._validate import is_auto, key_in, shown
from ..core._design import codes, tell_of_column

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Ints
    from ..core._plan import Plan
    from ..core._screen import Screen

LEAST_CELLS = 20  # cells of a replicate; the mean of fewer is not counted


@dataclass(frozen=True)
class ReplicateColumn:
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


def replicates_of(
    adata: AnnData, screen: Screen, plan: Plan, replicate_key: str | None
) -> tuple[str, ReplicateColumn | None]:
    """Return the column of replicates and what it holds."""
    if replicate_key is None:
        return "", None
    if not is_auto(replicate_key):
        if not isinstance(replicate_key, str):
            msg = (
                f"replicate_key must name one column of adata.obs, not {shown(replicate_key)}; "
                "join several columns into one first"
            )
            raise TypeError(msg)
        key_in(replicate_key, adata.obs.columns, where="adata.obs", hint="(given as replicate_key)")
        if replicate_key == screen.perturbation_key:
            msg = (
                f"replicate_key={replicate_key!r} is the column of perturbations; pass the column "
                "of guides, donors, wells or batches, or replicate_key=None"
            )
            raise ValueError(msg)
        tell_of_column(adata, screen, replicate_key, what="replicates")
        return replicate_key, _found(adata, plan, replicate_key)
    recorded = [k for k in (screen.guide_key, screen.batch_key) if k is not None]
    found = [(key, _found(adata, plan, key)) for key in recorded]
    usable = [pair for pair in found if not pair[1].note]
    return (usable or found or [("", None)])[0]


def _found(adata: AnnData, plan: Plan, key: str) -> ReplicateColumn:
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
    return ReplicateColumn(code, owner, labels, n, plan.n_groups, paired)
