"""Unlasting on a small simulated screen: what the mask, the control cell, the inversion and the graph do.

    python benchmarks/unlasting_toy.py [--seeds 0 1 2] [--steps 1500] [--rows full "no mask"]

2,400 cells, 200 genes, 2 contexts x (control and 9 perturbations), of which 70 % of the cells respond; three perturbations are
held out in the second context, and scored. `root E`: root of the energy distance over the genes, unbiased, of the twins of one
half of a condition's cells from the other half. `EMD`: Wasserstein-1 distance of a gene, the mean over genes. `Pearson`:
correlation of the predicted with the real shift from the control mean, without the target gene. `variance`: total variance,
predicted over real. Means over conditions, then over seeds (screen and weights), with the standard deviation over seeds.

All rows but `shoal` are the published recipe with one change. The network is smaller than published: width 256, one layer in each
part, 64 cells a step. Perturbations have one-hot vectors.
For the rows of graphs they are named after the genes that they change most in training, and known by these genes alone.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from perturbdiff_toy import exams, screen
from threadpoolctl import threadpool_limits

import shoal as sh

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad

SMALL = {"width": 256, "decoder": 256, "depth": 1, "graph_width": 64, "context_effects": False}
UNMASKED = {"mask": None, "on_values": False}
FULL = SMALL | {"mask": "bernoulli"}
# name: settings beside those of FULL, options of the prediction
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full, Bernoulli mask": ({}, {}),
    "new noise in place of inversion": ({}, {"inversion": None}),
    "exact inversion": ({}, {"inversion": "exact"}),
    "1 step": ({}, {"n_steps": 1}),
    "5 steps": ({}, {"n_steps": 5}),
    "full, reference mask": ({"mask": "reference"}, {}),
    "coupled mask": ({"mask": "coupled"}, {}),
    "hurdle": ({"mask": "hurdle"}, {}),
    "zeros as counts have them": ({"mask": "counts", "on_values": False, "match_zeros": True}, {}),
    "no mask": (UNMASKED, {}),
    "no control cell": ({"control_input": None, "residual": False}, {}),
    "control cell seen": ({"sees_control": True}, {}),
    "control cell seen, no mask": ({"sees_control": True} | UNMASKED, {}),
    "real control cell in training": ({"control_input": "cell"}, {}),
    "inversion from a noise of 0.1": ({"inversion_from": 0.1}, {}),
    "inversion, off genes at 0": ({"inversion_masked": True}, {}),
    "input perturbation": ({"input_perturbation": 0.1}, {}),
}
SHARED = {
    "new noise in place of inversion",
    "exact inversion",
    "1 step",
    "5 steps",
}  # of one training
GRAPHS = ("real", "permuted", "none")  # on a screen whose perturbations are named after genes


def named_after_genes(adata: ad.AnnData) -> ad.AnnData:
    """Name perturbations after the genes that they change most, so that they have nodes in a graph."""
    names = adata.obs["perturbation"].astype(str)
    x = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    control = x[(names == "control").to_numpy()].mean(0)
    taken: dict[str, str] = {"control": "control"}
    for name in sorted(set(names) - {"control"}):
        own = (names == name).to_numpy() & (adata.obs["split"] == "train").to_numpy()
        order = np.argsort(-np.abs(x[own].mean(0) - control))
        free = [adata.var_names[i] for i in order if adata.var_names[i] not in taken.values()]
        taken[name] = free[0]
    adata.obs["perturbation"] = names.map(taken).astype("category")
    return adata


def permuted(edges: np.ndarray, names: pd.Index, seed: int) -> pd.DataFrame:
    """Return a graph of the same shape over genes in another order."""
    other = np.random.default_rng(seed).permutation(len(names))[edges]
    return pd.DataFrame({"source": names[other[0]], "target": names[other[1]]})


def columns(found: dict[str, float]) -> dict[str, float]:
    return {
        "root E": float(np.sqrt(max(found["energy"], 0))),
        "EMD": found["w1"],
        "Pearson": found["pearson_control"],
        "variance": found["variance_ratio"],
    }


def rows(seed: int, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    adata = screen(seed, given.effect_size)
    tests = exams(adata, seed)["held out"]

    def asked(name: str) -> bool:
        return not given.rows or any(text in name for text in given.rows)

    def fitted(adata: ad.AnnData, preset: str, **options: Any) -> tuple[Any, float]:
        start = time.process_time()
        given_to = {"response_share": 1.0, "rng": seed, "accelerator": "cpu"}
        model = sh.tl.fit(adata, "unlasting", preset=preset, **given_to, **options)
        return model, time.process_time() - start

    def scored(name: str, model: Any, **options: Any) -> dict[str, object]:
        sh.tl.predict(adata, model, key_added="made", rng=seed, overwrite=True, **options)
        return {"model": name, **columns(tests.score(adata.layers["made"]))}

    yield {"model": "second real half", **columns(tests.floor())}
    yield {"model": "control copy", **columns(tests.control_copy())}
    for name in ("own_shift", "other_contexts"):
        yield scored(name, sh.tl.fit(adata, name, rng=seed))
    training = {"max_steps": given.steps, "lr": 1e-3, "set_size": 8, "batch_conditions": 8}
    model, spent = None, 0.0
    for name, (changes, options) in ROWS.items():
        if asked(name):
            if model is None or name not in SHARED:
                model, spent = fitted(adata, "published", config=FULL | changes, **training)
            yield {**scored(name, model, **options), "CPU s": spent}
    for name, weight in (("preset shoal", 1.0), ("preset shoal, no energy distance", 0.0)):
        if asked(name):
            model, spent = fitted(adata, "shoal", config={"energy": weight})
            yield {**scored(name, model), "CPU s": spent}
    adata, edges = named_after_genes(adata), np.zeros((2, 0), dtype=np.int64)
    for kind in GRAPHS:
        if asked("graph"):
            source = {"real": "coexpression", "none": None, "permuted": None}[kind]
            if kind == "permuted":
                source = permuted(edges, adata.var_names, seed)
            config = FULL | {"gene_graph": source, "threshold": 0.2}
            model, spent = fitted(adata, "published", config=config, **training)
            edges = np.asarray(model.edges) if kind == "real" else edges
            yield {**scored(f"known by its gene, graph: {kind}", model), "CPU s": spent}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500, help="training steps")
    parser.add_argument("--rows", nargs="+", help="parts of the names of rows; all if left out")
    parser.add_argument(
        "--effect-size", type=float, default=5.0, help="length of the log fold-changes"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    found = []
    with threadpool_limits(1):
        for seed in given.seeds:
            for row in rows(seed, given):
                found.append(row)
                print(
                    " | ".join(
                        f"{k} {v:.3f}" if isinstance(v, float) else str(v) for k, v in row.items()
                    ),
                    flush=True,
                )
    table = pd.DataFrame(found)
    grouped = table.groupby("model", sort=False)
    mean, sd = grouped.mean(), grouped.std()
    text = mean.map("{:.3f}".format) + " ± " + sd.map("{:.3f}".format)
    print(text.to_markdown() if len(given.seeds) > 1 else mean.round(3).to_markdown())


if __name__ == "__main__":
    main()
