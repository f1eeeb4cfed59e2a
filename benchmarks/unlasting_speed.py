"""Unlasting: a step of training beside its matrix products alone, what sharing the noise saves, and the memory of the graph.

    python benchmarks/unlasting_speed.py [--only step,parts,sampling,memory] [--repeats 15] [--genes 2000] [--width 256 512 1024]
                                         [--sets 8] [--presets shoal published published_v2]

`step`: loss, backward pass, clipping and AdamW, beside the matrix products that it does, done alone on random numbers of the same
shapes, in turns. Products are those of linear layers, and of the energy distance where it is a term. `AdamW alone` is the time that
the optimizer takes to read and write the weights, which no step goes without. A step has `--sets` conditions of 32 cells; the preset
`shoal` is trained with 12. CPU milliseconds (time.process_time) of one thread, the least of all repeats, as others on the
machine empty its caches; machines differ: read the ratios.
`parts`: where the rest of a step goes, by torch.profiler: what each operation takes by itself, the least of all repeats, and how many
there are. Beside products and random numbers they are told apart by their largest tensor: cells x genes, cells x width,
the genes of the graph, and smaller ones, whose time is that of starting them.
`sampling`: cells that go through the network when N perturbations are predicted from the same control cells, with the noise found
once and with the noise found for each of them; the expected ratio is (1 + N) / (2 N). `memory`: numbers in the largest tensor of the
graph network, by genes and edges.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from math import prod

import numpy as np
import pandas as pd
import torch
from perturbdiff_speed import Alone, Product, cpu, noted, show
from threadpoolctl import threadpool_limits
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

import shoal as sh
from shoal.models import Unlasting
from shoal.models.base._sets import conditions_of
from shoal.nn import GraphEncoder, with_loops
from shoal.training import FitSettings, SetSampler
from shoal.training._plan import Plan

CELLS = 32  # of a condition, in a step
PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm")
RANDOM = ("aten::normal_", "aten::uniform_", "aten::random_", "aten::bernoulli_")


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


def ready(adata, preset: str, width: int, sets: int):
    """Return a module that is trained, and a batch."""
    model = made(adata, preset, width)
    conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
    sampler = SetSampler(conditions, set_size=CELLS, batch_conditions=sets, seed=0)
    return model.module.train(), model._training_store(sampler, "resident").batch(0)


def step(adata, preset: str, width: int, given: argparse.Namespace) -> dict[str, object]:
    module, batch = ready(adata, preset, width, given.sets)
    generator = torch.Generator().manual_seed(0)
    products = noted(module, batch, plain=False)
    if module.config.loss.energy:  # of made cells with each other and with real ones; real ones
        shape = (given.sets, CELLS, batch.target.shape[-1], CELLS)
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
    products, both_ways, clipped, updating = np.min(found, axis=0).tolist()
    return {
        "preset": preset,
        "width": width,
        "edges": int(module.edges.shape[1]),
        "parameters, M": sum(p.numel() for p in weights) / 1e6,
        "matrix products, ms": products,
        "network, both ways, ms": both_ways,
        "clipping, ms": clipped,
        "AdamW alone, ms": updating,
        "ratio of the network": both_ways / products,
        "ratio of the step": (both_ways + clipped + updating) / products,
    }


def parts(adata, preset: str, width: int, given: argparse.Namespace) -> dict[str, object]:
    module, batch = ready(adata, preset, width, given.sets)
    generator = torch.Generator().manual_seed(0)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(given.repeats):
        module.zero_grad()
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
            module.loss(batch, generator)["loss"].backward()
        counts: dict[str, int] = defaultdict(int)
        for event in seen.key_averages(group_by_input_shape=True):
            shapes = [shape for shape in event.input_shapes if shape]
            part = part_of(event.key, shapes, batch.target.numel(), given.genes)
            times[part, f"{event.key} {shapes}"].append(event.self_cpu_time_total / 1e3)
            counts[part] += event.count
    least: dict[str, float] = defaultdict(float)
    for (part, _), own in times.items():
        least[part] += min(own)
    named = {part: f"{ms:.1f} ({counts[part]})" for part, ms in sorted(least.items())}
    return {"preset": preset, "width": width, **named}


def part_of(name: str, shapes: list, cells_genes: int, genes: int) -> str:
    """Return what an operation is a part of."""
    if name in PRODUCTS or name in RANDOM:
        return "products" if name in PRODUCTS else "random numbers"
    plain = [shape for shape in shapes if all(isinstance(n, int) for n in shape)]
    largest = max((prod(shape) for shape in plain), default=0)
    of_genes = any(n % genes == 0 for shape in plain for n in shape if n)
    if of_genes and any(prod(shape[:-1]) == cells_genes // genes for shape in plain):
        return "cells x genes"
    if of_genes and largest > 2 * genes:
        return "genes of the graph"
    return "cells x width" if largest > 2 * genes else "smaller"


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
    parser.add_argument("--only", default="step,parts,sampling,memory")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--width", nargs="+", type=int, default=[256])
    parser.add_argument("--sets", type=int, default=8)
    presets = ("shoal", "published", "published_v2")
    parser.add_argument("--presets", nargs="+", default=presets, choices=presets)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sh.settings.progress = False
    with threadpool_limits(1):
        adata = screen(given.genes)
        for what in (one for one in (step, parts) if one.__name__ in given.only.split(",")):
            rows = [what(adata, p, width, given) for p in given.presets for width in given.width]
            show(rows, f"{what.__name__}: {given.sets * CELLS} cells, {given.genes} genes")
        if "sampling" in given.only:
            show(sampling(adata, 300, 64), "Sampling with shared noise")
        if "memory" in given.only:
            show(memory(), "Memory of the graph")
    print(f"\n{pd.Timestamp.now():%Y-%m-%d}")


if __name__ == "__main__":
    main()
