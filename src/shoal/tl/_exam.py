"""The exam that an evaluation sets: held-out conditions, their two halves, the controls, and what else they are measured with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from .._logging import logger
from ..core._controls import LEAST, shuffled
from ..metrics import median_bandwidth
from ..metrics._comparison import Populations, Truth, project
from ..models._population import Population, grouped, population
from ..models._space import fit_space

if TYPE_CHECKING:
    from anndata import AnnData

    from .._typing import Bools, Floats, Ints, Matrix
    from ..core._screen import Screen

CONTROLS = 2_000  # most controls of a context that populations and genes are compared with
SAMPLE = 2_000  # training cells that the width of the kernel is taken from


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
    centre
        (P, G) means of cell-eval's baseline: over the training conditions of the context, and its controls as one of them.
    seed
        Of everything that is drawn.
    """

    cells: Population
    truth: Truth
    asked: tuple[Ints, ...]
    conditions: pd.DataFrame
    skipped: dict[str, str]
    halves: bool
    controls: tuple[Ints, ...]
    centre: Floats
    _pool: tuple[Ints, ...]
    _others: Floats
    seed: int

    @property
    def rows(self) -> Bools:
        """(n_obs,) cells whose twins are scored."""
        return np.isin(np.arange(self.cells.rows.shape[0]), np.concatenate(self.asked))

    def populations(self, rows: Ints, values: Matrix) -> Populations:
        """Return twins, given for some rows (sorted), as populations."""
        at = [np.searchsorted(rows, own) for own in self.asked]
        return Populations(self.truth, tuple(values[own] for own in at))

    def positive(self) -> Populations:
        """Return a second sample of the real cells: the first halves."""
        return Populations(self.truth, tuple(self.cells.rows.take(own) for own in self.asked))

    def collapsed(self) -> Populations:
        """Return the mean of the positive control, for every cell."""
        means, sizes = self.positive().means.astype(np.float32), [len(own) for own in self.asked]
        return Populations(self.truth, tuple(np.tile(mean, (n, 1)) for mean, n in zip(means, sizes, strict=True)))

    def negative(self) -> Populations:
        """Return cells of all other perturbations of the context, and their mean with equal weights."""
        rng = np.random.default_rng([self.seed, 1])
        drawn = [shuffled(p, len(own), rng)[0] for p, own in zip(self._pool, self.asked, strict=True)]
        return Populations(self.truth, tuple(self._cells(own) for own in drawn), exact=self._others)

    def control_copy(self) -> Populations:
        """Return control cells of the same contexts and batches, and the mean of the controls."""
        rng, cells = np.random.default_rng([self.seed, 2]), self.cells
        drawn = [cells.controls.draw(cells.context[own], cells.batch[own], rng)[0] for own in self.asked]
        return Populations(self.truth, tuple(self._cells(own) for own in drawn), exact=self.truth.control)

    def _cells(self, rows: Ints) -> Matrix:
        unique, back = np.unique(rows, return_inverse=True)
        return self.cells.rows.take(unique)[back]


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
    training = (cells.train if (cells.split == 2).any() else cells.perturbed & ~chosen) | cells.train_control
    condition, keys = grouped(perturbation=cells.labels.code, context=cells.context, dose=cells.dose)
    names = [_name(cells, key) for key in keys.itertuples(index=False)]
    rng = np.random.default_rng([seed, 0])
    order = np.argsort(adata.obs_names.to_numpy().astype(str), kind="stable")  # so that rows may come in any
    found, skipped = {}, {}
    for code in np.unique(condition[chosen]):
        own = rng.permutation(order[(condition[order] == code) & chosen[order]])
        if len(own) < min_cells:
            skipped[names[code]] = f"cells: {len(own)}, fewer than min_cells={min_cells}"
            continue
        found[code] = (own[: len(own) // 2], own[len(own) // 2 :]) if halves else (own, own)
    if not found:
        msg = f"none of {len(skipped)} conditions has {min_cells} cells; lower min_cells= or hold out larger perturbations"
        raise ValueError(msg)

    codes = np.array(list(found))
    asked, real = ([np.sort(own[i]) for own in found.values()] for i in (0, 1))
    perturbation, context = keys["perturbation"].to_numpy()[codes], keys["context"].to_numpy()[codes]
    contexts, group = np.unique(context, return_inverse=True)
    controls = [_all_controls(cells, int(where)) for where in contexts]
    if halves:
        controls = [shuffled(own, min(len(own), CONTROLS), rng)[0] for own in controls]
    means = _Means(cells, condition, keys)
    control_means = np.stack([means.control(int(where)) for where in contexts])
    learned = np.unique(condition[training & cells.perturbed])
    reference, others, pool, centre = [], [], [], []
    for code, here in zip(codes, group, strict=True):
        rest = means.others(code)
        reference.append(control_means[here] + _shift(means, learned, rest, int(contexts[here])))
        others.append(means.of(rest).mean(axis=0) if len(rest) else control_means[here])
        centre.append(_centre(means, learned, code))
        near = np.isin(condition, rest)
        pool.append(order[near[order]] if near.any() else controls[here])
    axes_rows = np.flatnonzero(training)
    space = fit_space(cells.rows, axes_rows, n_latent=n_comps, rng=np.random.default_rng([seed, 3]))
    axes = np.asarray(space.axes, dtype=np.float64)
    some = np.sort(shuffled(order[training[order]], min(len(axes_rows), SAMPLE), rng)[0])
    targets = {name: set(screen.parts(name)) if halves else {name} for name in cells.names}
    features = np.array(cells.features, dtype=object)
    truth = Truth(
        names=tuple(names[code] for code in codes),
        owner=np.unique(perturbation, return_inverse=True)[1],
        group=group,
        cells=tuple(cells.rows.take(own) for own in real),
        controls=tuple(cells.rows.take(np.sort(own)) for own in controls),
        reference=np.stack(reference),
        mask=np.stack([~np.isin(features, list(targets[cells.names[code]])) for code in perturbation]),
        axes=axes,
        bandwidth=median_bandwidth(project(cells.rows.take(some), axes)),
        parts=_parts(means, keys, codes, cells),
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
        controls=tuple(np.sort(own) for own in controls),
        centre=np.stack(centre),
        _pool=tuple(pool),
        _others=np.stack(others),
        seed=seed,
    )


class _Means:
    """Mean cell of every condition of a screen, from one pass over the matrix."""

    def __init__(self, cells: Population, condition: Ints, keys: pd.DataFrame) -> None:
        code = np.where(cells.perturbed, condition, -1)
        n = len(keys)
        sums, self.counts = np.zeros((n, cells.rows.shape[1])), np.bincount(code[code >= 0], minlength=n)
        for rows, block in cells.rows.blocks():
            own = code[rows]
            at = np.flatnonzero(own >= 0)
            member = sparse.csr_matrix((np.ones(len(at)), (own[at], at)), shape=(n, len(own)))
            sums += np.asarray((member @ block).todense() if sparse.issparse(block) else member @ block)
        self.sums, self.keys, self._cells = sums, keys, cells
        self._controls: dict[int, Floats] = {}

    def control(self, context: int) -> Floats:
        """Return the mean of the controls of a context."""
        if context not in self._controls:
            self._controls[context] = _mean(self._cells, _all_controls(self._cells, context))
        return self._controls[context]

    def of(self, codes: Ints) -> Floats:
        return self.sums[codes] / self.counts[codes, None]

    def others(self, code: int) -> Ints:
        """Return the conditions of the same context that are of another perturbation."""
        keys = self.keys
        near = (keys["context"] == keys["context"][code]) & (keys["perturbation"] != keys["perturbation"][code])
        return np.flatnonzero(near.to_numpy() & (self.counts > 0))


def _shift(means: _Means, learned: Ints, rest: Ints, context: int) -> Floats:
    """Return the mean shift of the training conditions of a context; of the other conditions where none is of training."""
    near = np.intersect1d(learned, rest)
    near = near if len(near) else rest
    if len(near):
        return means.of(near).mean(axis=0) - means.control(context)
    if not len(learned):
        return np.zeros(means.sums.shape[1])
    where = means.keys["context"].to_numpy()[learned]
    return np.mean([m - means.control(int(c)) for m, c in zip(means.of(learned), where, strict=True)], axis=0)


def _centre(means: _Means, learned: Ints, code: int) -> Floats:
    """Return the mean over training conditions (or all, if there are none) of a context and its controls as one more."""
    context = means.keys["context"].to_numpy()
    here = np.flatnonzero((context == context[code]) & (means.counts > 0))
    near = np.intersect1d(here, learned)
    rows = means.of(near if len(near) else here)
    return np.concatenate([rows, means.control(int(context[code]))[None]]).mean(axis=0)


def _parts(means: _Means, keys: pd.DataFrame, codes: Ints, cells: Population) -> tuple[Floats, Floats]:
    """Return the means of the two parts of each pair, in its context; NaN where it is no pair or a part was not measured."""
    known = {
        (cells.names[p], c): i
        for i, (p, c, n) in enumerate(zip(keys["perturbation"], keys["context"], means.counts, strict=True))
        if n and p < len(cells.names) and p >= 0
    }
    found = np.full((2, len(codes), means.sums.shape[1]), np.nan)
    for row, code in enumerate(codes):
        parts = cells.screen.parts(cells.names[keys["perturbation"][code]])
        at = [known.get((part, keys["context"][code])) for part in parts]
        if len(at) == 2 and None not in at:
            found[:, row] = means.of(np.array(at))
    return found[0], found[1]


def _chosen(cells: Population, adata: AnnData, split: str | None) -> Bools:
    """Return (n_obs,) which perturbed cells are asked."""
    codes = {"train": 0, "val": 1, "test": 2}
    if split is None:
        if (cells.split == 2).any():
            logger.warning("split=None scores the cells of training too, which a model has seen; use split='test'")
        return cells.perturbed
    if "split" not in adata.obs:
        return cells.perturbed
    if split not in codes:
        msg = f"split must be one of {', '.join(map(repr, codes))}, or None for all cells, not {split!r}"
        raise ValueError(msg)
    if split == "train":
        logger.warning("split='train' scores cells that the model has seen")
    chosen = cells.perturbed & (cells.split == codes[split])
    if not chosen.any():
        msg = f"no perturbed cell has obs['split'] == {split!r}; call sh.pp.split, or pass another split="
        raise ValueError(msg)
    return chosen


def _all_controls(cells: Population, context: int) -> Ints:
    """Return the controls of a context, or all where it has too few, in the order of their names."""
    at = cells.controls.cells
    own = at[cells.context[at] == context]
    return own if len(own) >= min(LEAST, len(at)) else at


def _mean(cells: Population, rows: Ints) -> Floats:
    return np.asarray(cells.rows.take(np.sort(rows)).mean(axis=0, dtype=np.float64)).ravel()


def _name(cells: Population, key: tuple[int, int, float]) -> str:
    """Return what a condition is called: ``"KLF1"``, ``"KLF1 | K562"``, ``"KLF1 | K562 | 0.1"``."""
    code, context, dose = int(key[0]), int(key[1]), float(key[2])
    name = cells.names[code] if 0 <= code < len(cells.names) else ""
    where = [cells.contexts[context]] if cells.screen.context_key is not None and context >= 0 else []
    return " | ".join([name, *where, *([] if np.isnan(dose) else [f"{dose:g}"])])
