"""Train flows on a simulated task with known counterfactuals, and print how well and how fast they carry cells.

    python benchmarks/transport.py [--presets flow rectified ...] [--steps 1500] [--seeds 0 1 2] [--reflow 1000]
                                   [--cmonge-python PATH]

The task (`transport_task.npz`: 50 dimensions, four doses, the true counterfactual of every control cell) is read from
SHOAL_DATA_DIR or ../shared/data. All four conditions are in each batch. `MMD`, mean over the conditions: six Gaussian kernels,
biased, 500 carried controls against 500 fresh cells. `W1`: exact, Euclidean, on the same cells. `error`: mean distance from the
true counterfactual, over identity's; mean over conditions. CPU seconds of one thread, training only.

`--reflow STEPS` trains the first preset once more on its own pairs, for so many steps, and compares few steps with many.
`--cmonge-python` names an interpreter with cmonge 0.1.3, which is then trained on the same data in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import nn

from shoal.metrics import energy_distance
from shoal.models.base._config import changed
from shoal.models.base._visible import n_visible_of
from shoal.models.flow._config import PRESETS
from shoal.models.flow._module import FlowModule
from shoal.training import Conditions, FitSettings, ResidentStore, SetSampler, fit
from shoal.training._batch import assemble

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")} | {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
WIDTHS = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)  # γ of exp(−γ d²)


@dataclass(frozen=True)
class Task:
    """Controls to train on and to carry, and for each condition cells to train on, to test with, and the truth."""

    control: np.ndarray
    control_test: np.ndarray
    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    dose: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Task:
        stored = np.load(path)
        each = {
            part: np.stack([stored[f"{part}_c{k}"] for k in range(4)])
            for part in ("train", "test", "truth")
        }
        return cls(stored["control"], stored["control_test"], **each, dose=stored["dose"])


# -- scores ----------------------------------------------------------------------------------------------------------


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    xx, yy, xy = (cdist(a, b, "sqeuclidean") for a, b in ((x, x), (y, y), (x, y)))
    return float(
        np.mean(
            [
                np.exp(-g * xx).mean() + np.exp(-g * yy).mean() - 2 * np.exp(-g * xy).mean()
                for g in WIDTHS
            ]
        )
    )


def w1(x: np.ndarray, y: np.ndarray) -> float:
    cost = cdist(x, y)
    return float(cost[linear_sum_assignment(cost)].mean())


def scores(task: Task, made: np.ndarray) -> dict[str, float]:
    """Return mean scores of carried test controls (4, 1000, 50)."""
    n = len(task.test[0])
    off, copy = (
        np.linalg.norm(x - task.truth, axis=-1).mean(1) for x in (made, task.control_test[None])
    )
    return {
        "MMD": float(np.mean([mmd(x[:n], y) for x, y in zip(made, task.test, strict=True)])),
        "W1": float(np.mean([w1(x[:n], y) for x, y in zip(made, task.test, strict=True)])),
        "error": float(np.mean(off / copy)),
        **{f"c{k}": float(ratio) for k, ratio in enumerate(off / copy)},
    }


def energy(task: Task, made: np.ndarray) -> float:
    return float(np.mean([energy_distance(x, y) for x, y in zip(made, task.test, strict=True)]))


# -- flows -----------------------------------------------------------------------------------------------------------


def conditions(task: Task, sizes: list[int], n_control: int) -> Conditions:
    """Return the four conditions, one after the other behind the controls; one-hot vectors and a dose."""
    start = n_control + np.cumsum([0, *sizes])
    n = int(start[-1])
    return Conditions(
        names=tuple(f"c{k}" for k in range(4)),
        parts=np.arange(4)[:, None],
        context=np.full(4, -1),
        dose=(task.dose - task.dose.mean()) / task.dose.std(),
        cells=tuple(np.arange(a, b) for a, b in pairwise(start)),
        control=np.arange(n_control),
        cell_context=np.zeros(n, dtype=np.int64),
        cell_batch=np.zeros(n, dtype=np.int64),
        vectors=np.eye(4, dtype=np.float32),
    )


class Pairs(ResidentStore):
    """Pairs of a flow (4, N, D each): slot by slot a start and its end."""

    def __init__(self, task: Task, start: torch.Tensor, end: torch.Tensor, **options: int) -> None:
        told = conditions(task, [start.shape[1]] * 4, 1)  # the one "control" is never used
        first = torch.zeros(1, start.shape[2])
        super().__init__(torch.cat([first, end.flatten(0, 1)]), SetSampler(told, **options))
        self.start = torch.cat([first, start.flatten(0, 1)])

    def gather(self, told: Conditions, draw: object) -> object:
        batch = assemble(
            told, draw, torch.stack([self.start[draw.target], self._here[draw.target]])
        )
        return replace(
            batch, source_weight=batch.weight
        )  # the starts come with the targets, not from the "control"


def train(
    module: nn.Module,
    store: ResidentStore,
    steps: int,
    seed: int,
    lr: float,
    *,
    ema: float | None = 0.995,
    **more: Any,
) -> float:
    """Train and return the CPU seconds."""
    here = {"accelerator": "cpu", "precision": "32-true", "val_every": steps}
    settings = FitSettings(max_steps=steps, lr=lr, ema=ema, seed=seed, **here, **more)
    begin = time.process_time()
    fit(module, store, settings=settings, enable_progress_bar=False)
    return time.process_time() - begin


def carry(task: Task, module: FlowModule, control: np.ndarray, **options: object) -> torch.Tensor:
    """Return (4, n, D): the controls under each condition."""
    source = torch.from_numpy(control).expand(4, -1, -1)
    told = conditions(task, [1] * 4, 1).tensors(np.arange(4))
    batch_index = torch.zeros(source.shape[:2], dtype=torch.int64)
    make = module.pairs if options.pop("pairs", False) else module.sample
    return make(source, told, batch_index, generator=torch.Generator().manual_seed(0), **options)


def flow(
    task: Task, preset: str, steps: int, seed: int, args: argparse.Namespace
) -> tuple[FlowModule, float]:
    torch.manual_seed(seed)
    cells = np.concatenate([task.control, *task.train])
    told = conditions(task, [len(x) for x in task.train], len(task.control))
    store = ResidentStore(cells, SetSampler(told, set_size=args.set_size, seed=seed))
    config = changed(PRESETS[preset], json.loads(args.config))
    if (
        config.network.n_visible == "auto"
    ):  # as models.Flow chooses it; the dimensions of the task come by their variance
        n_visible = n_visible_of([len(x) for x in task.train])
        config = changed(config, {"n_visible": n_visible})
    module = FlowModule(cells.shape[1], 4, 0, config=config, scale=float(task.control.std()))
    return module, train(module, store, steps, seed, args.lr)


def reflow(
    task: Task, module: FlowModule, steps: int, seed: int, args: argparse.Namespace
) -> dict[str, float]:
    """Return energy distances to fresh cells, of many steps of the flow and of few steps before and after reflow."""

    def measured(of: FlowModule, method: str, n: int) -> float:
        return energy(
            task,
            carry(task, of, task.control_test, sampler=method, n_steps=n, guidance=1.0).numpy(),
        )

    start, end = carry(task, module, task.control, pairs=True)
    second = module.reflowed()
    seconds = train(
        second, Pairs(task, start, end, set_size=args.set_size, seed=seed), steps, seed, args.lr / 2
    )
    found = {
        "50 Heun": measured(module, "heun", 50),
        "4 Euler": measured(module, "euler", 4),
        "reflowed, 50 Heun": measured(second, "heun", 50),
        "reflowed, 4 Euler": measured(second, "euler", 4),
        "reflowed, 1 Euler": measured(second, "euler", 1),
    }
    return found | {
        "reflowed 4 / 50 Heun": found["reflowed, 4 Euler"] / found["50 Heun"],
        "reflow CPU s": seconds,
    }


def cmonge(
    python: str, data: Path, seed: int, args: argparse.Namespace
) -> tuple[np.ndarray, float]:
    """Train cmonge in its own interpreter; return the carried test controls and the CPU seconds of its training."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "made.npz"
        script = Path(__file__).with_name("cmonge_transport.py")
        options = [str(data), str(target), "--seed", str(seed), "--steps", str(args.cmonge_steps)]
        subprocess.run([python, str(script), *options], check=True, env=os.environ | ONE_THREAD)
        stored = np.load(target)
        return stored["made"], float(stored["seconds"])


# -- tables ----------------------------------------------------------------------------------------------------------


def table(rows: list[dict[str, object]]) -> None:
    print("\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print(
            "| "
            + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
            + " |",
            flush=True,
        )
    print(flush=True)


def references(task: Task) -> list[dict[str, object]]:
    shift = task.train.mean(1, keepdims=True) - task.control.mean(0)
    copies = np.broadcast_to(task.control_test, task.truth.shape)
    floor = {"MMD": np.mean([mmd(*pair) for pair in zip(task.train, task.test, strict=True)])}
    floor["W1"] = np.mean([w1(*pair) for pair in zip(task.train, task.test, strict=True)])
    rows = {"mean shift": copies + shift, "identity": copies, "truth": task.truth}
    none = dict.fromkeys(("error", *(f"c{k}" for k in range(4))), float("nan"))
    found = [{"what": "floor (training cells)", **floor, **none}]
    return found + [{"what": name, **scores(task, made)} for name, made in rows.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--set-size", type=int, default=128)
    parser.add_argument("--config", default="{}", help="changes to the presets, as JSON")
    parser.add_argument("--reflow", type=int, default=0, metavar="STEPS")
    parser.add_argument("--cmonge-python", metavar="PATH")
    parser.add_argument("--cmonge-steps", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = (
        Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
        / "transport_task.npz"
    )
    task = Task.read(data)
    table([row | {"CPU s": float("nan")} for row in references(task)])
    rows, reflowed = [], []
    for preset in args.presets:
        for seed in args.seeds:
            module, seconds = flow(task, preset, args.steps, seed, args)
            made = carry(task, module, task.control_test).numpy()
            rows.append({"what": f"{preset}, seed {seed}", **scores(task, made), "CPU s": seconds})
            print(rows[-1], flush=True)
            if args.reflow and preset == args.presets[0]:
                reflowed.append(
                    {"what": rows[-1]["what"], **reflow(task, module, args.reflow, seed, args)}
                )
    for seed in args.seeds if args.cmonge_python else ():
        made, seconds = cmonge(args.cmonge_python, data, seed, args)
        rows.append({"what": f"cmonge 0.1.3, seed {seed}", **scores(task, made), "CPU s": seconds})
    if rows:
        table(rows)
    if reflowed:
        print("Energy distance to fresh cells, mean over the conditions")
        table(reflowed)


if __name__ == "__main__":
    main()
