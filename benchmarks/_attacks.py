"""Predictions that are bad on purpose, made from an honest one; `attacks.py` judges them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from scipy import sparse

import shoal as sh
from shoal.core._screen import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LAYER = "prediction"
SPREAD, SCALE = 2.0, 3.0
RAISED = 2.0  # log units, in the targets of other perturbations
TIMES, FEW = 3, 5  # how often all cells are predicted; how few cells are
BURST = 1.0  # squared coefficient of variation of what is added to counts
THINNED = 0.25  # share of the molecules that are left
INVENTED, GENES = 1.0, 100  # log units, and in how many genes
RANK = 5  # programmes of a response that a network might invent

HONEST = {
    "honest": "the honest prediction",
    "counts": "the honest prediction as counts, log-normalised again",
    "elsewhere": "real cells of the perturbation in other contexts (`other_contexts`), another baseline",
}
ATTACKS = {
    "spread": f"cells of the honest prediction, {SPREAD:g} times as far from their mean",
    "overshoot": f"cells of the honest prediction, their mean shift {SCALE:g} times as large",
    "noise": "cells of the honest prediction with independent noise, as large as the genes vary in training cells",
    "own mean": "mean of the honest prediction, for every cell",
    "one cell": "one cell of the honest prediction, for every cell",
    "perturbed mean": "mean of the training cells of the context, for every cell",
    "train cells": "perturbed training cells of the context, of whatever perturbation",
    "another": "real cells of one other perturbation of the context",
    "similar": "real cells of that perturbation of the context which responds most alike in other contexts",
    "wrong labels": "the real held-out cells, each condition with those of the next",
    "copy": "control cells",
    "targets of others": f"the honest prediction, {RAISED:g} log units higher in the targets of all other perturbations",
    "own target": f"the honest prediction, {RAISED:g} log units higher in the target of the perturbation alone",
    "more cells": f"all cells of the honest prediction {TIMES} times, with noise a third as large as the genes vary",
    "few cells": f"{FEW} cells of the honest prediction of every condition, and no others",
    "bursts": "`counts`, with a gamma variable of squared coefficient of variation "
    f"{BURST:g} on every count, and Poisson noise",
    "no bursts": "Poisson counts of the means of `counts`, with its library sizes",
    "thinned": f"`counts`, of which each molecule is kept with probability {THINNED:g}, log-normalised again",
    "invented": f"control cells, {INVENTED:g} log unit higher in {GENES} genes (or a third of all) at random",
    "low rank": f"control cells, moved by a mixture of {RANK} random programmes, by another part of it in every cell; as far "
    "as `invented`",
    "few invented": f"{FEW} cells of `invented` of every condition, and no others",
}


@dataclass(frozen=True)
class Names:
    """The column of perturbations and that of contexts."""

    perturbation: str
    context: str


class Screen:
    """A screen, an honest prediction of its held-out cells, and attacks on it.

    An attack is an (n_obs, n_genes) table of values, row i in place of cell i, or an AnnData of predicted cells.

    Parameters
    ----------
    adata
        A prepared screen with a split by `perturbation_context`.
    honest
        Name of the model that is honest.
    seed
        Seed of the model and of the attacks.
    """

    def __init__(self, adata: ad.AnnData, honest: str, seed: int) -> None:
        self.adata, self.rng, self.seed = adata, np.random.default_rng(seed), seed
        obs, screen = adata.obs, resolve(adata)
        self.keys = Names(screen.perturbation_key, screen.context_key)
        self.x = dense(adata.X)
        self.label = obs[screen.perturbation_key].astype(str).to_numpy()
        self.context = obs[screen.context_key].astype(str).to_numpy()
        self.test = (obs["split"] == "test").to_numpy()
        self.control = np.isin(self.label, screen.control)
        self.train = (obs["split"] == "train").to_numpy() & ~self.control
        self.sd = self.x[self.train | self.control].std(axis=0)
        self.honest_name = honest
        self.honest = self.twins(honest)

    def twins(self, name: str, *, counts: bool = False) -> np.ndarray:
        """Return the twins that a model predicts of all held-out cells."""
        model = sh.tl.fit(self.adata, name, rng=self.seed)
        sh.tl.predict(
            self.adata,
            model,
            key_added=LAYER,
            subset="test",
            rng=self.seed,
            counts=counts,
            overwrite=True,
        )
        values = dense(self.adata.layers.pop(LAYER))
        del self.adata.uns["perturbation_predictions"]
        return values

    # -- parts of attacks ------------------------------------------------------------------------

    def each(
        self, change: Callable[[np.ndarray, str, str], np.ndarray], start: np.ndarray | None = None
    ) -> np.ndarray:
        """Apply a change to the rows of every held-out condition."""
        values = (self.honest if start is None else start).copy()
        for where, name in sorted(
            set(zip(self.context[self.test], self.label[self.test], strict=True))
        ):
            rows = np.flatnonzero(self.test & (self.context == where) & (self.label == name))
            values[rows] = change(rows, name, where)
        return values

    def drawn(self, pool: np.ndarray, n: int) -> np.ndarray:
        return self.x[self.rng.choice(np.flatnonzero(pool), n, replace=n > pool.sum())]

    def mean(self, rows: np.ndarray) -> np.ndarray:
        return self.honest[rows].mean(axis=0)

    def controls(self, where: str, n: int) -> np.ndarray:
        return self.drawn(self.control & (self.context == where), n)

    def following(self, name: str, where: str, among: np.ndarray) -> np.ndarray:
        """Return the cells of the perturbation after this one, in a context."""
        here = among & (self.context == where)
        names = sorted(set(self.label[here]) - {name})
        after = next((other for other in names if other > name), names[0])
        return here & (self.label == after)

    def most_alike(self, name: str, where: str) -> np.ndarray:
        """Return the training cells, in a context, of the perturbation that responds most alike in the other contexts."""
        own = self._shifts(name, where)
        names = sorted(set(self.label[self.train & (self.context == where)]) - {name})
        alike = [_cosine(own, self._shifts(other, where)) for other in names]
        return self.train & (self.context == where) & (self.label == names[int(np.argmax(alike))])

    def _shifts(self, name: str, where: str) -> dict[str, np.ndarray]:
        """Return the mean training shift of a perturbation in every context but one."""
        found = {}
        for context in sorted(set(self.context) - {where}):
            here = self.context == context
            rows = here & self.train & (self.label == name)
            if rows.any():
                base = self.x[here & self.control].mean(axis=0)
                found[context] = self.x[rows].mean(axis=0) - base
        return found

    def targets(self) -> dict[str, np.ndarray]:
        """Return (n_genes,) booleans of every perturbation that is held out: the gene that bears its name."""
        names = self.adata.var_names.to_numpy()
        return {name: names == name for name in set(self.label[self.test])}

    def normalised(self, counts: np.ndarray) -> np.ndarray:
        """Return log-normalised counts, of the total that the cells of the screen have."""
        total = np.median(np.expm1(self.x).sum(axis=1))
        depth = np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return np.log1p(counts * (total / depth))

    def apart(self, rows: np.ndarray, values: np.ndarray) -> ad.AnnData:
        """Return predicted cells of the conditions of some rows."""
        obs = self.adata.obs.iloc[rows][[self.keys.perturbation, self.keys.context]].copy()
        obs.index = [f"cell{i}" for i in range(len(rows))]
        return ad.AnnData(values.astype(np.float32), obs=obs, var=self.adata.var[[]])

    def first(self, values: np.ndarray, n: int) -> ad.AnnData:
        """Return the first n predicted cells of every held-out condition."""
        obs = self.adata.obs
        keys = [self.keys.perturbation, self.keys.context]
        place = obs[self.test].groupby(keys, observed=True).cumcount().to_numpy()
        rows = np.flatnonzero(self.test)[place < n]
        return self.apart(rows, values[rows])

    # -- attacks ---------------------------------------------------------------------------------

    def predictions(self) -> dict[str, Any]:
        """Return the honest predictions and all attacks, by name."""
        counts = self.twins(self.honest_name, counts=True)
        invented = self._invented()
        return {
            "honest": self.honest,
            "counts": self.normalised(counts),
            "elsewhere": self.twins("other_contexts"),
            **self._of_cells(),
            **self._of_targets(),
            **self._of_numbers(),
            **self._of_counts(counts),
            "invented": invented,
            "low rank": self._low_rank(invented),
            "few invented": self.first(invented, FEW),
        }

    def _of_cells(self) -> dict[str, np.ndarray]:
        """Return the honest cells, spoilt, and real cells in their place."""
        base = {c: self.x[self.control & (self.context == c)].mean(axis=0) for c in self.context}
        known = {c: self.train & (self.context == c) for c in base}
        held_out = {c: self.test & (self.context == c) for c in base}

        def next_of(rows: np.ndarray, name: str, where: str) -> np.ndarray:
            several = len(set(self.label[held_out[where]])) > 1
            pool = self.following(name, where, self.test if several else self.train)
            return self.drawn(pool, len(rows))

        return {
            "spread": self.each(
                lambda r, _, c: self.mean(r) + SPREAD * (self.honest[r] - self.mean(r))
            ),
            "overshoot": self.each(
                lambda r, _, c: self.honest[r] + (SCALE - 1) * (self.mean(r) - base[c])
            ),
            "noise": self.honest + self.sd * self.rng.normal(size=self.honest.shape),
            "own mean": self.each(lambda r, _, c: self.mean(r)),
            "one cell": self.each(lambda r, _, c: self.honest[r[:1]]),
            "perturbed mean": self.each(lambda r, _, c: self.x[known[c]].mean(axis=0)),
            "train cells": self.each(lambda r, _, c: self.drawn(known[c], len(r))),
            "another": self.each(
                lambda r, n, c: self.drawn(self.following(n, c, self.train), len(r))
            ),
            "similar": self.each(lambda r, n, c: self.drawn(self.most_alike(n, c), len(r))),
            "wrong labels": self.each(next_of),
            "copy": self.each(lambda r, _, c: self.controls(c, len(r))),
        }

    def _of_targets(self) -> dict[str, np.ndarray]:
        """Return the honest prediction with other values of targets; nothing if no perturbation is a gene."""
        targets = self.targets()
        panel = np.any(list(targets.values()), axis=0)
        if not panel.any():
            return {}
        return {
            "targets of others": self.each(
                lambda r, n, _: self.honest[r] + RAISED * (panel & ~targets[n])
            ),
            "own target": self.each(lambda r, n, _: self.honest[r] + RAISED * targets[n]),
        }

    def _of_numbers(self) -> dict[str, ad.AnnData]:
        """Return the honest prediction with more and with fewer cells."""
        rows = np.repeat(np.flatnonzero(self.test), TIMES)
        noise = self.sd / 3 * self.rng.normal(size=(len(rows), len(self.sd)))
        return {
            "more cells": self.apart(rows, self.honest[rows] + noise),
            "few cells": self.first(self.honest, FEW),
        }

    def _of_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the counts of the honest prediction with more noise and with less."""
        library = counts.sum(axis=1, keepdims=True)
        factor = self.rng.gamma(1 / BURST, BURST, size=counts.shape)

        def smooth(rows: np.ndarray, *_: str) -> np.ndarray:
            share = counts[rows].sum(axis=0) / max(library[rows].sum(), 1)
            return self.normalised(self.rng.poisson(library[rows] * share))

        return {
            "bursts": self.normalised(self.rng.poisson(counts * factor)),
            "no bursts": self.each(smooth),
            "thinned": self.normalised(self.rng.binomial(counts.astype(np.int64), THINNED)),
        }

    def _invented(self) -> np.ndarray:
        """Return control cells that all respond in genes drawn for each perturbation."""
        n = min(GENES, len(self.sd) // 3)

        def respond(rows: np.ndarray, _: str, where: str) -> np.ndarray:
            genes = self.rng.choice(len(self.sd), n, replace=False)
            cells = self.controls(where, len(rows))
            cells[:, genes] += INVENTED
            return cells

        return self.each(respond)

    def _low_rank(self, invented: np.ndarray) -> np.ndarray:
        """Return control cells with smooth responses that perturbations share, as those of a network."""
        programmes = self.rng.normal(size=(RANK, len(self.sd))) * self.sd
        length = INVENTED * np.sqrt(min(GENES, len(self.sd) // 3))
        mixtures = {name: self.rng.normal(size=RANK) for name in sorted(set(self.label))}

        def respond(rows: np.ndarray, name: str, where: str) -> np.ndarray:
            shift = mixtures[name] @ programmes
            shift *= length / np.linalg.norm(shift)
            part = self.rng.gamma(4, 0.25, size=(len(rows), 1))
            return np.maximum(self.controls(where, len(rows)) + part * shift, 0)

        return self.each(respond, invented)


def _cosine(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """Return the cosine of two responses over the contexts that both have, -1 if there is none."""
    both = sorted(set(one) & set(other))
    if not both:
        return -1.0
    a, b = (np.concatenate([of[context] for context in both]) for of in (one, other))
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def dense(values: Any) -> np.ndarray:
    """Return values as a dense table of double precision."""
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
