"""Networks on an accelerator: cells per second in training and in generation, cost of a batch there, bf16 against 32 bits.

    python benchmarks/device.py [--accelerator gpu] [--networks flow perturbdiff published] [--steps 500] [--cells 100000]
                                [--genes 1000]

Needs a GPU unless `--accelerator cpu` is given, and says so where there is none. The screen is simulated; `energy` is the unbiased
energy distance of held-out perturbation x context cells in principal components of the training cells. `published` is PerturbDiff at
the size of its authors. `TFLOP/s`: six operations for each weight and cell, what forward and backward take at least; over the peak
that the maker names, it is the share of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product

import numpy as np
import torch
from _evaluate import exam

import shoal as sh
from shoal.models.base._registry import model_class
from shoal.models.base._sets import conditions_of
from shoal.training import SetSampler

# what tl.fit is told; sets of a step and cells of a set are large: an accelerator idles over small batches
NETWORKS = {
    "flow": ("flow", {"width": 256}, {"batch_conditions": 64, "set_size": 128}),
    "perturbdiff": ("perturbdiff", {}, {"batch_conditions": 64, "set_size": 128}),
    "published": (
        "perturbdiff",
        {"preset": "published", "width": 512, "depth": 8, "n_heads": 8},
        {"batch_conditions": 8, "set_size": 256},
    ),
}


def screen(n: int, genes: int):
    adata = sh.ds.simulate(
        n_perturbations=50,
        n_cells=n // 60,
        n_control=n // 6,
        n_genes=genes,
        contexts=4,
        effect_size=3.0,
        rng=0,
    )
    sh.pp.annotate(
        adata, "perturbation", control="control", context_key="context", batch_key="batch"
    )
    sh.pp.split(adata, by="perturbation_context", test=0.2, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_top_genes=None, cross_fit=0)
    return adata


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def run(adata, test, given, name: str, precision: str) -> dict[str, object]:
    kind, config, sizes = NETWORKS[name]
    cls = model_class(kind)
    cls.setup_anndata(adata)
    model = cls(adata, rng=0, **config)
    begin = time.perf_counter()
    model.train(
        given.steps, **sizes, accelerator=given.accelerator, precision=precision, store="resident"
    )
    trained = time.perf_counter() - begin
    device = torch.device("cuda" if given.accelerator == "gpu" else "cpu")
    model.to_device(device)
    sampler = SetSampler(
        conditions_of(model.cells, model.cells.train, model.vocabulary), seed=0, **sizes
    )
    store = model._training_store(sampler, "resident")
    store.to(device)
    times = []
    for step in range(30):
        wait(device)
        begin = time.perf_counter()
        store.batch(step)
        wait(device)
        times.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    made = model.predict(n_cells=100, rng=0)
    generated = time.perf_counter() - begin
    sh.tl.predict(adata, model, key_added="made", subset="test", rng=0)
    cells = sampler.batch_conditions * sampler.set_size
    weights = sum(p.numel() for p in model.module.parameters() if p.requires_grad)
    return {
        "network": name,
        "precision": precision,
        "training, steps/s": given.steps / trained,
        "training, cells/s": given.steps * cells / trained,
        "TFLOP/s": 6 * weights * given.steps * cells / trained / 1e12,
        "batch / step": float(np.median(times)) / (trained / given.steps),
        "generation, cells/s": made.n_obs / generated,
        "energy": test.score(adata.layers["made"])["energy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    given = parser.parse_args()
    if given.accelerator == "gpu" and not torch.cuda.is_available():
        sys.exit(
            "no GPU is at hand: nothing was measured (--accelerator cpu tries the script without one)"
        )
    adata = screen(given.cells, given.genes)
    test = exam(adata)
    print(
        f"floor {test.floor()['energy']:.4f}, control copy {test.control_copy()['energy']:.4f}",
        flush=True,
    )
    for name, precision in product(given.networks, ("32-true", "bf16-mixed")):
        row = run(adata, test, given, name, precision)
        print(
            ", ".join(
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
