"""Whether a test asks about perturbations or about the wells that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core._codes import codes_of, members
from ..core._matrix import as_rows
from ..metrics._cells import densify
from ._split_checks import TRAIN, Facts, Finding

if TYPE_CHECKING:
    from .._typing import Floats, Ints

MOST = 600  # control wells that are compared, and draws of the null
DRAWS = 199
LEVEL = 0.05


class Likeness(NamedTuple):
    """How alike control wells at one position are on different plates, and other wells.

    Attributes
    ----------
    same, other
        Mean correlation over pairs of plates, of wells at the same position and at others.
    p
        Share of draws with positions dealt anew on each plate in which `same` is as large.
    """

    same: float
    other: float
    p: float


def position(facts: Facts) -> Finding:
    """Check whether held-out perturbations are in the same wells in training.

    Every well of a plate differs a little from the others: at the edge, in a corner, beside a tall
    neighbour. Where a perturbation has one and the same well on all plates, its position and its
    effect cannot be told apart, and what "transfers" to another context may be the position. The
    control wells tell: they have a position and no effect.
    """
    if facts.well_key is None:
        said = "positions are not known; well_key= names their column"
        return Finding("not applicable", 0, said)
    names, well = codes_of(facts.adata, facts.well_key)
    pair = np.where(well >= 0, facts.labels.code * len(names) + well, -1)
    perturbed = facts.perturbed & (pair >= 0)
    trained = np.unique(pair[perturbed & (facts.side == TRAIN)])
    held = perturbed & facts.held
    shared = held & np.isin(pair, trained)
    n, of = (len(np.unique(facts.labels.code[some])) for some in (shared, held))
    if not n:
        return Finding("ok", 0, "no held-out perturbation is in the same well in training")
    said = f"{n} of {of} held-out perturbations are in the same wells in training"
    found = _control_wells(facts, well)
    if found is None:
        said += (
            "; nothing tells how much of a response is that of its well, as no two control wells "
            "are at one position on several plates"
        )
        return Finding("confounded", n, said)
    said += (
        f"; control wells, which have no effect, correlate {found.same:.2f} with those at the same "
        f"position on other plates and {found.other:.2f} with those at other positions "
        f"(p = {found.p:.3f})"
    )
    if found.p > LEVEL:
        return Finding("by design", n, f"{said}: no sign of the position")
    return Finding("confounded", n, f"{said}: as much may be the position in any response")


def _control_wells(facts: Facts, well: Ints) -> Likeness | None:
    """Return how alike control wells are; ``None`` if none can be compared."""
    key = facts.screen.batch_key or facts.screen.context_key
    if key is None or facts.adata.X is None:
        return None
    _, plate = codes_of(facts.adata, key)
    at = np.flatnonzero(facts.labels.is_control & (well >= 0) & (plate >= 0))
    groups = members(plate[at] * (int(well.max(initial=0)) + 1) + well[at])
    if not groups:
        return None
    groups = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, MOST).astype(int))]
    rows = as_rows(facts.adata.X, slot="X")
    means = np.array([densify(rows.take(at[own])).mean(axis=0, dtype=np.float64) for own in groups])
    first = at[[own[0] for own in groups]]
    return likeness(means, well[first], plate[first])


def likeness(means: Floats, well: Ints, plate: Ints) -> Likeness | None:
    """Return how alike wells at one position are on different plates.

    Parameters
    ----------
    means
        (n, d) mean of each well, from which the mean of its plate is taken first.
    well, plate
        (n,) position and plate of each.

    Returns
    -------
    The likeness; ``None`` where no position is on two plates, or each has the same one.
    """
    centred = np.array(means, dtype=np.float64)
    for own in members(plate):
        centred[own] -= centred[own].mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, size, out=np.zeros_like(centred), where=size > 1e-12)
    alike, across = unit @ unit.T, plate[:, None] != plate
    same = (well[:, None] == well) & across
    other = across & ~same
    if not (same.any() and other.any()):
        return None
    rng, places = np.random.default_rng(0), members(plate)
    drawn, found = np.empty(DRAWS), float(alike[same].mean())
    for i in range(DRAWS):
        dealt = well.copy()
        for own in places:
            dealt[own] = rng.permutation(well[own])
        again = (dealt[:, None] == dealt) & across
        drawn[i] = alike[again].mean() if again.any() else 0.0
    p = (1 + int((drawn >= found).sum())) / (1 + DRAWS)
    return Likeness(found, float(alike[other].mean()), p)
