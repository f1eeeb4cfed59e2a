"""Unlasting: a step of training beside its matrix products alone, what sharing the noise saves, and the memory of the graph.

    python benchmarks/unlasting_speed.py [--repeats 15] [--genes 2000] [--width 256]

`step`: loss, backward pass, clipping and AdamW, beside the matrix products that it does, done alone on random numbers of the same
shapes, in turns. Products are those of linear layers, and of the energy distance where it is a term. `AdamW alone` is the time that
the optimizer takes to read and write the weights, which no step goes without. CPU milliseconds (time.process_time) of one thread, medians; machines differ and are noisy: read the ratios.
`sampling`: cells that go through the network when N perturbations are predicted from the same control cells, with the noise found
once and with the noise found for each of them; the expected ratio is (1 + N) / (2 N). `memory`: numbers in the largest tensor of the
graph network, by genes and edges.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from perturbdiff_speed import Alone, Product, cpu, noted, show
from threadpoolctl import threadpool_limits
from torch.utils._python_dispatch import TorchDispatchMode

import shoal as sh
from shoal.models import Unlasting
from shoal.models.base._sets import conditions_of
from shoal.nn import GraphEncoder, with_loops
from shoal.training import FitSettings, SetSampler
from shoal.training._plan import Plan

SETS, CELLS = 8, 32


def screen(n_genes: int):
    adata = sh.ds.simulate(
        n_perturbations=9, n_cells=100, n_control=300, n_genes=n_genes, contexts=2, rng=0
    )
    names = adata.obs["perturbation"].astype(str)
    genes = {f"P{i + 1}": adata.var_names[i] for i in range(9)}
    adata.obs["perturbation"] = names.map(lambda name: genes.get(name, name)).astype("category")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context", overwrite=True)
    sh.pp.prepare(adata, normalize="log1p", n_top_genes=None, cross_fit=0)
    return adata


def made(adata, preset: str, width: int) -> Unlasting:
    Unlasting.setup_anndata(adata)
    return Unlasting(adata, preset=preset, rng=0, width=width, decoder=width, neighbours=10)


def step(adata, preset: str, given: argparse.Namespace) -> dict[str, object]:
    model = made(adata, preset, given.width)
    conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
    sampler = SetSampler(conditions, set_size=CELLS, batch_conditions=SETS, seed=0)
    batch = model._training_store(sampler, "resident").batch(0)
    module, generator = model.module.train(), torch.Generator().manual_seed(0)
    products = noted(module, batch, plain=False)
    if module.config.loss.energy:  # of made cells with each other and with real ones; real ones
        shape = (SETS, CELLS, batch.target.shape[-1], CELLS)
        products += [Product(*shape, (True, False), True)] * 2 + [Product(*shape, (False, False))]
    alone = Alone(products)
    plan = Plan(module, FitSettings(accelerator="cpu", precision="32-true"), ())
    optimizer = plan.configure_optimizers()["optimizer"]
    weights = list(module.parameters())

    def network() -> None:
        optimizer.zero_grad()
        module.loss(batch, generator)["loss"].backward()

    def clipping() -> None:  # as of Plan
        norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        if norm > 1:
            torch.nn.utils.clip_grads_with_norm_(weights, 1.0, norm)

    turns = (alone, network, clipping, optimizer.step)
    found = [[cpu(part) for part in turns] for _ in range(given.repeats)]
    products, both_ways, clipped, updating = np.median(found, axis=0).tolist()
    return {
        "preset": preset,
        "edges": int(module.edges.shape[1]),
        "parameters, M": sum(p.numel() for p in weights) / 1e6,
        "matrix products, ms": products,
        "network, both ways, ms": both_ways,
        "clipping, ms": clipped,
        "AdamW alone, ms": updating,
        "ratio of the network": both_ways / products,
        "ratio of the step": (both_ways + clipped + updating) / products,
    }


def sampling(adata, n: int, width: int) -> list[dict[str, object]]:
    model = made(adata, "published", width)
    model.is_trained_ = True
    passed: list[int] = []
    plain = model.module.net.forward
    model.module.net.forward = lambda x, *a, **k: (
        passed.append(x[..., 0].numel()) or plain(x, *a, **k)
    )
    controls = adata[adata.obs["perturbation"] == "control"][:n].copy()
    names = [name for name in adata.obs["perturbation"].unique() if name != "control"]
    rows = []
    for count in (1, 3, 9):
        request = {"n_steps": 5}
        costs = {}
        for kind in ("own", "shared"):
            passed.clear()
            start = time.process_time()
            if kind == "own":
                for name in names[:count]:
                    model.predict(name, n_cells=n, adata=adata, context=None, **request)
            else:
                model.predict(names[:count], n_cells=n, adata=adata, context=None, **request)
            costs[kind] = (sum(passed), time.process_time() - start)
        rows.append(
            {
                "perturbations": count,
                "expected": (1 + count) / (2 * count),
                "cells through the network": costs["shared"][0] / costs["own"][0],
                "CPU seconds": costs["shared"][1] / costs["own"][1],
                "control cells": controls.n_obs,
            }
        )
    return rows


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.most = max(self.most, each.numel())
        return out


def memory(width: int = 64) -> list[dict[str, object]]:
    rows = []
    for genes in (500, 1000, 2000):
        for neighbours in (5, 10):
            pairs = torch.stack(
                [
                    torch.arange(genes).repeat(neighbours),
                    torch.randint(genes, (genes * neighbours,)),
                ]
            )
            edges = with_loops(pairs, genes)
            with Largest() as seen:
                GraphEncoder(32, width)(torch.randn(genes, 32), edges)
            rows.append(
                {
                    "genes": genes,
                    "edges": edges.shape[1],
                    "largest tensor": seen.most,
                    "over edges x width": seen.most / edges.shape[1] / width,
                    "over genes squared": seen.most / genes**2,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--width", type=int, default=256)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    with threadpool_limits(1):
        adata = screen(given.genes)
        rows = [step(adata, preset, given) for preset in ("shoal", "published", "published_v2")]
        show(rows, f"A step, {given.genes} genes, width {given.width}")
        show(sampling(adata, 300, 64), "Sampling with shared noise")
        show(memory(), "Memory of the graph")
    print(f"\n{pd.Timestamp.now():%Y-%m-%d}")


if __name__ == "__main__":
    main()
