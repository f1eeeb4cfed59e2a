"""Flow on an accelerator: cells per second in training and in generation, cost of a batch there, bf16 against 32 bits.

    python benchmarks/device.py [--accelerator gpu] [--steps 500] [--cells 100000]

Needs a GPU unless `--accelerator cpu` is given, and says so where there is none. The screen is simulated; `energy` is the unbiased
energy distance of held-out perturbation x context cells in principal components of the training cells.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from _evaluate import exam

import shoal as sh
from shoal.models._sets import conditions_of
from shoal.training import SetSampler

SETS, SIZE = 64, 128  # large batches: an accelerator idles over small ones


def screen(n: int):
    adata = sh.ds.simulate(
        n_perturbations=50, n_cells=n // 60, n_control=n // 6, n_genes=1000, contexts=4, effect_size=3.0, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", batch_key="batch")
    sh.pp.split(adata, by="perturbation_context", test=0.2, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_top_genes=None, cross_fit=0)
    return adata


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def run(adata, test, given, precision: str) -> dict[str, object]:
    model = sh.models.Flow
    model.setup_anndata(adata)
    flow = model(adata, rng=0, width=256)
    begin = time.perf_counter()
    flow.train(
        given.steps,
        set_size=SIZE,
        batch_conditions=SETS,
        accelerator=given.accelerator,
        precision=precision,
        store="resident",
    )
    trained = time.perf_counter() - begin
    device = torch.device("cuda" if given.accelerator == "gpu" else "cpu")
    flow.to_device(device)
    sampler = SetSampler(
        conditions_of(flow.cells, flow.cells.train, flow.vocabulary), seed=0, set_size=SIZE, batch_conditions=SETS
    )
    store = flow._store("resident", sampler)
    store.to(device)
    times = []
    for step in range(30):
        wait(device)
        begin = time.perf_counter()
        store.batch(step)
        wait(device)
        times.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    made = flow.predict(n_cells=100, rng=0)
    generated = time.perf_counter() - begin
    sh.tl.predict(adata, flow, key_added=f"flow_{precision}", subset="test", rng=0)
    cells = min(SETS, len(sampler.conditions)) * SIZE
    return {
        "precision": precision,
        "training, cells/s": given.steps * cells / trained,
        "batch / step": float(np.median(times)) / (trained / given.steps),
        "generation, cells/s": made.n_obs / generated,
        "energy": test.score(adata.layers[f"flow_{precision}"])["energy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--cells", type=int, default=100_000)
    given = parser.parse_args()
    if given.accelerator == "gpu" and not torch.cuda.is_available():
        sys.exit("no GPU is at hand: nothing was measured (--accelerator cpu tries the script without one)")
    adata = screen(given.cells)
    test = exam(adata)
    print(f"floor {test.floor()['energy']:.4f}, control copy {test.control_copy()['energy']:.4f}", flush=True)
    for precision in ("32-true", "bf16-mixed"):
        row = run(adata, test, given, precision)
        print(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)


if __name__ == "__main__":
    main()
