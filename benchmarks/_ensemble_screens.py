"""Screens and splits that the ensemble is tried on, ready for models; shared by benchmark scripts."""

from __future__ import annotations

from dataclasses import dataclass

import anndata as ad
import numpy as np
from _knowledge_screens import density
from _screens import DATA, FOLDER, Task, preparation, prepare, raw
from graphs import FILE, shared_targets

import shoal as sh


@dataclass(frozen=True)
class Trial:
    """A screen with a split.

    Attributes
    ----------
    adata
        Screen, split and prepared.
    by
        What the split holds out.
    embedding
        Vectors of the perturbations, if there are any.
    """

    adata: ad.AnnData
    by: str
    embedding: str | None = None


TASKS = [  # data:split
    "papalexi:perturbation",
    "papalexi:guide",
    "renge:perturbation_context",
    "renge:perturbation",
    "renge:context",
    "renge:late days",
    "norman:combination",
    "norman:combination, parts unseen",
    "norman:perturbation",
    "gasperini:perturbation",
    "null:perturbation",
    "null:perturbation_context",
    "density:context",
    "density:perturbation_context",
    "nelisa:perturbation",
    "kang:context",
]


def late_days(adata: ad.AnnData, seed: int) -> list[tuple[str, int]]:
    """Return days 4 and 5 of three quarters of the perturbations, which training knows of days 2 and 3."""
    names = sorted(set(adata.obs["perturbation"].astype(str)) - {"control"})
    chosen = np.random.default_rng(seed).permutation(names)[: round(0.75 * len(names))]
    return [(str(name), day) for name in sorted(chosen) for day in (4, 5)]


def trial_of(task: str, seed: int) -> Trial:
    """Return a screen with its split; `task` is ``"renge:context"``, say."""
    data, _, split = task.partition(":")
    if data == "density":
        adata = density("standard")
        sh.pp.split(adata, by=split, test=0.25, rng=seed, accept="identical_cells")
        return Trial(adata, split)
    if data == "nelisa":
        adata = drugs()
        sh.pp.split(adata, by=split, test=0.2, rng=seed)
        return Trial(adata, split, "targets")
    if data == "null":
        return Trial(null(split, seed), split)
    if split == "late days":
        one = Task(data, "perturbation_context", seed, (), None, FOLDER)
        adata = raw(one)
        sh.pp.split(adata, by=one.split, test=late_days(adata, seed))
        sh.pp.prepare(adata, overwrite=True, **preparation(one))
        return Trial(adata, one.split)
    given = DATA[data].splits[split]
    adata = prepare(Task(data, split, seed, (), None, FOLDER))
    return Trial(adata, given.by, None if given.embedding == "one-hot" else given.embedding)


def drugs() -> ad.AnnData:
    """Return the drugs of nELISA that share a target with others, embedded by shared targets."""
    adata = ad.read_h5ad(FOLDER / FILE)
    sh.pp.annotate(adata, "perturbation", control="DMSO", batch_key="plate", sep="")
    edges = shared_targets(adata)
    sh.pp.embed(
        adata, method="network", source=edges, n_comps=16, key_added="targets", missing="drop"
    )
    known = adata.uns["perturbation_embeddings"]["targets"].index
    return adata[adata.obs["perturbation"].isin([*known, "DMSO"])].copy()


def null(split: str, seed: int) -> ad.AnnData:
    """Return control cells of four cell types, some of which bear names of 12 perturbations at random."""
    adata = ad.read_h5ad(FOLDER / "kang18_ctrl_8donors_null.h5ad")
    rng = np.random.default_rng([seed, 99])
    most = adata.obs["cell_type"].value_counts().index[:4]
    at = np.flatnonzero(adata.obs["cell_type"].isin(most))
    adata = adata[np.sort(rng.choice(at, 4000, replace=False))].copy()
    names = np.array(["control"] * 12 + [f"P{i:02d}" for i in range(12)])
    adata.obs["perturbation"] = names[rng.integers(len(names), size=adata.n_obs)]
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str)
    sh.pp.annotate(adata, "perturbation", control="control", context_key="cell_type")
    sh.pp.split(adata, by=split, test=0.25, rng=seed, accept="identical_cells")
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_top_genes=1000, cross_fit=0)
    return adata
