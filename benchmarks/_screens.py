"""Real screens and their splits, ready for models; shared by benchmark scripts. All screens are subsets of genes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from _evaluate import LEAST

import shoal as sh
from shoal.core._screen import labels, resolve
from shoal.models.base._registry import model_class, names

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results"
FLOOR, COPY = "second real half", "control copy"
GENES = 2000  # most genes in the PCA of the scores, the most variable ones among training cells; models see all
GO = "go_svd_gene_embedding_128.npz"


@dataclass(frozen=True)
class Split:
    """What is held out, how much of it, and what tells perturbations apart (one-hot, or vectors of genes)."""

    by: str
    test: float = 0.2
    embedding: str = "one-hot"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """A real screen: its file, what `pp.annotate` is told, and the splits that it supports."""

    file: str
    key: str
    control: str | list[str]
    splits: dict[str, Split]
    columns: dict[str, str] = field(default_factory=dict)
    keep: Callable[[ad.AnnData], ad.AnnData] = lambda adata: adata
    counts: bool = True
    least: int = LEAST
    by_dose: bool = True


def promoters(adata: ad.AnnData) -> ad.AnnData:
    """Keep the perturbed promoters, which have the vector of their gene, and the controls."""
    adata.var_names = adata.var["symbol"].astype(str)
    adata.var_names_make_unique()
    name = adata.obs["perturbation"].astype(str)
    adata.obs["perturbation"] = name.str.removesuffix("_TSS")
    return adata[name.str.endswith("_TSS") | (name == "non-targeting")]


UNSEEN = Split("perturbation", embedding="go")
DATA = {
    "papalexi": Data(
        "papalexi21_sceptre_lowmoi.h5ad",
        "perturbation",
        "non-targeting",
        {"perturbation": UNSEEN, "guide": Split("guide")},
        columns={"batch_key": "bio_rep", "guide_key": "grna"},
        keep=lambda adata: adata[adata.obs["guide_confident"]],
    ),
    "renge": Data(
        "renge23_hipsc_ko.h5ad",
        "perturbation",
        "control",
        {
            "perturbation_context": Split("perturbation_context"),
            "perturbation": UNSEEN,
            "context": Split("context", 0.3),
        },
        columns={"context_key": "day"},
    ),
    "norman": Data(
        "norman19_perturbench.h5ad",
        "perturbation",
        "control",
        {
            "combination": Split("combination", 0.6, options={"parts_seen": 2}),
            "combination, parts unseen": Split(
                "combination", embedding="go", options={"parts_seen": 0}
            ),
            "perturbation": UNSEEN,
        },
    ),
    "kang": Data(
        "kang18_scgen_valid.h5ad",
        "condition",
        "control",
        {"context": Split("context", 0.3)},
        columns={"context_key": "cell_type"},
    ),
    "gasperini": Data(
        "gasperini19_sceptre_highmoi.h5ad",
        "perturbation",
        "non-targeting",  # cells without a listed guide carry other guides: no controls
        {"perturbation": UNSEEN},
        columns={"batch_key": "batch"},
        keep=promoters,
    ),
    "bbbc021": Data(
        "bbbc021_profiles_dose.h5ad",
        "compound",
        "DMSO",
        {"dose": Split("dose", 0.4), "perturbation": Split("perturbation")},
        columns={"dose_key": "concentration_uM", "batch_key": "plate"},
        counts=False,
        least=6,  # wells, each the mean of many cells
        by_dose=False,
    ),
}


@dataclass(frozen=True)
class Task:
    """One screen, split and seed, and the models that are still to be run on it."""

    data: str
    split: str
    seed: int
    models: tuple[str, ...]
    steps: int | None
    folder: Path


def raw(task: Task) -> ad.AnnData:
    """Read and annotate a screen, with vectors of the perturbations where its split asks for them."""
    data, split = DATA[task.data], DATA[task.data].splits[task.split]
    adata = data.keep(ad.read_h5ad(task.folder / data.file)).copy()
    sh.pp.annotate(adata, data.key, control=data.control, **data.columns)
    return embedded(adata, task.folder / GO) if split.embedding == "go" else adata


def division(task: Task) -> dict[str, Any]:
    """Return the arguments of `pp.split`."""
    split = DATA[task.data].splits[task.split]
    return {"by": split.by, "test": split.test, "rng": task.seed, **split.options}


def preparation(task: Task) -> dict[str, Any]:
    """Return the arguments of `pp.prepare`: what is learned is learned from training cells."""
    counts = DATA[task.data].counts
    return {
        "normalize": "log1p" if counts else None,
        "fit_on": "train",
        "n_top_genes": GENES if counts else None,
        "cross_fit": 0,
    }


def prepare(task: Task) -> ad.AnnData:
    """Read a screen, split it, and normalise and embed it from training cells only."""
    adata = raw(task)
    sh.pp.split(adata, **division(task))
    sh.pp.prepare(adata, overwrite=True, **preparation(task))
    return adata


def embedded(adata: ad.AnnData, table: Path) -> ad.AnnData:
    """Embed perturbations by the vectors of their genes; those of a gene without one are left out, for all models."""
    sh.pp.embed(adata, method="table", source=table, key_added="go", missing="drop")
    known = set(adata.uns["perturbation_embeddings"]["go"].index)
    screen = resolve(adata)
    names = labels(adata, screen)
    lacking = np.array([not set(screen.parts(name)) <= known for name in names.names] + [False])
    return adata[~lacking[names.code]].copy()


def contender(text: str) -> tuple[str, str | None]:
    """Return the name and the preset of ``"perturbdiff:published"``."""
    name, _, preset = text.partition(":")
    return name, preset or None


def settings(text: str, embedding: str, *, steps: int | None) -> dict[str, Any]:
    """Return the arguments of `tl.fit`: vectors if they are not one-hot and the model can use them, and its preset."""
    name, preset = contender(text)
    options: dict[str, Any] = {} if preset is None else {"preset": preset}
    if embedding != "one-hot" and "embedding" in signature(model_class(name).__init__).parameters:
        options["embedding"] = embedding
    if name in names("network"):
        options["max_steps"] = steps
    return options


def fitted(
    adata: ad.AnnData,
    text: str,
    embedding: str,
    *,
    steps: int | None,
    seed: int,
    options: dict[str, Any] | None = None,
) -> Any:
    """Return a trained model with its `settings`, and further options."""
    own = {**(options or {}), **settings(text, embedding, steps=steps)}
    return sh.tl.fit(adata, contender(text)[0], rng=seed, **own)
