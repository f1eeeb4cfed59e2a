"""The toy study that Unlasting was designed on, made again as literally as its description allows, beside its figures.

    python benchmarks/unlasting_study.py [--seeds 0 1 2] [--steps 2500] [--rows "no mask"]

The description: 2,400 cells of negative binomial counts, 200 genes, two contexts x (control and 9 perturbations), 30 genes that
change in each, of which 70 % of the cells respond; three perturbations held out in the second context; a network of width 256 with one
layer a part, trained for 2,500 steps of 64 cells. Left open are the depth, the spreads of genes, contexts and effects, and how alike an
effect is in both contexts. `screen` sets them so that the two rows without a network, control cells and control cells moved by the
shift of the other context, come out as in the study: no row of a network took part. Left open is also what the network reads of
the control cell that its output is added to. By `sees_control` it reads it by a layer, and learns how much of it is left in each gene.
In the rows of a fixed share it has the layer alone, and in those of a cell that is not read, neither, as published later.

Scored are as many predicted cells as real ones, all of a condition. `root E`: root of the unbiased energy distance over the genes.
`EMD`: Wasserstein-1 distance of a gene, mean over genes. `PDCorr`: correlation of the predicted with the real shift from the
control mean. `variance`: total variance, predicted over real. Means over the conditions; then over seeds (screen and
weights), with the standard deviation over seeds. The study had one screen, and one or two trainings: what is given after its
figure is that of the second.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models import Unlasting

HELD_OUT = ("P2", "P5", "P8")
GENES, CHANGED, CELLS, SHARE = 200, 30, 120, 0.7  # as described
DEPTH, SPREAD_OF_DEPTH, SPREAD_OF_GENES, SIZE = 250, 0.3, 1.0, 2.0  # from here on chosen, see above
EFFECT, CONTEXT, ALIKE = 1.7, 0.5, 0.85
COLUMNS = ["root E", "EMD", "PDCorr", "variance"]
SMALL = {"width": 256, "decoder": 256, "depth": 1, "graph_width": 64, "context_effects": False}
FULL = SMALL | {"mask": "bernoulli", "sees_control": True}
NO_MASK = {"mask": None, "on_values": False}
FIXED = "share of the control cell fixed"
# name: settings beside those of FULL, options of the prediction, and the figures of the study
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "full, Bernoulli mask": ({}, {}, ".622 (.583) / .129 / .748 (.778) / .95 (.93)"),
    "random noise in place of inversion": (
        {},
        {"inversion": None},
        ".620 (.564) / .129 / .750 (.792) / .96 (.93)",
    ),
    "full, reference mask": (
        {"mask": "reference"},
        {},
        ".755 (.744) / .133 (.134) / .636 (.628) / .94 (.92)",
    ),
    "no mask": (NO_MASK, {}, "1.089 / .218 / .744 / .30"),
    "no control cell": (
        {"control_input": None, "residual": False, "sees_control": False},
        {},
        ".681 / .164 / .731 / .78",
    ),
    f"{FIXED}, Bernoulli mask": ({}, {}, ""),
    f"{FIXED}, unmasked": (NO_MASK, {}, ""),
    "control cell not read, Bernoulli mask": ({"sees_control": False}, {}, ""),
    "control cell not read, unmasked": ({"sees_control": False} | NO_MASK, {}, ""),
}
PLAIN = {
    "control cells": ".974 / .122 / .03 / 1.10",
    "control cells + shift of the other context": ".635 / .107 / .744 / 1.00",
}


def screen(seed: int) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    share = np.exp(rng.normal(0, SPREAD_OF_GENES, GENES))
    share /= share.sum()
    contexts = rng.normal(0, CONTEXT, (2, GENES))
    counts, obs = [], []
    for name in ("control", *(f"P{i}" for i in range(1, 10))):
        effects = np.zeros((2, GENES))
        if name != "control":
            at, first = rng.permutation(GENES)[:CHANGED], rng.normal(0, EFFECT, CHANGED)
            other = rng.normal(0, EFFECT, CHANGED)
            effects[:, at] = first, ALIKE * first + (1 - ALIKE**2) ** 0.5 * other
        for c in range(2):
            responds = rng.random((CELLS, 1)) < SHARE
            depth = DEPTH * np.exp(rng.normal(0, SPREAD_OF_DEPTH, (CELLS, 1)))
            mean = depth * share * np.exp(contexts[c] + effects[c] * responds)
            counts.append(rng.poisson(rng.gamma(SIZE, mean / SIZE)))
            obs += [(name, f"context{c + 1}")] * CELLS
    table = pd.DataFrame(obs, columns=["perturbation", "context"]).astype("category")
    table.index = [f"cell{i}" for i in range(len(table))]
    adata = ad.AnnData(sparse.csr_matrix(np.concatenate(counts), dtype=np.float32), obs=table)
    adata.var_names = [f"gene{i}" for i in range(GENES)]
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    test = [(name, "context2") for name in HELD_OUT]
    sh.pp.split(adata, by="perturbation_context", test=test, rng=seed)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_top_genes=None, cross_fit=0)
    return adata


def score(adata: ad.AnnData, made: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the columns of predicted cells of the held-out conditions."""
    control, found = cells(adata, "control", "context2"), []
    for name, predicted in made.items():
        real = cells(adata, name, "context2")
        one, other = (part.mean(0) - control.mean(0) for part in (predicted, real))
        apart = np.abs(np.sort(predicted, axis=0) - np.sort(real, axis=0)).mean()
        energy = max(sh.metrics.energy_distance(predicted, real), 0) ** 0.5
        alike = np.corrcoef(one, other)[0, 1] if one.any() else 0.0
        ratio = predicted.var(0).sum() / real.var(0).sum()
        found.append((energy, apart, alike, ratio))
    return dict(zip(COLUMNS, np.mean(found, axis=0).tolist(), strict=True))


def cells(adata: ad.AnnData, name: str, context: str, layer: str | None = None) -> np.ndarray:
    at = ((adata.obs["perturbation"] == name) & (adata.obs["context"] == context)).to_numpy()
    rows = (adata.X if layer is None else adata.layers[layer])[at]
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float64)


def plain(adata: ad.AnnData) -> list[dict[str, object]]:
    control = cells(adata, "control", "context2")
    other = cells(adata, "control", "context1").mean(0)
    moved = {p: control + cells(adata, p, "context1").mean(0) - other for p in HELD_OUT}
    copies = dict.fromkeys(HELD_OUT, control)
    above = {name: np.maximum(own, 0) for name, own in moved.items()}
    return [
        {"model": name, **score(adata, made)}
        for name, made in zip(PLAIN, (copies, above), strict=True)
    ]


def rows(seed: int, given: argparse.Namespace):
    adata = screen(seed)
    yield from plain(adata)
    model, trained, spent = None, None, 0.0
    for name, (changes, options, _) in ROWS.items():
        if given.rows and not any(text in name for text in given.rows):
            continue
        fixed = name.startswith(FIXED)
        if trained != (changes, fixed):
            start = time.process_time()
            Unlasting.setup_anndata(adata)
            settings = FULL | {"dropout": given.dropout} | changes
            model = Unlasting(adata, preset="published", rng=seed, **settings)
            if model.module.gain is not None:
                model.module.gain.requires_grad_(not fixed)
            how = {"lr": 1e-3, "set_size": 8, "batch_conditions": 8, "response_share": 1.0}
            model.train(given.steps, accelerator="cpu", **how)
            trained, spent = (changes, fixed), time.process_time() - start
        sh.tl.predict(
            adata, model, key_added="made", subset="test", rng=seed, overwrite=True, **options
        )
        made = {p: cells(adata, p, "context2", "made") for p in HELD_OUT}
        weights = sum(p.numel() for p in model.module.parameters()) / 1e6
        yield {"model": name, **score(adata, made), "CPU s": spent, "weights, M": weights}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2500, help="training steps")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--rows", nargs="+", help="parts of the names of rows; all if left out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    found = []
    with threadpool_limits(1):
        for seed in given.seeds:
            for row in rows(seed, given):
                found.append({"seed": seed, **row})
                print(found[-1], flush=True)
    by_name = pd.DataFrame(found).groupby("model", sort=False)[COLUMNS]
    text = by_name.mean().map("{:.3f}".format)
    if len(given.seeds) > 1:
        text = text + " ± " + by_name.std().map("{:.3f}".format)
    told = PLAIN | {name: study for name, (_, _, study) in ROWS.items()}
    print(text.assign(study=text.index.map(told)).to_markdown())


if __name__ == "__main__":
    main()
