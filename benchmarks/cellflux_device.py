"""CellFlux on an accelerator, at the published size: images per second in training and in generation, and share of the peak.

    python benchmarks/cellflux_device.py [--accelerator gpu] [--peak 989] [--size 96] [--batch 128] [--steps 200]
                                         [--images 256] [--config '{"network": {"width": 32}}']

Needs a GPU unless `--accelerator cpu` is given, and says so where there is none. Images are simulated, of three channels. Weights are
those of the preset `published`, 56.2 million, unless `--config` makes the network smaller. `TFLOP/s` counts the operations of
convolutions and products, forward and backward, as torch counts them; over `--peak`, what the maker names for the precision (989 for
bf16 on an H200), it is the share of the peak. Generation follows the preset: 50 steps of Heun with guidance, 200 evaluations an image.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import shoal as sh
from shoal.models import CellFlux
from shoal.models.base._sets import conditions_of
from shoal.training import SetSampler

N_PERTURBATIONS = 16


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def operations(model: Any, sizes: dict[str, int], device: torch.device) -> float:
    """Return the operations of one step: of the loss, and of its gradient."""
    conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
    store = model._training_store(SetSampler(conditions, seed=0, **sizes), "resident")
    store.to(device)
    module = model.module.to(device).train()
    with FlopCounterMode(display=False) as counter:
        module.loss(store.batch(0), torch.Generator(device=device).manual_seed(0))[
            "loss"
        ].backward()
    module.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def measured(adata: Any, given: argparse.Namespace, precision: str) -> dict[str, Any]:
    """Train and generate once at a precision."""
    device = torch.device("cuda" if given.accelerator == "gpu" else "cpu")
    sizes = {
        "batch_conditions": min(N_PERTURBATIONS, given.batch),
        "set_size": max(1, given.batch // N_PERTURBATIONS),
    }
    images = sizes["batch_conditions"] * sizes["set_size"]
    CellFlux.setup_anndata(adata, use_rep="crops")
    model = CellFlux(adata, preset="published", rng=0, **given.config)
    how = {
        **sizes,
        "accelerator": given.accelerator,
        "precision": precision,
        "store": "resident",
        "response_share": 1.0,
    }
    model.train(max(1, given.steps // 10), **how)  # kernels are chosen in the first steps
    wait(device)
    begin = time.perf_counter()
    model.train(given.steps, **how)
    wait(device)
    trained = time.perf_counter() - begin
    flops = operations(model, sizes, device) * given.steps / trained / 1e12
    model.to_device(device)
    each = max(1, given.images // N_PERTURBATIONS)
    model.predict(n_cells=1, n_steps=2, rng=0)
    begin = time.perf_counter()
    made = model.predict(n_cells=each, rng=0)
    wait(device)
    generated = time.perf_counter() - begin
    row = {
        "precision": precision,
        "weights, millions": sum(p.numel() for p in model.module.parameters()) / 1e6,
        "training, steps/s": given.steps / trained,
        "training, images/s": given.steps * images / trained,
        "TFLOP/s": flops,
        "generation, images/s": made.n_obs / generated,
    }
    if given.peak:
        row["share of the peak"] = flops / given.peak
    if device.type == "cuda":
        row["GPU memory, GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--precision", nargs="+", default=["32-true", "bf16-mixed"])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--peak", type=float, help="TFLOP/s that the maker names")
    parser.add_argument("--config", type=json.loads, default={})
    given = parser.parse_args()
    if given.accelerator == "gpu" and not torch.cuda.is_available():
        sys.exit(
            "no GPU is at hand: nothing was measured (--accelerator cpu tries the script without one)"
        )
    adata = sh.ds.simulate_images(
        n_perturbations=N_PERTURBATIONS,
        n_cells=max(8, given.batch // N_PERTURBATIONS),
        n_control=256,
        size=given.size,
        n_batches=1,
        rng=0,
    )
    sh.pp.prepare_images(adata, use_rep="crops")
    for precision in given.precision:
        row = measured(adata, given, precision)
        print(
            ", ".join(
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
