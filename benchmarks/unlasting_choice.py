"""Which Unlasting the preset `shoal` is: variants, judged on conditions that are left out of training.

    python benchmarks/unlasting_choice.py [--data norman renge] [--seeds 0] [--steps 400] [--rows "no mask"]

Training is divided once more: a quarter of the training conditions of a split is held out for the choice, and the conditions that
tables report are removed before. `energy`: energy distance in a PCA of training cells, unbiased. `zeros`: difference in the share of
zeros, mean over genes. `on`: difference in the mean of cells in which a gene is on, mean over genes. `Pearson`: correlation of
the shift from the control mean. `variance`: total variance, predicted over real. Every row changes one thing of `shoal`; the permuted
graph has the edges of the graph of weak correlations between other genes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from _evaluate import exam
from _screens import DATA, FOLDER, Task, division, preparation, raw, settings
from threadpoolctl import threadpool_limits

import shoal as sh

if TYPE_CHECKING:
    import anndata as ad
    from _evaluate import Exam

SPLITS = {"norman": "combination", "renge": "perturbation_context", "kang": "context"}
WEAK = "graph of correlations from 0.1"
BLIND = {"control_input": "filled", "sees_control": False}  # and every gene of it on
UNMASKED = {"mask": None, "on_values": False}
ROWS: dict[str, dict[str, Any]] = {
    "shoal": {},
    "Bernoulli mask": {"mask": "bernoulli"},
    "mask by the graph": {"mask_network": "graph"},
    "mask by the genes": {"mask_network": "genes"},
    "hurdle": {"mask": "hurdle"},
    "zeros as counts have them": {"mask": "counts", "on_values": False, "match_zeros": True},
    "no mask": UNMASKED | {"match_zeros": False},
    "zeros not matched afterwards": {"match_zeros": False},
    "5 steps": {"n_steps": 5},
    "no energy distance": {"energy": 0.0},
    "energy distance of weight 1": {"energy": 1.0},
    "energy distance of weight 0.1": {"energy": 0.1},
    "a quarter of the mean taken back": {"mean_shrinkage": 0.25},
    "starts at control cells": {"cross_context": 0.0},
    "control cell not seen": BLIND,
    "control cell not seen, energy distance of weight 1": BLIND | {"energy": 1.0},
    "dual bridge": {"inversion": "ddim", "n_steps": 5},
    "effects depend on context": {"context_effects": True},
    "no learned vectors": {"own_vectors": False},
    "no graph": {"gene_graph": None},
    WEAK: {"threshold": 0.1},
    "permuted graph": {"gene_graph": "permuted"},
}


def inner(data: str, seed: int, n_genes: int) -> ad.AnnData:
    """Return the training cells of a screen, divided once more, with at most `n_genes` variable genes and all targets."""
    task = Task(data, SPLITS[data], seed, (), None, FOLDER)
    adata = raw(task)
    sh.pp.split(adata, **division(task))
    adata = adata[(adata.obs["split"] == "train").to_numpy()].copy()
    del adata.obs["split"]
    sh.pp.split(adata, **{**division(task), "test": 0.25})
    sh.pp.prepare(adata, overwrite=True, **preparation(task))
    targets = {part for name in adata.obs[DATA[data].key].astype(str) for part in name.split("+")}
    variable = np.asarray(adata.X.power(2).mean(0) - np.square(adata.X.mean(0))).ravel()
    keep = np.argsort(-variable)[:n_genes]
    chosen = np.isin(np.arange(adata.n_vars), keep) | adata.var_names.isin(targets)
    return adata[:, chosen].copy()


def bimodality(test: Exam, layer: Any) -> dict[str, float]:
    """Return the error of the mean of cells in which a gene is on."""
    errors = []
    for condition in test.conditions:
        made, real = (
            np.asarray(x[rows].todense() if hasattr(x, "todense") else x[rows])[:, test.on]
            for x, rows in ((layer, condition.twins), (test.x, condition.real))
        )
        often = ((made > 0).sum(0) >= 5) & ((real > 0).sum(0) >= 5)
        means = [np.where(x > 0, x, 0).sum(0)[often] / (x > 0).sum(0)[often] for x in (made, real)]
        errors.append(np.abs(means[0] - means[1]).mean())
    return {"on": float(np.mean(errors))}


def columns(test: Exam, layer: Any) -> dict[str, float]:
    found = test.score(layer)
    return {
        "energy": found["energy"],
        "zeros": found["zero_error"],
        **bimodality(test, layer),
        "Pearson": found["pearson_control"],
        "variance": found["variance_ratio"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["norman", "renge"], choices=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument(
        "--genes", type=int, default=400, help="most variable genes, beside targets"
    )
    parser.add_argument("--rows", nargs="+", help="parts of the names of rows; all if left out")
    parser.add_argument(
        "--baselines", nargs="*", default=["additive", "own_shift", "other_contexts"]
    )
    parser.add_argument("--out", type=Path, help="csv of all rows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    table = []

    def say(row: dict[str, Any]) -> None:
        table.append(row)
        print(
            " | ".join(f"{k} {v:.3f}" if isinstance(v, float) else str(v) for k, v in row.items()),
            flush=True,
        )
        if given.out:
            pd.DataFrame(table).to_csv(given.out, index=False)

    with threadpool_limits(1):
        for data in given.data:
            for seed in given.seeds:
                adata = inner(data, seed, given.genes)
                test, where = exam(adata, seed=seed), {"data": data, "seed": seed}
                test = replace(test)
                real, copied = test.floor(), test.control_copy()
                for name, found in (("second real half", real), ("control copy", copied)):
                    own = {"energy": found["energy"], "zeros": found["zero_error"]}
                    own |= {
                        "Pearson": found["pearson_control"],
                        "variance": found["variance_ratio"],
                    }
                    say({**where, "row": name, **own})
                for name in given.baselines:
                    try:
                        model = sh.tl.fit(adata, name, rng=seed)
                        sh.tl.predict(
                            adata, model, key_added="made", rng=seed, overwrite=True, subset="test"
                        )
                    except ValueError:
                        continue  # a baseline of contexts or of parts, where these are unseen
                    say({**where, "row": name, **columns(test, adata.layers["made"])})
                edges = None
                for name, changes in ROWS.items():
                    if given.rows and not any(text in name for text in given.rows):
                        continue
                    config = dict(changes)
                    if config.get("gene_graph") == "permuted":
                        if edges is None or not edges.size:
                            continue
                        other = np.random.default_rng(seed).permutation(adata.n_vars)[edges]
                        config["gene_graph"] = pd.DataFrame(
                            {
                                "source": adata.var_names[other[0]],
                                "target": adata.var_names[other[1]],
                            }
                        )
                    start = time.process_time()
                    options = settings(
                        "unlasting", DATA[data].splits[SPLITS[data]].embedding, steps=given.steps
                    )
                    model = sh.tl.fit(
                        adata,
                        "unlasting",
                        rng=seed,
                        config=config,
                        response_share=1.0,
                        accelerator="cpu",
                        **options,
                    )
                    if name == WEAK and model.edges is not None:
                        edges = np.asarray(model.edges)
                    sh.tl.predict(
                        adata, model, key_added="made", rng=seed, overwrite=True, subset="test"
                    )
                    spent = time.process_time() - start
                    say(
                        {
                            **where,
                            "row": name,
                            **columns(test, adata.layers["made"]),
                            "CPU s": spent,
                        }
                    )


if __name__ == "__main__":
    main()
