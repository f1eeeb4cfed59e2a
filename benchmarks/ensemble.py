"""The ensemble without networks beside its members and the rule, on held-out conditions of real screens.

    python benchmarks/ensemble.py [--only papalexi:guide kang:context] [--seeds 3 4 5] [--networks flow --steps 500] [--members]

A row for each screen and split, means over held-out conditions and seeds. Energy distances to the real cells along 50 principal
axes of the training cells, unbiased: 0 for a second sample in the mean. Energies of all members come before.

copy      of the control cells that predictions start from
rule      of the baseline that goes with the kind of split, `shoal.evaluation._reference.REFERENCES`
auto      of `sh.tl.fit(adata, "auto")`
auto-rule mean difference over conditions, with its standard error over perturbations (contexts where these are held out;
          conditions of several seeds count as one)
best      of the best member, chosen with hindsight
rank      of auto among its members
sq        squared distance of predicted and real mean responses along the axes, over that of the copy: rule, auto
CPU s     to fit the ensemble; members: to train each member once

`--members` prints the weights too. `--networks` adds networks to the members, trained for `--steps` steps each.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from _ensemble_screens import TASKS, trial_of

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._inner_error import InnerError
from shoal.evaluation._reference import REFERENCES
from shoal.models.ensemble._members import Member, read_members
from shoal.models.ensemble._weights import TOGETHER

CPU = {"accelerator": "cpu", "enable_progress_bar": False}


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


@dataclass
class Trial:
    """What came out of one screen, split and seed.

    Attributes
    ----------
    errors
        Contender -> errors on the held-out conditions.
    weights
        Rows of ``model.weights`` of the kinds that were tried.
    by
        What the split holds out.
    seconds, of_members
        CPU time of the fit, and of training each member once, on all of training.
    """

    errors: dict[str, pd.DataFrame]
    weights: pd.DataFrame
    by: str
    seconds: float
    of_members: float


def trial(task: str, seed: int, networks: list[str], steps: int) -> Trial:
    """Return the errors of all contenders."""
    one = trial_of(task, seed)
    adata, embedding = one.adata, one.embedding
    cells = population(adata, resolve(adata))
    options = {name: {"max_steps": steps, **CPU} for name in networks}
    called = read_members(None, cells, embedding=embedding, preset="fast")
    config = {"members": {**{own.name: None for own in called}, **options}} if networks else None
    before = time.process_time()
    model = sh.tl.fit(adata, "auto", embedding=embedding, config=config, rng=seed)
    seconds = time.process_time() - before
    measure = Measure(cells, [np.where(cells.split == 1, -1, cells.split)], seed=seed)
    found = {"auto": measure.of(model)}
    names = [name for name in model.weights["member"].unique() if name != TOGETHER]
    of_members = 0.0
    for name in names:
        before = time.process_time()
        own = Member(name, options.get(name, {})).fit(cells, embedding=embedding, seed=seed)
        of_members += time.process_time() - before
        try:
            found[name] = measure.of(model.members.get(name, own))
        except (KeyError, ValueError):
            continue  # it cannot predict a condition
    rule = REFERENCES[one.by]
    found["rule"] = found[rule if rule in found else "mean_shift"]
    tried = model.weights[model.weights["n_conditions"] > 0]
    return Trial(found, tried, one.by, seconds, of_members)


def row(task: str, trials: list[Trial]) -> dict[str, object]:
    """Return the line of a screen and split."""
    data, _, split = task.partition(":")
    parts: dict[str, list[pd.DataFrame]] = {}
    for one in trials:
        for name, table in one.errors.items():
            parts.setdefault(name, []).append(table)
    whole = {name: pd.concat(own) for name, own in parts.items() if len(own) == len(trials)}
    energy = {name: float(table["energy"].mean()) for name, table in whole.items()}
    auto, rule = whole["auto"], whole["rule"]
    gap = auto["energy"] - rule["energy"]
    unit = gap.index.str.split(" | ", regex=False).str[1 if trials[0].by == "context" else 0]
    means = gap.groupby(unit).mean()
    error = float(means.std() / np.sqrt(len(means))) if len(means) > 1 else np.nan
    alone = {name: value for name, value in energy.items() if name not in ("auto", "rule")}
    best, copy = min(alone, key=alone.get), auto["square copy"].sum()
    energy["copy"] = float(auto["copy"].mean())
    print(f"\n{task}\n{pd.Series(energy).sort_values().round(4).to_string()}", flush=True)
    better = sum(value < energy["auto"] for value in alone.values())
    return {
        "screen": data,
        "split": split,
        "copy": f"{energy['copy']:.4f}",
        "rule": f"{energy['rule']:.4f}",
        "auto": f"{energy['auto']:.4f}",
        "auto-rule": f"{gap.mean():+.4f} ± {error:.4f}",
        "best": f"{best} {energy[best]:.4f}",
        "rank": f"{better + 1} of {len(alone) + 1}",
        "sq rule": f"{rule['square'].sum() / copy:.3f}",
        "sq auto": f"{auto['square'].sum() / copy:.3f}",
        "CPU s": f"{np.mean([one.seconds for one in trials]):.1f}",
        "members": f"{np.mean([one.of_members for one in trials]):.1f}",
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4, 5])
    parser.add_argument("--networks", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--members", action="store_true")
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    rows = []
    for task in given.only:
        trials = []
        for seed in given.seeds:
            trials.append(trial(task, seed, given.networks, given.steps))
            if given.members:
                shown = trials[-1].weights
                shown = shown[["kind", "member", "weight", "error", "n_units", "note"]]
                print(f"\n{task}, seed {seed}\n{shown.round(3).to_string(index=False)}")
        rows.append(row(task, trials))
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
