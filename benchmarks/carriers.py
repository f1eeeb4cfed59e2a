"""Which cells an ensemble's mean response should be put on: control cells, or those of a member.

    python benchmarks/carriers.py [--only papalexi:guide renge:context] [--seeds 10 11] [--networks flow --steps 300]

Energy distances to the real cells of held-out conditions, means over conditions and seeds, see `benchmarks/ensemble.py`.

control   control cells plus the mean response: what the ensemble does
recentred cells of a member that changes more than means, with the mean of each condition moved to that of the ensemble
mixed     half of the cells of the ensemble, half of the member's
alone     the member's cells

`--networks` adds the cells of networks, which are trained once for `--steps` steps. The ensemble itself has none.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import pandas as pd
from _ensemble_screens import trial_of

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._conditions import conditions_of
from shoal.evaluation._inner_error import InnerError
from shoal.metrics._cells import densify
from shoal.models.ensemble._members import Member

TASKS = [
    "papalexi:perturbation",
    "papalexi:guide",
    "renge:perturbation_context",
    "renge:perturbation",
    "renge:context",
    "norman:combination",
    "norman:perturbation",
]


CPU = {"accelerator": "cpu", "enable_progress_bar": False}


class Made:
    """Cells in place of a model."""

    def __init__(self, rows, values, source) -> None:
        self.parts = rows, values, source

    def twins(self, cells, *, subset, rng):
        """Return the cells, whatever is asked."""
        return self.parts


def trial(task: str, seed: int, networks: list[str], steps: int) -> list[dict[str, object]]:
    """Return the energy of every carrier."""
    one = trial_of(task, seed)
    adata, embedding = one.adata, one.embedding
    model = sh.tl.fit(adata, "auto", embedding=embedding, rng=seed)
    cells = population(adata, resolve(adata))
    measure = InnerError(cells, [np.where(cells.split == 1, -1, cells.split)], seed=seed)
    left = measure.folds[0]
    rows, own, source = model.twins(left.cells, subset=left.subset, rng=seed)
    own = densify(own)
    condition = conditions_of(left.cells)[0][rows]
    several = np.unique(condition)
    place = np.searchsorted(several, condition)

    def mean(values):
        return np.array([values[condition == one].mean(axis=0) for one in several])[place]

    made = {("", "control"): own}
    names = ["quantile_shift"]
    if left.cells.screen.context_key is not None:
        names += ["cell_knn_shift", "scaled_sources"]
    options = {name: {"max_steps": steps, **CPU} for name in networks}
    for name in [*names, *networks]:
        member = model.members.get(name) or Member(name, options.get(name, {})).fit(
            cells, embedding=embedding, seed=seed
        )
        _, values, _ = member.twins(left.cells, subset=left.subset, rng=seed)
        values = densify(values)
        half = np.random.default_rng(seed).random(len(rows)) < 0.5
        made[name, "alone"] = values
        made[name, "recentred"] = values - mean(values) + mean(own)
        made[name, "mixed"] = np.where(half[:, None], own, values)
    return [
        {
            "task": task,
            "member": name,
            "carrier": carrier,
            "energy": measure.of(Made(rows, values, source), 0)["energy"].mean(),
        }
        for (name, carrier), values in made.items()
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11])
    parser.add_argument("--networks", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    rows = []
    for task in given.only:
        for seed in given.seeds:
            rows += trial(task, seed, given.networks, given.steps)
    table = pd.DataFrame(rows).pivot_table(
        index="task", columns=["member", "carrier"], values="energy", sort=False
    )
    print(table.round(4).T.to_string())


if __name__ == "__main__":
    main()
