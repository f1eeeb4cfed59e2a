"""PerturbDiff: a step of training beside its matrix products alone, and samplers: what they cost and what their cells are like.

    python benchmarks/perturbdiff_speed.py [--only step,generation,quality] [--repeats 20] [--steps 1500] [--seeds 0]

Costs are CPU seconds (time.process_time) of one thread; what is compared is measured in turns, in one process. Machines
differ and are noisy: read the ratios.

`step`: 8 sets of 32 cells, 2,000 genes, width 128, 4 blocks. The step is what the engine spends between two batches: loss, backward
pass, clipping, AdamW, running average, Lightning. Matrix products are noted while the network runs (linear layers and
attention; backward as far as gradients reach) and then done alone on random numbers of the same shapes, before every step: those of
the network as it is written (every layer for every cell, features that are 0 as well), and `own`, those that the step does.
Self-conditioning of 0.5 is every second step with a first guess. `generation`: 1,000 cells by `predict`, 2,000 genes, each row in
turns with the one pass. `quality`: the real screen RENGE, perturbation x context cells held out, for each sampler the scores of
`_evaluate.py` and the CPU seconds of 1,000 cells; without the data (SHOAL_DATA_DIR) it is left out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch
from _evaluate import exam
from _screens import FOLDER, Task, prepare
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models import PerturbDiff
from shoal.models.base._config import changed
from shoal.models.base._sets import conditions_of
from shoal.nn._attention import Attention
from shoal.training import FitSettings, SetSampler, fit
from shoal.training._ema import Ema
from shoal.training._plan import Plan

SIZE = {"width": 128, "depth": 4}
SETS, CELLS = 8, 32
NETWORKS = {  # preset, its changes, and the self-conditioning of the steps in turn
    "published, no self-conditioning": ("published", {}, (0,)),
    "published": ("published", {}, (0, 1)),
    "shoal": ("shoal", {}, (0,)),
}
SAMPLERS = (("truncated", 100), ("strided", 100), ("strided", 20), ("strided", 1))


def made(preset: str, adata, **changes) -> PerturbDiff:
    PerturbDiff.setup_anndata(adata)
    return PerturbDiff(adata, preset=preset, rng=0, **changes)


def screen():
    adata = sh.ds.simulate(
        n_perturbations=9, n_cells=100, n_control=300, n_genes=2000, contexts=2, rng=0
    )
    sh.pp.prepare(adata, normalize="log1p", n_top_genes=None, cross_fit=0)
    return adata


def cpu(call) -> float:
    """Return the CPU milliseconds of a call."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def show(rows: list[dict[str, object]], title: str) -> None:
    """Print a markdown table."""
    table = pd.DataFrame(rows)
    cells = table.map(
        lambda value: f"{value:.3g}" if isinstance(value, float) else str(value)
    ).replace("nan", "")
    print(f"\n### {title}\n\n| {' | '.join(table.columns)} |\n{'|---' * len(table.columns)}|")
    print("\n".join(f"| {' | '.join(row)} |" for row in cells.to_numpy()), flush=True)


# -- matrix products -------------------------------------------------------------------------------------------------


@dataclass
class Product:
    """n products of (rows, inner) and (inner, cols), which of the two a gradient is asked for, and whether it gets there."""

    n: int
    rows: int
    inner: int
    cols: int
    wants: tuple[bool, bool]
    reached: bool = False


def noted(module: torch.nn.Module, batch, *, plain: bool) -> list[Product]:
    """Return the products that a module does for the loss of a batch and its gradient.

    `plain`: with every layer done for every cell but those of the step's number, and with features that are left out because they are 0.
    """
    found: list[Product] = []
    once = {id(layer) for layer in module.time.modules()}

    def note(product: Product, output: torch.Tensor) -> None:
        found.append(product)
        if output.requires_grad:
            output.register_hook(lambda _: setattr(product, "reached", True))

    def linear(layer, inputs, output):
        (x,) = inputs
        wants = (x.requires_grad, layer.weight.requires_grad)
        rows, inner = x[..., 0].numel(), x.shape[-1]
        if plain:
            rows, inner = (
                rows if id(layer) in once else max(rows, batch.weight.numel()),
                layer.in_features,
            )
        note(Product(1, rows, inner, layer.out_features, wants), output)

    def attention(layer, inputs, output):
        sets, tokens, width = inputs[0].shape
        n, d = sets * layer.n_heads, width // layer.n_heads
        for shape in (
            (tokens, d, tokens),
            (tokens, tokens, d),
        ):  # queries with keys, shares with values
            note(Product(n, *shape, (True, True)), output)

    kinds = ((torch.nn.Linear, linear), (Attention, attention))
    hooks = [
        m.register_forward_hook(hook)
        for m in module.modules()
        for kind, hook in kinds
        if isinstance(m, kind)
    ]
    module.loss(batch, torch.Generator().manual_seed(0))["loss"].backward()
    for hook in hooks:
        hook.remove()
    return found


class Alone:
    """Products by themselves, each on random numbers of its own: all forward, then all backward."""

    def __init__(self, products: list[Product]) -> None:
        self.operands = []
        for p in products:
            shapes = (
                (p.rows, p.inner),
                (p.cols, p.inner),
                (p.rows, p.cols),
            )  # weights lie as a linear layer has them
            a, b, out = (
                torch.randn(*shape) if p.n == 1 else torch.randn(p.n, *shape) for shape in shapes
            )
            self.operands.append((a, b, out, *(p.reached and wanted for wanted in p.wants)))

    def __call__(self) -> None:
        for a, b, *_ in self.operands:
            a @ b.mT
        for a, b, out, to_a, to_b in reversed(self.operands):
            if to_a:
                out @ b
            if to_b:
                out.mT @ a


# -- a step ----------------------------------------------------------------------------------------------------------


class Turns:
    """A store whose batches cost nothing: before each it does products alone, and notes what they and the step before cost."""

    def __init__(
        self, store, module, coins: tuple[int, ...], alone: list[tuple[Alone, ...]]
    ) -> None:
        self.sampler, self.module, self.coins, self.alone = store.sampler, module, coins, alone
        self.batches = [store.batch(step) for step in range(4)]
        self.times: list[tuple[float, ...]] = []
        self._left, self._products = 0.0, (0.0, 0.0)
        self.to, self.close = store.to, store.close

    def batch(self, step: int, rank: int = 0, world: int = 1):
        if self._left:
            self.times.append(((time.process_time() - self._left) * 1e3, *self._products))
        turn = step % len(self.coins)
        self.module.config = changed(self.module.config, {"self_conditioning": self.coins[turn]})
        self._products = tuple(cpu(products) for products in self.alone[turn])
        self._left = time.process_time()
        return self.batches[step % len(self.batches)]


def parts(
    model: PerturbDiff, store, settings: FitSettings, coins: tuple[int, ...], repeats: int
) -> dict[str, float]:
    """Return the CPU milliseconds of the parts of a step, medians."""
    module, batch = model.module.train(), store.batch(0)
    plan, ema = Plan(module, settings, store.sampler.conditions.names), Ema(settings.ema)
    optimizer = plan.configure_optimizers()["optimizer"]
    weights = list(plan.parameters())
    averages, ema._latest_update_step = [w.detach().clone() for w in weights], 1000
    generator, config, found = torch.Generator().manual_seed(0), module.config, []
    noise, spaces = (
        torch.randn_like(batch.target),
        (None, module.axes)[: 1 + bool(config.loss.energy_components)],
    )

    def network() -> None:
        optimizer.zero_grad()
        module.loss(batch, generator)["loss"].backward()

    def energy() -> None:
        cells = (noise.detach().requires_grad_(), batch.target)
        for axes in spaces:
            made, real = cells if axes is None else (x @ axes for x in cells)
            module._energy(
                made, real, None if config.loss.biased else batch.source_weight, batch.weight
            ).backward()

    for step in range(repeats * len(coins)):
        module.config = changed(config, {"self_conditioning": coins[step % len(coins)]})
        whole, own = cpu(network), cpu(energy)
        row = {"network, both ways": whole - own, "energy distance": own}
        row["clipping"] = cpu(lambda: torch.nn.utils.clip_grad_norm_(weights, 1.0))
        row["AdamW"] = cpu(optimizer.step)
        row["average"] = cpu(lambda: ema._average(averages, weights, None))
        found.append(row)
    module.config = config
    return (
        pd.DataFrame(found).groupby(np.arange(len(found)) // len(coins)).mean().median().to_dict()
    )


def step(given: argparse.Namespace) -> None:
    adata, rows = screen(), []
    for name, (preset, changes, coins) in NETWORKS.items():
        model = made(preset, adata, **SIZE, **changes)
        conditions = conditions_of(model.cells, model.cells.train, model.vocabulary)
        sampler = SetSampler(conditions, seed=0, set_size=CELLS, batch_conditions=SETS)
        store = model._training_store(sampler, "resident")
        module, config, batch = model.module.train(), model.module.config, store.batch(0)
        products = []
        for coin in coins:
            module.config = changed(config, {"self_conditioning": coin})
            products.append([noted(module, batch, plain=plain) for plain in (True, False)])
        module.config = config
        turns = Turns(store, module, coins, [tuple(map(Alone, both)) for both in products])
        n = (given.repeats + 2) * len(coins)
        ema = model.defaults["ema"]
        settings = FitSettings(
            max_steps=n, val_every=n, ema=ema, accelerator="cpu", precision="32-true"
        )
        fit(module, turns, settings=settings)
        cycles = len(turns.times) // len(coins)
        taken = np.reshape(turns.times[: cycles * len(coins)], (cycles, len(coins), 3)).mean(1)[
            1:
        ]  # the first is slow
        whole, alone, own = map(float, np.median(taken, axis=0))
        split = parts(model, store, settings, coins, given.repeats)
        rows.append(
            {
                "network": name,
                "weights, M": sum(p.numel() for p in module.parameters()) / 1e6,
                "step, ms": whole,
                "matrix products, ms": alone,
                "ratio": float(np.median(taken[:, 0] / taken[:, 1])),
                "own products, ms": own,
                "step / own": float(np.median(taken[:, 0] / taken[:, 2])),
                **split,
                "rest": whole - sum(split.values()),
            }
        )
    show(rows, "a step of training, CPU ms")


# -- samplers --------------------------------------------------------------------------------------------------------


def samplers(model: PerturbDiff):
    """Yield the name of each sampler of a model of many steps, set in it, and the options for `predict`."""
    own = model.module.config
    for (sampler, n_steps), guidance in product(SAMPLERS, (2.0, 1.0)):
        model.module.config = changed(own, {"sampler": sampler, "n_steps": n_steps})
        what = "one pass at t = 999" if n_steps == 1 else f"{sampler} {n_steps}"
        yield (
            f"published, {what}, guidance {guidance:g}",
            {"n_steps": n_steps, "guidance": guidance},
        )
    model.module.config = own


def cost(model: PerturbDiff, n_cells: int = 1000, **options) -> float:
    """Return the CPU seconds of so many cells of one condition."""
    name, context = model.vocabulary.trained[0], model.vocabulary.contexts[0]
    return (
        cpu(lambda: model.predict(name, context=context, n_cells=n_cells, rng=0, **options)) / 1e3
    )


def generation(given: argparse.Namespace) -> None:
    adata = screen()
    one, many = (made(preset, adata, **SIZE) for preset in ("shoal", "published"))
    for model in (one, many):
        model.train(2, accelerator="cpu")
    cost(one)
    rows, firsts = [], []
    for name, options in samplers(many):
        before, own, after = cost(one), cost(many, **options), cost(one)
        firsts += [before, after]
        rows.append((name, own, 2 * own / (before + after), 1e3 / own))
    least = float(np.median(firsts))
    columns = ["sampler", "CPU s", "/ one pass of shoal", "cells / CPU s"]
    rows = [
        dict(zip(columns, row, strict=True)) for row in [("shoal", least, 1.0, 1e3 / least), *rows]
    ]
    show(rows, "1,000 cells of 2,000 genes")


def quality(given: argparse.Namespace) -> None:
    if not FOLDER.exists():
        print(f"\nno screens in {FOLDER}: set SHOAL_DATA_DIR")
        return
    found = []
    for seed in given.seeds:
        adata = prepare(Task("renge", "perturbation_context", seed, (), None, FOLDER))
        test = exam(adata, seed=seed)
        found += [
            {"sampler": "second real half", **test.floor()},
            {"sampler": "control copy", **test.control_copy()},
        ]
        for preset in ("shoal", "published"):
            start = time.process_time()
            model = sh.tl.fit(
                adata,
                "perturbdiff",
                preset=preset,
                max_steps=given.steps,
                rng=seed,
                accelerator="cpu",
            )
            trained = time.process_time() - start
            for name, options in [("shoal", {})] if preset == "shoal" else samplers(model):
                sh.tl.predict(adata, model, key_added="made", subset="test", rng=seed, **options)
                times = {"1,000 cells, CPU s": cost(model, **options), "training, CPU s": trained}
                found.append({"sampler": name, **test.score(adata.layers["made"]), **times})
    table = pd.DataFrame(found).groupby("sampler", sort=False).mean().reset_index()
    columns = ["energy", "mmd", "pearson_control", "variance_ratio", "zero_error", *times]
    show(
        table[["sampler", *columns]].to_dict("records"),
        f"RENGE, held-out cells, means over {len(given.seeds)} seeds",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="step,generation,quality")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument(
        "--steps", type=int, help="training steps of `quality`; each preset's own if left out"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.only.split(","):
        {"step": step, "generation": generation, "quality": quality}[name](given)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
