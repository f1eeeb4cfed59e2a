"""PerturbDiff on a small simulated screen: collapse without the energy term, samplers, and the additive baseline.

    python benchmarks/perturbdiff_toy.py [--seeds 0 1 2] [--steps N] [--effect-size 5]

2,400 cells, 200 genes, 2 contexts x (control and 9 perturbations), of which 70 % of the cells respond; three perturbations are
held out in the second context. *Held out* are these three, *seen* all other conditions, whose scored cells were trained on, so
that energies below 0 are possible there. `energy`: unbiased energy distance over the genes, mean over conditions, of the twins
of one half of a condition's cells from the other half; `energy, PCA`: the same in 30 principal components of training cells.
`Pearson`: correlation of the predicted with the real shift from the control mean, without the target gene. `variance`: total
variance, predicted over real. Three conditions of 60 cells against 60 are few: the second real half says how far chance goes.

`guidance` 1 is plain; "native" is the released sampler: the last 100 of 1,000 steps, begun with pure noise. `squared
error alone` is trained without the energy distances; for the network of `shoal`, which sees nothing but noise by default, that
takes a chain of noisy cells, like the published one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from _evaluate import exam
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._config import changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata as ad
    from _evaluate import Exam

HELD_OUT = ("P2", "P5", "P8")
NO_ENERGY = {"mse": 1.0, "energy": 0.0, "energy_components": 0.0}
ONE, TWENTY, NATIVE = ("strided", 1), ("strided", 20), ("truncated", 100)
# name: preset, changes, and the samplers that are tried, each with its weight of guidance
MODELS = {
    "published": ("published", {}, [(s, w) for s in (NATIVE, TWENTY, ONE) for w in (2.0, 1.0)]),
    "published, squared error alone": (
        "published",
        NO_ENERGY,
        [(TWENTY, 2.0), (TWENTY, 1.0), (ONE, 1.0)],
    ),
    "shoal": ("shoal", {}, [(ONE, 1.0)]),
    "shoal, squared error alone": ("shoal", NO_ENERGY | {"one_pass": False}, [(ONE, 1.0)]),
}
COLUMNS = ["energy", "Pearson", "variance"]


def screen(seed: int, effect_size: float) -> ad.AnnData:
    adata = sh.ds.simulate(
        n_perturbations=9,
        n_cells=240,
        n_control=240,
        n_genes=200,
        effects="penetrance",
        penetrance=0.7,
        effect_size=effect_size,
        contexts=2,
        n_batches=1,
        rng=seed,
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.split(
        adata, by="perturbation_context", test=[(name, "context2") for name in HELD_OUT], rng=seed
    )
    sh.pp.prepare(
        adata, normalize="log1p", fit_on="train", n_top_genes=None, n_comps=30, cross_fit=0
    )
    return adata


def exams(adata: ad.AnnData, seed: int) -> dict[str, Exam]:
    """Return the exams on the conditions that were trained on and on those held out, over genes and in the PCA."""
    swapped = adata.copy()  # an exam is on "test"
    perturbed = (adata.obs["perturbation"] != "control").to_numpy()
    split = adata.obs["split"].astype(str).to_numpy()
    swapped.obs["split"] = np.where(perturbed, np.where(split == "test", "train", "test"), "train")
    pca = exam(adata, seed=seed)
    genes = np.eye(adata.n_vars)
    return {
        "seen": replace(exam(swapped, seed=seed), axes=genes),
        "held out": replace(pca, axes=genes),
        "PCA": pca,
    }


def scored(tests: dict[str, Exam], call) -> dict[str, float]:
    """Return the columns of one row; `call` takes an exam and returns its scores."""
    found = {name: call(test) for name, test in tests.items()}
    row = {}
    for part in ("seen", "held out"):
        values = (found[part][key] for key in ("energy", "pearson_control", "variance_ratio"))
        row |= {f"{part}: {column}": value for column, value in zip(COLUMNS, values, strict=True)}
    return row | {"held out: energy, PCA": found["PCA"]["energy"]}


def rows(seed: int, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    adata = screen(seed, given.effect_size)
    tests = exams(adata, seed)
    yield {"model": "second real half", **scored(tests, lambda test: test.floor())}
    yield {"model": "control copy", **scored(tests, lambda test: test.control_copy())}

    def predicted(model, **options) -> dict[str, float]:
        start = time.process_time()
        sh.tl.predict(adata, model, key_added="made", rng=seed, **options)
        spent = time.process_time() - start
        return {
            **scored(tests, lambda test: test.score(adata.layers["made"])),
            "prediction, CPU s": spent,
        }

    for name in ("own_shift", "other_contexts"):
        yield {"model": name, **predicted(sh.tl.fit(adata, name, rng=seed))}
    for name, (preset, changes, samplers) in MODELS.items():
        start = time.process_time()
        options = {
            "preset": preset,
            "config": changes,
            "max_steps": given.steps,
            "rng": seed,
            "accelerator": "cpu",
        }
        model = sh.tl.fit(adata, "perturbdiff", **options)
        spent, own = time.process_time() - start, model.module.config
        for (sampler, n_steps), guidance in samplers:
            model.module.config = changed(own, {"sampler": sampler, "n_steps": n_steps})
            row = predicted(model, n_steps=n_steps, guidance=guidance)
            what = "native" if sampler == "truncated" else f"{n_steps} step{'s' * (n_steps > 1)}"
            told = name if len(samplers) == 1 else f"{name}: {what}, guidance {guidance:g}"
            yield {"model": told, **row, "training, CPU s": spent}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="training steps; each preset's own if left out")
    parser.add_argument(
        "--effect-size", type=float, default=5.0, help="length of the log fold-changes"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in given.seeds:
        for row in rows(seed, given):
            found.append({"seed": seed, **row})
            print(
                ", ".join(
                    f"{k} {v:.3g}" if isinstance(v, float) else f"{v}" for k, v in found[-1].items()
                ),
                flush=True,
            )
    table = pd.DataFrame(found).drop(columns="seed").groupby("model", sort=False).mean()
    print(f"\nMeans over {len(given.seeds)} seeds.\n")
    print(f"| model | {' | '.join(table.columns)} |\n|{'---|' * (len(table.columns) + 1)}")
    for name, values in table.iterrows():
        print(f"| {name} | {' | '.join('' if np.isnan(v) else f'{v:.3g}' for v in values)} |")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
