"""The ensemble without networks beside its members and the rule, on held-out conditions of real screens.

    python benchmarks/ensemble.py [--only papalexi:guide kang:context] [--seeds 3 4] [--members]

A row for each screen and split, means over held-out conditions and seeds. Energy distances to the real cells along 50 principal
axes of the training cells, unbiased: 0 for a second sample in the mean.

copy      of the control cells that predictions start from
rule      of the baseline that goes with the kind of split, `shoal.evaluation._reference.REFERENCES`
auto      of `sh.tl.fit(adata, "auto")`
auto-rule mean difference over conditions, with its standard error over perturbations (conditions of several seeds count as one)
best      of the best member, chosen with hindsight
sq        squared distance of predicted and real mean responses along the axes, over that of the copy: rule, auto
CPU s     to fit the ensemble

`--members` prints all members and the weights too.
"""

from __future__ import annotations

import argparse
import logging
import time

import numpy as np
import pandas as pd
from _screens import DATA, FOLDER, TASKS, Task, prepare

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._inner_error import InnerError
from shoal.evaluation._reference import REFERENCES
from shoal.models.ensemble._members import Member
from shoal.models.ensemble._weights import TOGETHER


class Measure(InnerError):
    """Energies of models, and squared distances of the means of their cells, on held-out conditions."""

    def of(self, model, fold: int = 0) -> pd.DataFrame:
        """Return energies as `InnerError.of` does, and the squares of the means."""
        table, left = super().of(model, fold), self.folds[fold]
        rows, values, source = model.twins(left.cells, subset=left.subset, rng=self.seed)
        made = self._along(values)
        start, back = np.unique(source, return_inverse=True)
        starts = self._along(left.cells.rows.take(start))[back]
        places = [np.searchsorted(rows, own) for own in left.rows]
        for name, cells in {"square": made, "square copy": starts}.items():
            table[name] = [
                ((cells[at].mean(axis=0) - real.mean(axis=0)) ** 2).sum()
                for at, real in zip(places, left.real, strict=True)
            ]
        return table


def trial(data: str, split: str, seed: int) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, float]:
    """Return the errors of all contenders on the held-out conditions, the weights, and the CPU time of the fit."""
    adata = prepare(Task(data, split, seed, (), None, FOLDER))
    given = DATA[data].splits[split]
    embedding = None if given.embedding == "one-hot" else given.embedding
    before = time.process_time()
    model = sh.tl.fit(adata, "auto", embedding=embedding, rng=seed)
    seconds = time.process_time() - before
    cells = population(adata, resolve(adata))
    measure = Measure(cells, [np.where(cells.split == 1, -1, cells.split)], seed=seed)
    found = {"auto": measure.of(model)}
    names = [name for name in model.weights["member"].unique() if name != TOGETHER]
    for name in names:
        one = model.members.get(name) or Member(name).fit(cells, embedding=embedding, seed=seed)
        try:
            found[name] = measure.of(one)
        except (KeyError, ValueError):
            continue  # it cannot predict a condition
    rule = REFERENCES[given.by]
    found["rule"] = found[rule if rule in found else "mean_shift"]
    tried = model.weights[model.weights["n_conditions"] > 0]
    return found, tried, seconds


def row(data: str, split: str, seeds: list[int], *, members: bool) -> dict[str, object]:
    """Return the line of a screen and split."""
    parts: dict[str, list[pd.DataFrame]] = {}
    seconds = []
    for seed in seeds:
        found, weights, cpu = trial(data, split, seed)
        seconds.append(cpu)
        for name, table in found.items():
            parts.setdefault(name, []).append(table)
        if members:
            shown = weights[["kind", "member", "weight", "error", "n_units", "note"]]
            print(f"\n{data}, {split}, seed {seed}\n", shown.round(3).to_string(index=False))
    whole = {name: pd.concat(own) for name, own in parts.items() if len(own) == len(seeds)}
    energy = {name: float(table["energy"].mean()) for name, table in whole.items()}
    auto, rule = whole["auto"], whole["rule"]
    gap = auto["energy"] - rule["energy"]
    by = DATA[data].splits[split].by
    unit = gap.index.str.split(" | ", regex=False).str[1 if by == "context" else 0]
    means = gap.groupby(unit).mean()
    error = float(means.std() / np.sqrt(len(means))) if len(means) > 1 else np.nan
    best = min((name for name in energy if name not in ("auto", "rule")), key=energy.get)
    copy = auto["square copy"].sum()
    if members:
        print(pd.Series(energy).sort_values().round(4).to_string())
    return {
        "screen": data,
        "split": split,
        "copy": f"{auto['copy'].mean():.4f}",
        "rule": f"{energy['rule']:.4f}",
        "auto": f"{energy['auto']:.4f}",
        "auto-rule": f"{gap.mean():+.4f} ± {error:.4f}",
        "best": f"{best} {energy[best]:.4f}",
        "sq rule": f"{rule['square'].sum() / copy:.3f}",
        "sq auto": f"{auto['square'].sum() / copy:.3f}",
        "CPU s": f"{np.mean(seconds):.1f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4])
    parser.add_argument("--members", action="store_true")
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    rows = []
    for task in given.only:
        data, _, split = task.partition(":")
        rows.append(row(data, split, given.seeds, members=given.members))
        print(f"{task}: {rows[-1]}", flush=True) if given.members else None
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
