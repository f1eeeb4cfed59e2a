"""The exam that an evaluation sets: held-out conditions, their two halves, the controls, and what else they are measured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import SPLIT
from .._logging import logger
from ..core._codes import grouped, members
from ..core._controls import shuffled
from ..core._population import Population, population
from ..metrics import median_bandwidth, principal_axes
from ..metrics._cells import Cells, repeated, sizes_of
from ..metrics._comparison import Populations, Truth, project
from ..metrics._pairs import densify
from ..models.space._linear import fit_space
from ._condition_means import ConditionMeans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._typing import Bools, Floats, Ints, Matrix
    from ..core._matrix import Rows
    from ..core._screen import Screen

CONTROLS = 2_000  # most controls of a context that populations and genes are compared with
SAMPLE = 2_000  # training cells that the width of the kernel is taken from
FEW = 500  # training cells that the axes are taken from where no metric works in them


@dataclass(frozen=True, eq=False)
class Exam:
    """What is asked, and the answers that need no model.

    Attributes
    ----------
    cells
        The screen.
    truth
        The real cells that answers are compared with: the second half of every condition, or all of them.
    asked
        Rows of each condition whose twins are scored: its first half, or all of them.
    conditions
        Index condition; perturbation, context, dose, n_real, n_predicted.
    skipped
        Conditions that are not asked, and why.
    halves
        Whether the conditions are cut in two.
    controls
        Rows of the real controls of each context that answers are compared with.
    means
        Mean cells of all conditions of the screen.
    seed
        Of everything that is drawn.
    codes
        (P,) numbers of the conditions among all of the screen.
    """

    cells: Population
    truth: Truth
    asked: tuple[Ints, ...]
    conditions: pd.DataFrame
    skipped: dict[str, str]
    halves: bool
    controls: tuple[Ints, ...]
    means: ConditionMeans
    seed: int
    codes: Ints

    @property
    def rows(self) -> Bools:
        """(n_obs,) cells whose twins are scored."""
        return np.isin(np.arange(self.cells.rows.shape[0]), np.concatenate(self.asked))

    def populations(self, rows: Ints, values: Matrix) -> Populations:
        """Return twins, given for some rows (sorted), as populations."""
        return Populations(
            self.truth, Cells(values, tuple(np.searchsorted(rows, own) for own in self.asked))
        )

    def positive(self) -> Populations:
        """Return a second sample of the real cells: the first halves."""
        return Populations(self.truth, take(self.cells.rows, self.asked))

    def collapsed(self) -> Populations:
        """Return the mean of the positive control, for every cell."""
        return Populations(
            self.truth,
            repeated(self.positive().means, [len(own) for own in self.asked], np.float32),
        )

    def average(self) -> Populations:
        """Return cell-eval's baseline for every real cell: the mean over training conditions and the controls as one more."""
        real, centre = self.truth.cells, [self.means.centre(code) for code in self.codes]
        return Populations(self.truth, repeated(centre, sizes_of(real).tolist(), real[0].dtype))

    def negative(self) -> Populations:
        """Return cells of all other perturbations of the context, and their mean with equal weights."""
        rng, cells, drawn = np.random.default_rng([self.seed, 1]), self.cells, []
        order = _by_name(cells)
        order = order[cells.perturbed[order]]
        of_context = {cells.context[order[at[0]]]: at for at in members(cells.context[order])}
        label = cells.labels.code[order]
        of_perturbation = {label[at[0]]: at for at in members(label)}
        for code, here, own in zip(self.codes, self.truth.group, self.asked, strict=True):
            context = self.means.context[code]
            near, same = of_context[context], of_perturbation[self.means.perturbation[code]]
            same = np.searchsorted(near, same[cells.context[order[same]] == context])
            n_left = len(near) - len(same)
            if n_left:
                at = shuffled(n_left, len(own), rng)[0]
                at = at + np.searchsorted(same - np.arange(len(same)), at, side="right")
                drawn.append(order[near[at]])
            else:
                drawn.append(shuffled(self.controls[here], len(own), rng)[0])
        exact = np.stack([self.means.mean_of_others(code) for code in self.codes])
        return Populations(self.truth, take(self.cells.rows, drawn), exact=exact)

    def control_copy(self) -> Populations:
        """Return control cells of the same contexts and batches, and the mean of the controls."""
        rng, cells = np.random.default_rng([self.seed, 2]), self.cells
        drawn = [
            cells.controls.draw(cells.context[own], cells.batch[own], rng)[0] for own in self.asked
        ]
        return Populations(self.truth, take(cells.rows, drawn), exact=self.truth.control)


def take(rows: Rows, index: Sequence[Ints]) -> Sequence[Matrix]:
    """Return populations at some rows, in any order and with repeats: views of a matrix in memory, copies from a file."""
    if rows.in_memory:
        source = rows.source if rows.columns is None else rows.source[:, rows.columns]
        return Cells(source, tuple(index))
    unique = [np.unique(own, return_inverse=True) for own in index]
    return tuple(rows.take(own)[back] for own, back in unique)


def set_exam(
    adata: AnnData,
    screen: Screen,
    *,
    layer: str | None,
    split: str | None,
    halves: bool,
    n_comps: int,
    min_cells: int,
    seed: int,
) -> Exam:
    """Choose the conditions that are scored, cut them in two, and prepare what they are compared with.

    Without `halves`, as other packages have it: all cells of a condition are asked and are the truth, all controls count, and
    only a gene that has the very name of a perturbation is its target.

    Raises
    ------
    ValueError
        If nothing can be scored.
    """
    cells = population(adata, screen, layer=layer)
    chosen = _chosen(cells, adata, split)
    training = (
        cells.train if (cells.split == 2).any() else cells.perturbed & ~chosen
    ) | cells.train_control
    condition, keys = grouped(
        perturbation=cells.labels.code, context=cells.context, dose=cells.dose
    )
    names = [_name(cells, key) for key in keys.itertuples(index=False)]
    rng = np.random.default_rng([seed, 0])
    order = _by_name(cells)
    found, skipped = {}, {}
    asked_for = order[chosen[order]]
    for at in members(condition[asked_for]):
        code, own = condition[asked_for[at[0]]], rng.permutation(asked_for[at])
        if len(own) < min_cells:
            skipped[names[code]] = f"cells: {len(own)}, fewer than min_cells={min_cells}"
            continue
        found[code] = (own[: len(own) // 2], own[len(own) // 2 :]) if halves else (own, own)
    if not found:
        msg = f"none of {len(skipped)} conditions has {min_cells} cells; lower min_cells= or hold out larger perturbations"
        raise ValueError(msg)

    codes = np.array(list(found))
    asked, real = ([np.sort(own[i]) for own in found.values()] for i in (0, 1))
    perturbation, context = (
        keys["perturbation"].to_numpy()[codes],
        keys["context"].to_numpy()[codes],
    )
    contexts, group = np.unique(context, return_inverse=True)
    means = ConditionMeans(cells, condition, keys, training)
    controls = [means.controls_of(int(where)) for where in contexts]
    if halves:
        controls = [shuffled(own, min(len(own), CONTROLS), rng)[0] for own in controls]
    axes, bandwidth = _space(
        cells, training, order, n_comps=n_comps, seed=seed, rng=rng if halves else None
    )
    targets = {name: screen.parts(name) if halves else [name] for name in cells.names}
    column = {name: i for i, name in enumerate(cells.features)}
    mask = np.ones((len(codes), len(column)), dtype=bool)
    for row, code in enumerate(perturbation):
        mask[row, [column[gene] for gene in targets[cells.names[code]] if gene in column]] = False
    truth = Truth(
        names=tuple(names[code] for code in codes),
        owner=np.unique(perturbation, return_inverse=True)[1],
        group=group,
        cells=take(cells.rows, real),
        controls=take(cells.rows, [np.sort(own) for own in controls]),
        reference=np.stack([means.reference(code) for code in codes]),
        mask=mask,
        axes=axes,
        bandwidth=bandwidth,
        parts=means.parts(codes),
    )
    table = pd.DataFrame(
        {
            "perturbation": [cells.names[code] for code in perturbation],
            "context": [cells.contexts[where] if where >= 0 else "" for where in context],
            "dose": ["" if np.isnan(d) else f"{d:g}" for d in keys["dose"].to_numpy()[codes]],
            "n_real": [len(own) for own in real],
            "n_predicted": [len(own) for own in asked],
        },
        index=pd.Index(truth.names, name="condition"),
    )
    return Exam(
        cells=cells,
        truth=truth,
        asked=tuple(asked),
        conditions=table,
        skipped=skipped,
        halves=halves,
        controls=tuple(controls),
        means=means,
        seed=seed,
        codes=codes,
    )


def _space(
    cells: Population,
    training: Bools,
    order: Ints,
    *,
    n_comps: int,
    seed: int,
    rng: np.random.Generator | None,
) -> tuple[Floats, float]:
    """Return principal axes of the training cells and the width of the kernel; without `rng`, axes of a few of them.

    No metric of other packages works in these axes: there they serve only to say how large the real effects are.
    """
    at = order[training[order]]
    if rng is not None:
        space = fit_space(
            cells.rows, np.sort(at), n_latent=n_comps, rng=np.random.default_rng([seed, 3])
        )
        axes = np.asarray(space.axes, dtype=np.float64)
        some = np.sort(shuffled(at, min(len(at), SAMPLE), rng)[0])
        return axes, median_bandwidth(project(cells.rows.take(some), axes))
    few = cells.rows.take(
        np.sort(shuffled(at, min(len(at), FEW), np.random.default_rng([seed, 3]))[0])
    )
    few = few.astype(np.float64)
    products = densify(
        few @ few.T
    )  # of a few cells these tell the same as the covariance of the genes
    products -= products.mean(axis=0)
    products -= products.mean(axis=1)[:, None]
    vectors, size = principal_axes(products, min(n_comps, len(products) - 1))
    if not len(size):
        msg = (
            f"the {len(products)} training cells do not vary in any of the {few.shape[1]} features"
        )
        raise ValueError(msg)
    vectors -= vectors.mean(axis=0)
    axes = np.asarray(few.T @ (vectors / np.sqrt(size)))
    return axes, np.nan


def _by_name(cells: Population) -> Ints:
    """Return the rows of a screen in the order of their names, so that they may come in any."""
    return np.argsort(cells.adata.obs_names.to_numpy().astype(str), kind="stable")


def _chosen(cells: Population, adata: AnnData, split: str | None) -> Bools:
    """Return (n_obs,) which perturbed cells are asked."""
    codes = {"train": 0, "val": 1, "test": 2}
    if split is None:
        if (cells.split == 2).any():
            logger.warning(
                "split=None scores the cells of training too, which a model has seen; use split='test'"
            )
        return cells.perturbed
    if SPLIT not in adata.obs:
        return cells.perturbed
    if split not in codes:
        msg = f"split must be one of {', '.join(map(repr, codes))}, or None for all cells, not {split!r}"
        raise ValueError(msg)
    if split == "train":
        logger.warning("split='train' scores cells that the model has seen")
    chosen = cells.perturbed & (cells.split == codes[split])
    if not chosen.any():
        msg = f"no perturbed cell has obs[{SPLIT!r}] == {split!r}; call sh.pp.split, or pass another split="
        raise ValueError(msg)
    return chosen


def _name(cells: Population, key: tuple[int, int, float]) -> str:
    """Return what a condition is called: ``"KLF1"``, ``"KLF1 | K562"``, ``"KLF1 | K562 | 0.1"``."""
    code, context, dose = int(key[0]), int(key[1]), float(key[2])
    name = cells.names[code] if 0 <= code < len(cells.names) else ""
    where = (
        [cells.contexts[context]] if cells.screen.context_key is not None and context >= 0 else []
    )
    return " | ".join([name, *where, *([] if np.isnan(dose) else [f"{dose:g}"])])
