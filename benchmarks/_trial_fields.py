"""Small screens to try the score on, simulated and real, with cells of held-out conditions put aside.

A `Field` is a screen that is ready for `tl.evaluate`. Half of the cells of every held-out condition are put aside before it is
scored, if it is to have an oracle: they are another experiment, which nobody has seen. All fields are small subsets of genes and
cells, drawn anew with every seed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import shoal as sh

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
KEY, WHERE, CONTROL = "perturbation", "context", "control"
GENES = 120  # of a field: the most variable ones


class Prepared:
    """A baseline whose predictions are a layer of the screen, so that one evaluation scores many predictions."""

    kind = "baseline"
    slot = ""
    vocabulary = SimpleNamespace(transductive=False)

    def __init__(self, adata: ad.AnnData) -> None:
        self.adata = adata

    @classmethod
    def setup_anndata(cls, adata: ad.AnnData, *_: Any, **__: Any) -> None:
        """Nothing to set up."""

    def train(self) -> None:
        """Nothing to learn."""

    def twins(self, cells: Any, *, subset: np.ndarray, rng: Any = 0) -> tuple[np.ndarray, ...]:
        """Return the rows of the subset, their values, and the rows that these started from."""
        rows = np.flatnonzero(subset)
        return rows, self.adata.layers[self.slot][rows], rows


def offered(name: str) -> str:
    """Return the name of the baseline that predicts the layer of this name."""
    slug = "made_" + "".join(c if c.isalnum() else "_" for c in name)
    sh.models.register(
        slug, type(slug, (Prepared,), {"slot": name, "__doc__": name}), overwrite=True
    )
    return slug


@dataclass(frozen=True, eq=False)
class Field:
    """A screen that is split and normalised, and further cells of its held-out conditions.

    Attributes
    ----------
    adata
        The screen.
    spare
        (perturbation, context) -> (n, n_genes) further cells; empty if there are none.
    rng
        Draws everything that is made for it.
    """

    adata: ad.AnnData
    spare: dict[tuple[str, str], np.ndarray]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.adata.X = sparse.csr_matrix(self.adata.X, dtype=np.float32)

    @property
    def x(self) -> np.ndarray:
        return self.adata.X.toarray()

    @property
    def label(self) -> np.ndarray:
        return self.adata.obs[KEY].astype(str).to_numpy()

    @property
    def context(self) -> np.ndarray:
        several = WHERE in self.adata.obs
        return (
            self.adata.obs[WHERE].astype(str).to_numpy()
            if several
            else np.full(self.adata.n_obs, "")
        )

    @property
    def conditions(self) -> dict[tuple[str, str], np.ndarray]:
        """Held-out (perturbation, context) -> its rows."""
        test = ((self.adata.obs["split"] == "test") & (self.label != CONTROL)).to_numpy()
        frame = pd.DataFrame({"p": self.label, "c": self.context, "row": np.arange(len(test))})[
            test
        ]
        return {key: own["row"].to_numpy() for key, own in frame.groupby(["p", "c"])}

    def filled(self, cells: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
        """Return (n_obs, n_genes) predictions, from those of every held-out condition."""
        values = np.zeros(self.adata.shape, dtype=np.float32)
        for key, rows in self.conditions.items():
            values[rows] = np.maximum(cells[key], 0)
        return values

    def controls(self) -> dict[tuple[str, str], np.ndarray]:
        """Return control cells of the context of every held-out condition, as many as it has cells."""
        return self._drawn(lambda p, c: (self.label == CONTROL) & (self.context == c))

    def others(self) -> dict[tuple[str, str], np.ndarray]:
        """Return cells of other perturbations of the context, all together; of other contexts where it has none."""
        perturbed = self.label != CONTROL

        def pool(name: str, where: str) -> np.ndarray:
            here = perturbed & (self.context == where) & (self.label != name)
            return here if here.any() else perturbed & (self.context != where)

        return self._drawn(pool)

    def further(self) -> dict[tuple[str, str], np.ndarray]:
        """Return cells that were put aside, as many of every held-out condition as it has cells."""
        return {
            key: self.spare[key][self._chosen(len(self.spare[key]), len(rows))]
            for key, rows in self.conditions.items()
        }

    def _drawn(self, which: Any) -> dict[tuple[str, str], np.ndarray]:
        x = self.x
        pools = {key: np.flatnonzero(which(*key)) for key in self.conditions}
        return {
            key: x[pools[key][self._chosen(len(pools[key]), len(rows))]]
            for key, rows in self.conditions.items()
        }

    def _chosen(self, n: int, k: int) -> np.ndarray:
        """Return k of n, each as often as the others, or once more."""
        return np.concatenate([self.rng.permutation(n) for _ in range(-(-k // n))])[:k]

    def judged(
        self,
        made: dict[str, np.ndarray],
        *,
        baselines: tuple[str, ...] = (),
        rng: int = 0,
        apart: bool = False,
        **options: Any,
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return the table of contenders, and the parameters of the evaluation.

        Parameters
        ----------
        made
            Name -> (n_obs, n_genes) predictions.
        baselines
            Names of models of shoal that are scored beside them.
        rng
            Seed of the evaluation.
        apart
            Whether every prediction has an evaluation of its own, the others not being baselines.
        """
        tables = []
        for name, values in made.items():
            self.adata.layers[name] = sparse.csr_matrix(values, dtype=np.float32)
        for name in made if apart else list(made)[:1]:
            rest = [] if apart else [offered(one) for one in made if one != name]
            sh.tl.evaluate(
                self.adata,
                prediction=name,
                baselines=[*baselines, *rest],
                rng=rng,
                overwrite=True,
                **options,
            )
            entry = self.adata.uns["evaluation"]
            back = {offered(one): one for one in made} | {"prediction": name}
            tables.append(entry["contenders"].rename(index=back))
        table = pd.concat(tables)
        return table[~table.index.duplicated()], dict(entry["params"])


def field_of(
    counts: ad.AnnData,
    by: str,
    *,
    test: Any,
    seed: int,
    spare: bool,
    n_genes: int = GENES,
    **split: Any,
) -> Field:
    """Return a field from raw counts with the columns `KEY` and perhaps `WHERE`."""
    rng = np.random.default_rng([seed, 18])
    several = WHERE in counts.obs
    sh.pp.annotate(counts, KEY, control=CONTROL, **({"context_key": WHERE} if several else {}))
    sh.pp.split(counts, by=by, test=test, rng=seed, **split)
    sh.pp.prepare(
        counts, normalize="log1p", fit_on="train", cross_fit=0, n_comps=20, overwrite=True
    )
    dense = counts.X.toarray() if sparse.issparse(counts.X) else np.asarray(counts.X)
    best = np.sort(np.argsort(-dense.var(axis=0), kind="stable")[:n_genes])
    counts, dense = counts[:, best].copy(), dense[:, best]
    whole = Field(counts, {}, rng)
    aside: dict[tuple[str, str], np.ndarray] = {}
    keep = np.ones(counts.n_obs, dtype=bool)
    if spare:
        for key, rows in whole.conditions.items():
            chosen = rng.permutation(rows)[: len(rows) // 2]
            aside[key], keep[chosen] = dense[chosen], False
    return Field(counts[keep].copy(), aside, rng)


# -- where the cells come from -------------------------------------------------------------------


def simulated(
    seed: int, *, contexts: int = 1, n_cells: int = 100, n: int = 16, **options: Any
) -> ad.AnnData:
    """Return raw counts of a simulated screen."""
    return sh.ds.simulate(
        n_perturbations=n,
        n_cells=n_cells * contexts,
        n_control=400 * contexts,
        n_genes=GENES,
        n_batches=1,
        contexts=contexts,
        context_effect=0.4,
        rng=seed,
        **options,
    )


@cache
def _read(file: str) -> ad.AnnData:
    adata = ad.read_h5ad(FOLDER / file)
    if "guide_confident" in adata.obs:
        adata = adata[adata.obs["guide_confident"]].copy()
    return adata


FILES = {  # file, column of perturbations, control, column of contexts
    "papalexi": ("papalexi21_sceptre_lowmoi.h5ad", "perturbation", "non-targeting", None),
    "renge": ("renge23_hipsc_ko.h5ad", "perturbation", "control", "day"),
    "norman": ("norman19_perturbench.h5ad", "perturbation", "control", None),
    "kang": ("kang18_scgen_valid.h5ad", "condition", "control", "cell_type"),
    "gasperini": ("gasperini19_sceptre_highmoi.h5ad", "perturbation", "non-targeting", None),
    "kang controls": ("kang18_ctrl_8donors_null.h5ad", "", "", "cell_type"),
}


def real(
    name: str, seed: int, *, most: int, n_control: int, contexts: tuple[str, ...] | None = ()
) -> ad.AnnData:
    """Return raw counts of a real screen, with at most so many cells of every condition.

    Parameters
    ----------
    name
        One of `FILES`.
    seed
        Seed of the draw.
    most, n_control
        Most cells of a condition, and of the controls of a context.
    contexts
        Contexts to keep; all if empty; ``None`` for a screen without a column of contexts.
    """
    file, key, control, where = FILES[name]
    adata, rng = _read(file), np.random.default_rng([seed, 19])
    label = adata.obs[key].astype(str).to_numpy() if key else np.full(adata.n_obs, "")
    context = adata.obs[where].astype(str).to_numpy() if where else np.full(adata.n_obs, "")
    wanted = np.isin(context, contexts) if contexts else np.ones(adata.n_obs, dtype=bool)
    if name == "gasperini":  # cells without a listed guide carry other guides: no controls
        wanted &= np.char.endswith(label.astype("U"), "_TSS") | (label == control)
    label = np.where(label == control, CONTROL, label)
    rows = []
    for (one, _), own in pd.DataFrame({"p": label, "c": context, "row": np.arange(len(label))})[
        wanted
    ].groupby(["p", "c"]):
        n = n_control if one == CONTROL else most
        rows.append(rng.permutation(own["row"].to_numpy())[:n])
    chosen = np.sort(np.concatenate(rows))
    obs = pd.DataFrame({KEY: pd.Categorical(label[chosen])}, index=adata.obs_names[chosen])
    if where and contexts is not None:
        obs[WHERE] = pd.Categorical(context[chosen])
    found = ad.AnnData(sparse.csr_matrix(adata.X[chosen], dtype=np.float32), obs=obs)
    found.var_names = adata.var_names
    if name == "gasperini":  # a promoter is that of a gene, which is left out of the metrics
        found.var_names = adata.var["symbol"].astype(str)
        found.var_names_make_unique()
        found.obs[KEY] = found.obs[KEY].astype(str).str.removesuffix("_TSS").astype("category")
    return found


def halves(
    name: str, seed: int, *, n: int, n_cells: int, n_control: int, contexts: tuple[str, ...] | None
) -> ad.AnnData:
    """Return control cells of a real screen, some of them dealt to `n` perturbations that were never applied."""
    adata = real(
        name,
        seed,
        most=n_control + n * n_cells,
        n_control=n_control + n * n_cells,
        contexts=contexts,
    )
    if FILES[name][1]:
        adata = adata[adata.obs[KEY] == CONTROL].copy()
    rng = np.random.default_rng([seed, 20])
    context = (
        adata.obs[WHERE].astype(str).to_numpy() if WHERE in adata.obs else np.full(adata.n_obs, "")
    )
    label = np.full(adata.n_obs, CONTROL, dtype=object)
    for here in np.unique(context):
        rows = rng.permutation(np.flatnonzero(context == here))
        dealt = rows[: min(n * n_cells, len(rows) * 2 // 3)]
        label[dealt] = [f"fake{1 + i % n:02d}" for i in range(len(dealt))]
    adata.obs[KEY] = pd.Categorical(label.astype(str))
    return adata


@cache
def responses(name: str) -> np.ndarray:
    """Return (n_perturbations, n_genes) mean shifts of a real screen, log-normalised, the targets among them."""
    contexts = {"renge": ("5",)}.get(name)
    adata = real(name, 0, most=300, n_control=600, contexts=contexts)
    x = adata.X.toarray()
    total = x.sum(axis=1, keepdims=True)
    x = np.log1p(x / np.maximum(total, 1) * np.median(total))
    label = adata.obs[KEY].astype(str).to_numpy()
    base = x[label == CONTROL].mean(axis=0)
    return np.stack(
        [x[label == one].mean(axis=0) - base for one in np.unique(label) if one != CONTROL]
    )
