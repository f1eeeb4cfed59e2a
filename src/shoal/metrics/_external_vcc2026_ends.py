"""The two ends of the scale of the challenge: the mean response, and a replicate of the screen.

Both are drawn with the random numbers of cell-eval2, so that its numbers come out. They depend on
the order of the cells, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._external_vcc2026 import NMAE, RULES, fold_change_error, panel_value, target_values
from ._external_vcc2026_profiles import Counts
from ._external_vcc2026_sides import side_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scipy.sparse import csr_matrix

    from .._typing import Floats, Ints
    from ._external_vcc2026_sides import Side

SPLITS = 5
SEED = 0


@dataclass(frozen=True, eq=False)
class Panel:
    """The real cells of all targets of a context.

    Attributes
    ----------
    counts
        Real cells.
    members
        Rows of each of the P targets, sorted.
    control
        Rows of the control cells, sorted.
    target
        (P,) column of the gene of each target; -1 where it is no gene of the data.
    by_name
        (P,) positions of the targets in the order of their names.
    by_label
        Positions of the targets, and -1 for the controls, in the order of their labels in the data.
    genes
        (G,) rank of each gene in the order of names.
    """

    counts: Counts
    members: tuple[Ints, ...]
    control: Ints
    target: Ints
    by_name: Ints
    by_label: tuple[int, ...]
    genes: Ints


def mean_response(panel: Panel) -> tuple[Counts, tuple[Ints, ...]]:
    """Return cells that show the mean response of the panel, whatever the target.

    The response is the mean of the mean counts of all targets; that of a gene leaves out its own
    target. Control cells are drawn with replacement, as many as a target has cells, and their genes
    are scaled to that mean.

    Returns
    -------
    Counts, not whole, and the rows of each target.

    Raises
    ------
    ValueError
        If there is one target only, or all have the same gene.
    """
    x = panel.counts.values
    means = np.stack([_mean(x[own]) for own in panel.members])
    total, n = means[panel.by_name].sum(axis=0), np.full(means.shape[1], len(means))
    known = np.flatnonzero(panel.target >= 0)
    np.subtract.at(total, panel.target[known], means[known, panel.target[known]])
    np.subtract.at(n, panel.target[known], 1)
    if len(means) < 2:
        msg = (
            "a panel of one target has no mean response but its own, and no scale: "
            "the challenge compares the targets of a panel with one another"
        )
        raise ValueError(msg)
    if (n == 0).any():
        msg = (
            "the mean response of a gene leaves out its own target, and all targets of the panel "
            "have the same gene: there is no scale"
        )
        raise ValueError(msg)
    controls = x[panel.control].astype(np.float64)
    base = _mean(controls)
    scale = np.divide(total / n, base, out=np.zeros(len(base)), where=base > 0)
    rng, drawn = np.random.default_rng(SEED), [np.empty(0, dtype=np.int64)] * len(panel.members)
    for p in panel.by_name:
        drawn[p] = rng.integers(0, controls.shape[0], size=len(panel.members[p]))
    made = controls[np.concatenate(drawn)]
    made.data = (made.data * scale[made.indices]).astype(np.float32)
    made.eliminate_zeros()
    ends = np.cumsum([len(own) for own in drawn])
    return Counts(made), tuple(np.split(np.arange(made.shape[0]), ends[:-1]))


def _mean(cells: csr_matrix) -> Floats:
    return np.asarray(cells.astype(np.float64).mean(axis=0)).ravel()


def halves(panel: Panel) -> Iterator[tuple[list[Ints], list[Ints], Ints, Ints]]:
    """Yield five cuts of a panel: rows of each target in half a and b, and of the controls."""
    for seed in np.random.SeedSequence(SEED).generate_state(SPLITS):
        rng = np.random.default_rng(int(seed))
        cut = {}
        for at in panel.by_label:
            own = rng.permutation(panel.control if at < 0 else panel.members[at])
            half = len(own) // 2
            cut[at] = own[:half], own[half : 2 * half]
        first, second = ([cut[p][k] for p in range(len(panel.members))] for k in (0, 1))
        yield first, second, *cut[-1]


def replicate(panel: Panel, real: Side) -> dict[str, Floats]:
    """Return what a second experiment of the same kind scores, for every metric and cut.

    Half b is scored against half a, each with its own half of the controls. The error of fold
    changes takes the genes and the sizes of effects from all real cells.

    Parameters
    ----------
    panel
        The real cells.
    real
        The same with all control cells.

    Returns
    -------
    (5,) values of the whole panel by name of the metric.
    """
    found: dict[str, list[float]] = {name: [] for name in RULES}
    other = np.ones(real.bulk.shape, dtype=bool)
    known = np.flatnonzero(panel.target >= 0)
    other[known, panel.target[known]] = False
    for first, second, control, other_control in halves(panel):
        one = side_of(panel.counts, first, panel.counts, control)
        two = side_of(panel.counts, second, panel.counts, other_control)
        values = target_values(two, one, target=panel.target, names=panel.genes)
        values[NMAE] = fold_change_error(two, one, other, reference=real)
        for name, own in found.items():
            own.append(panel_value(name, values))
    return {name: np.array(own) for name, own in found.items()}


def panel_of(
    counts: Counts,
    members: Sequence[Ints],
    control: Ints,
    *,
    target: Ints,
    names: Sequence[str],
    labels: Sequence[int],
    genes: Sequence[str],
) -> Panel:
    """Return the panel of a context.

    Parameters
    ----------
    counts, members, control, target
        As in `Panel`.
    names
        (P,) names of the targets.
    labels
        As `by_label` in `Panel`.
    genes
        (G,) names of the genes.
    """
    rank = np.empty(len(genes), dtype=np.int64)
    rank[np.argsort(np.array(genes, dtype=str), kind="stable")] = np.arange(len(genes))
    by_name = np.argsort(np.array(names, dtype=str), kind="stable")
    return Panel(counts, tuple(members), control, target, by_name, tuple(labels), rank)
