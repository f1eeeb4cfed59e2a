"""The ensemble beside its members and the rule, on held-out conditions of real screens.

    python benchmarks/ensemble.py [--only papalexi:guide kang:context] [--seeds 3 4 5] [--networks flow --steps 500] [--judge]
                                  [--members] [--rows DIR]

A row for each screen and split, means over held-out conditions and seeds. Energy distances to the real cells along 50 principal
axes of the training cells, unbiased: 0 for a second sample in the mean.

copy        of the control cells that predictions start from
rule        of the baseline that goes with the kind of split, `shoal.evaluation._reference.REFERENCES`
auto        of `sh.tl.fit(adata, "auto")`, without networks
auto - rule mean difference over conditions, with its 95 % interval over perturbations (contexts where these are held out;
            conditions of several seeds count as one)
flow ...    of networks, if there are any; of auto without them, and the difference to it
carried     of auto where all its cells are control cells, and the difference to it; empty where they are
best        of the best member, chosen with hindsight
rank        of auto among its members
sq          squared distance of predicted and real mean responses along the axes, over that of the copy: rule, auto
CPU s       to fit the ensemble (a dash if it went on from folds of an interrupted call); to train each of its members once (networks
            that it holds are not trained again)

A second table has the mean rank of every contender over all screens and splits that it answers, and on how many of these auto is
better or worse than it by an interval without 0. With `--networks` it has a row for auto without them. `--judge` evaluates auto and the rule by `sh.tl.evaluate`: score (0 for the rule),
correlations of the response to controls and to the perturbed mean, Wasserstein distance of genes, genes called wrongly. `--members`
prints weights. `--networks` adds networks to the members, trained for `--steps` steps each. With `--rows`, results are kept in a
folder, one file a task and seed, and a call goes on where the last one stopped, in the middle of the folds of networks too.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _ensemble_screens import TASKS, trial_of
from _ensemble_tables import CARRIED, METRICS, WITHOUT, Trial, against, judged, row
from carriers import carried_by, fitted, folder_of

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._inner_error import InnerError
from shoal.evaluation._reference import REFERENCES
from shoal.models.ensemble._carrier import CONTROL, others_of
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


def judgement(adata, model, *, rule: str, embedding: str | None, seed: int) -> dict[str, float]:
    """Return what `tl.evaluate` says of auto, beside the reference of the split."""
    sh.tl.predict(adata, model, key_added="auto", subset="test", rng=seed)
    sh.tl.evaluate(adata, prediction="auto", baselines=[rule], embedding=embedding, rng=seed)
    entry = adata.uns["evaluation"]
    found = {name: entry["params"][name] for name in ("score", "score_low", "score_high")}
    for name in METRICS:
        line = entry["summary"].loc[name]
        found |= {name: line["value"], f"{name} rule": line["reference_value"]}
    return {name: float(value) for name, value in found.items()}


def trial(
    task: str,
    seed: int,
    *,
    networks: list[str],
    steps: int,
    judge: bool,
    members: bool,
    rows: Path | None,
) -> Trial:
    """Return the errors of all contenders."""
    one = trial_of(task, seed)
    adata, embedding = one.adata, one.embedding
    cells = population(adata, resolve(adata))
    begun = bool(networks) and rows is not None and folder_of(rows, task, seed).exists()
    before = time.process_time()
    model, options = fitted(one, cells, task, seed, networks=networks, steps=steps, rows=rows)
    seconds = float("nan") if begun else time.process_time() - before
    about = {"by": one.by, "seconds": seconds, "members": 0.0, "networks": networks}
    about["carriers"] = model.carriers[model.carriers["energy"].notna()].to_dict("list")
    measure = Measure(cells, [np.where(cells.split == 1, -1, cells.split)], seed=seed)
    found = {"auto": measure.of(model)}
    if others_of(model.carriers):
        found[CARRIED] = measure.of(carried_by(model, CONTROL))
    if networks:
        found[WITHOUT] = measure.of(sh.tl.fit(adata, "auto", embedding=embedding, rng=seed))
    for name in [name for name in model.weights["member"].unique() if name != TOGETHER]:
        own, before = model.members.get(name), time.process_time()
        if own is None or name not in networks:  # a network that is there is not trained again
            again = Member(name, options.get(name, {})).fit(cells, embedding=embedding, seed=seed)
            own = own or again
        about["members"] += time.process_time() - before
        try:
            found[name] = measure.of(own)
        except (KeyError, ValueError):
            continue  # it cannot predict a condition
    rule = REFERENCES[one.by]
    found["rule"] = found[rule if rule in found else "mean_shift"]
    if members:
        shown = model.weights[model.weights["n_conditions"] > 0]
        shown = shown[["kind", "member", "weight", "error", "n_units", "note"]]
        print(f"\n{task}, seed {seed}\n{shown.round(3).to_string(index=False)}", flush=True)
    if judge:
        try:
            about["judged"] = judgement(adata, model, rule=rule, embedding=embedding, seed=seed)
        except ValueError as err:  # wells are too few for its metrics of cells
            print(f"{task} is not judged: {err}", flush=True)
    return Trial(pd.concat([own.assign(contender=name) for name, own in found.items()]), about)


def kept(folder: Path | None, task: str, seed: int, **options) -> Trial:
    """Return the trial that a folder holds, or a new one, which it then holds."""
    if folder is None:
        return trial(task, seed, rows=None, **options)
    path = folder / f"{task.replace(':', '_').replace(' ', '_')}_{seed}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = trial(task, seed, rows=folder, **options)
        path.with_suffix(".json").write_text(json.dumps(found.about))
        found.errors.to_csv(path)
    return Trial(pd.read_csv(path, index_col=0), json.loads(path.with_suffix(".json").read_text()))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4, 5])
    parser.add_argument("--networks", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--members", action="store_true")
    parser.add_argument("--rows", type=Path)
    given = vars(parser.parse_args())
    tasks, seeds, folder = (given.pop(name) for name in ("only", "seeds", "rows"))
    logging.getLogger("shoal").setLevel(logging.ERROR)
    several = {task: [kept(folder, task, seed, **given) for seed in seeds] for task in tasks}

    def show(table: pd.DataFrame) -> None:
        print(f"\n{table.to_markdown(index=False, disable_numparse=True)}")

    show(pd.DataFrame([row(task, own) for task, own in several.items()]))
    show(against(several))
    lines = [judged(t, own) for t, own in several.items() if all("judged" in o.about for o in own)]
    if lines:
        show(pd.DataFrame(lines))


if __name__ == "__main__":
    main()
