"""Whose cells should carry an ensemble's mean response: control cells, or those of a member that changes more than means.

    python benchmarks/carriers.py [--only papalexi:guide renge:context] [--seeds 10 11] [--networks flow --steps 300] [--rows DIR]

Energy distances to the real cells of held-out conditions, see `benchmarks/ensemble.py`, of one and the same ensemble with each carrier.
`renge:perturbation_context` and so on: means over conditions and seeds.

test    energy distance to the real cells of held-out conditions
inner   mean gain over control cells on the inner conditions of training, by which the ensemble chooses; empty where it did not try
chosen  on how many seeds it was chosen

A second table has the ensemble as it chooses beside control cells: mean difference over conditions, with its 95 % interval over units.
`--networks` adds networks to the members, trained for `--steps` steps.
"""

from __future__ import annotations

import argparse
import copy
import logging
from pathlib import Path

import numpy as np
import pandas as pd
from _ensemble_screens import trial_of
from _ensemble_tables import told

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._inner_error import InnerError
from shoal.metrics import paired_difference
from shoal.models.ensemble._carrier import CONTROL
from shoal.models.ensemble._cells import MIXED, RECENTRED
from shoal.models.ensemble._members import Member, read_members

TASKS = [
    "papalexi:perturbation",
    "papalexi:guide",
    "renge:perturbation_context",
    "renge:perturbation",
    "renge:context",
    "norman:combination",
    "norman:perturbation",
    "kang:context",
]
CPU = {"accelerator": "cpu", "enable_progress_bar": False}


def carried_by(model, name: str, way: str = "", member=None):
    """Return the same ensemble with one carrier for all kinds of question."""
    other = copy.copy(model)
    kinds = model.carriers["kind"].unique()
    other.carriers = pd.DataFrame(
        {"kind": kinds, "carrier": name, "way": way, "chosen": True}, index=range(len(kinds))
    )
    other.members = model.members | ({} if member is None else {name: member})
    return other


def folder_of(rows: Path | None, task: str, seed: int) -> Path | None:
    """Return where the folds of a task and seed are kept."""
    name = f"{task.replace(':', '_').replace(' ', '_').replace(',', '')}_{seed}"
    return None if rows is None else rows / "folds" / name


def fitted(one, cells, task: str, seed: int, *, networks: list[str], steps: int, rows: Path | None):
    """Return the ensemble of a trial, and the members that it was told; an interrupted training goes on."""
    options = {name: {"max_steps": steps, **CPU} for name in networks}
    called = read_members(None, cells, embedding=one.embedding, preset="fast")
    several = {own.name: None for own in called} | options
    folder = folder_of(rows, task, seed) if networks else None
    given = {} if folder is None else {"checkpoint_dir": folder, "resume": folder.exists()}
    config = {"members": several} if networks else None
    model = sh.tl.fit(one.adata, "auto", embedding=one.embedding, config=config, rng=seed, **given)
    return model, options


def trial(task: str, seed: int, *, networks: list[str], steps: int, rows: Path | None):
    """Return the energies of every carrier: a row for each condition."""
    one = trial_of(task, seed)
    cells = population(one.adata, resolve(one.adata))
    given = {"networks": networks, "steps": steps, "rows": rows}
    model, options = fitted(one, cells, task, seed, **given)
    measure = InnerError(cells, [np.where(cells.split == 1, -1, cells.split)], seed=seed)
    names = ["quantile_shift", *networks]
    if cells.screen.context_key is not None:
        names += ["cell_knn_shift", "scaled_sources"]
    made = {("auto", ""): model, (CONTROL, ""): carried_by(model, CONTROL)}
    for name in names:
        own = model.members.get(name) or Member(name, options.get(name, {})).fit(
            cells, embedding=one.embedding, seed=seed
        )
        made |= {(name, way): carried_by(model, name, way, own) for way in (RECENTRED, MIXED)}
    tried = model.carriers.dropna().set_index(["carrier", "way"])
    found = []
    for (name, way), own in made.items():
        table = measure.of(own, 0).assign(task=task, seed=seed, carrier=name, way=way, by=one.by)
        inner = tried.loc[[(name, way)]] if (name, way) in tried.index else tried.iloc[:0]
        table = table.assign(inner=inner["gain"].mean(), error=inner["standard_error"].mean())
        found.append(table.assign(chosen=bool(inner["chosen"].any())))
    return pd.concat(found).rename_axis("condition").reset_index()


def kept(task: str, seed: int, **given) -> pd.DataFrame:
    """Return the rows that a folder holds, or new ones, which it then holds."""
    if given["rows"] is None:
        return trial(task, seed, **given)
    path = given["rows"] / f"{folder_of(given['rows'], task, seed).name}.csv"
    if not path.exists():
        given["rows"].mkdir(parents=True, exist_ok=True)
        trial(task, seed, **given).to_csv(path, index=False)
    return pd.read_csv(path, keep_default_na=False, na_values={"inner": [""], "error": [""]})


def beside(table: pd.DataFrame) -> str:
    """Return the difference of the ensemble as it chooses and with control cells."""
    wide = table.pivot(index=["condition", "seed", "by"], columns="carrier", values="energy")
    at = 1 if wide.index.get_level_values("by")[0] == "context" else 0
    unit = wide.index.get_level_values("condition").str.split(" | ", regex=False).str[at]
    owner = np.unique(unit, return_inverse=True)[1]
    return told(paired_difference(wide["auto"].to_numpy(), wide[CONTROL].to_numpy(), owner=owner))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11])
    parser.add_argument("--networks", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rows", type=Path)
    given = vars(parser.parse_args())
    tasks, seeds = given.pop("only"), given.pop("seeds")
    logging.getLogger("shoal").setLevel(logging.ERROR)
    everything, lines = [], []
    for task in tasks:
        found = pd.concat([kept(task, seed, **given) for seed in seeds])
        once = found.drop_duplicates(["seed", "carrier", "way"])
        by = ["carrier", "way"]
        table = found.groupby(by, sort=False)["energy"].mean().rename("test").to_frame()
        table["inner"] = once.groupby(by)["inner"].mean()
        table["chosen"] = once.groupby(by)["chosen"].sum()
        everything.append(table.round(4).reset_index().assign(task=task))
        lines.append({"task": task, "auto - control cells": beside(found[found["way"] == ""])})
    table = pd.concat(everything)[["task", "carrier", "way", "test", "inner", "chosen"]]
    print(table.to_markdown(index=False))
    print(f"\n{pd.DataFrame(lines).to_markdown(index=False)}")


if __name__ == "__main__":
    main()
