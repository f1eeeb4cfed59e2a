"""Train conditional Monge maps on a task with known counterfactuals; what their parts do, and how they compare with cmonge.

    python benchmarks/monge.py [--rows shoal published ...] [--steps 1500] [--seeds 0 1] [--cmonge-python PATH]

The task and the scores are those of `transport.py`; `variance` is the total variance of the carried cells over that of fresh ones
(a Wasserstein distance alone rewards too little of it), `gap` the Monge gap of the test controls less its floor (Euclidean,
ε = 0.01 in units of the data). All four conditions are in each batch of `shoal`, one in those of `published`. CPU seconds of one
thread, training only. `--cmonge-python` names an interpreter with cmonge 0.1.3, which is trained in the same run; the default is then
trained with ever more steps until its MMD is that of cmonge, and the ratio of CPU seconds is printed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from transport import Task, cmonge, conditions, references, scores, table, train

from shoal.generative import monge_gap
from shoal.models.base._config import changed
from shoal.models.base._visible import n_visible_of
from shoal.models.monge._config import PRESETS, TRAINING
from shoal.models.monge._module import MongeModule
from shoal.training import ResidentStore, SetSampler

ROWS = {
    "shoal": ("shoal", {}),
    "shoal, biased divergence": ("shoal", {"biased": True}),
    "shoal, ε = 0.1": ("shoal", {"epsilon": 0.1}),
    "shoal, ε = 0.1, biased divergence": ("shoal", {"epsilon": 0.1, "biased": True}),
    "shoal, no gap": ("shoal", {"gap": 0.0}),
    "shoal, no warm start": ("shoal", {"warm_steps": 0}),
    "shoal, squared distance": ("shoal", {"cost": "sqeuclidean"}),
    "shoal, 8 random numbers a cell": ("shoal", {"n_noise": 8}),
    "shoal, plain layers": ("shoal", {"architecture": "concatenated"}),
    "published": ("published", {}),
    "published, halves": ("published", {"biased": False}),
}
LADDER = (100, 200, 300, 400, 600, 800, 1200, 1600)  # steps


def trained(
    task: Task, preset: str, changes: dict, steps: int, seed: int
) -> tuple[np.ndarray, float]:
    """Return the carried test controls (4, 1000, 50) and the CPU seconds of the training."""
    torch.manual_seed(seed)
    config = changed(PRESETS[preset], changes)
    if (
        config.network.n_visible == "auto"
    ):  # as the model chooses it; the dimensions of the task come by their variance
        n_visible = n_visible_of([len(x) for x in task.train])
        config = changed(config, {"n_visible": n_visible})
    unit = (
        float(task.control.std()) if config.loss.epsilon_relative else 1.0
    )  # the published ε is in units of the data
    cells = np.concatenate([task.control, *task.train]).astype(np.float32) / unit
    told = conditions(task, [len(x) for x in task.train], len(task.control))
    settings = {k: v for k, v in TRAINING[preset].items() if k != "max_steps"}
    sizes = {"set_size": 128, "batch_conditions": settings.pop("batch_conditions", 4)}
    settings.pop("set_size", None)
    module = MongeModule(cells.shape[1], 4, 0, config=config)
    seconds = train(
        module, ResidentStore(cells, SetSampler(told, **sizes, seed=seed)), steps, seed, **settings
    )
    source = torch.from_numpy(task.control_test.astype(np.float32) / unit).expand(4, -1, -1)
    told, batch_index = (
        conditions(task, [1] * 4, 1).tensors(np.arange(4)),
        torch.zeros(source.shape[:2], dtype=torch.int64),
    )
    return module.sample(
        source, told, batch_index, generator=torch.Generator().manual_seed(0)
    ).numpy() * unit, seconds


def judged(task: Task, made: np.ndarray) -> dict[str, float]:
    """Return the scores of `transport.py`, and what transport asks for."""
    n = len(task.test[0])
    spread = [x[:n].var(0).sum() / y.var(0).sum() for x, y in zip(made, task.test, strict=True)]
    source = torch.from_numpy(task.control_test[:n]).double().expand(4, -1, -1)
    gap = monge_gap(source, torch.from_numpy(made[:, :n]).double(), epsilon=0.01)
    found = scores(task, made)
    return {k: found[k] for k in ("MMD", "W1", "error")} | {
        "variance": float(np.mean(spread)),
        "gap": gap.mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--cmonge-python", metavar="PATH")
    parser.add_argument("--cmonge-steps", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = (
        Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
        / "transport_task.npz"
    )
    task = Task.read(data)
    table([{k: row[k] for k in ("what", "MMD", "W1", "error")} for row in references(task)])
    rows = []
    for name in args.rows:
        for seed in args.seeds:
            made, seconds = trained(task, *ROWS[name], args.steps, seed)
            rows.append({"what": f"{name}, seed {seed}", **judged(task, made), "CPU s": seconds})
            print(rows[-1], flush=True)
    if rows:
        table(rows)
    for seed in args.seeds if args.cmonge_python else ():
        race(task, data, seed, args)


def race(task: Task, data: Path, seed: int, args: argparse.Namespace) -> None:
    """Print what cmonge reaches, and with how much of its CPU time the default is as good."""
    made, theirs = cmonge(args.cmonge_python, data, seed, args)
    goal = judged(task, made)
    rows = [
        {
            "what": f"cmonge 0.1.3, {args.cmonge_steps} steps, seed {seed}",
            **goal,
            "CPU s": theirs,
            "ratio": 1.0,
        }
    ]
    for steps in LADDER:
        made, ours = trained(task, "shoal", {}, steps, seed)
        rows.append(
            {
                "what": f"shoal, {steps} steps",
                **judged(task, made),
                "CPU s": ours,
                "ratio": ours / theirs,
            }
        )
        if rows[-1]["MMD"] <= goal["MMD"]:
            break
    table(rows)


if __name__ == "__main__":
    main()
