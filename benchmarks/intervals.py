"""Coverage and width of intervals of the ensemble without networks, on held-out conditions of real screens.

    python benchmarks/intervals.py [--only papalexi:guide kang:context] [--seeds 3 4 5] [--level 0.9] [--model auto] [--rows DIR]

A row for each screen and split, over held-out conditions of all seeds. Intervals are those of `sh.tl.predict(..., interval=0.9)`, and
`sh.tl.evaluate_intervals` judges them.

n         held-out conditions, of all seeds, and how many perturbations (or new contexts) they are of
units     perturbations (or contexts) that inner folds left out, and the level that so many allow, on average over conditions
cover     share of conditions of which 90 % of the features are covered; 95 % interval in brackets (Clopper and Pearson)
expected  the level, and how far from it `cover` is by chance (standard deviation): few units are held out, and few calibrate. Whole
          units are taken as covered or not, so this is an upper bound. In brackets the least that the next whole rank would cover,
          without interpolation: ceil(.9 (U + 1)) / (U + 1) of U units; a dash where they allow no rank
weak strong   the same of the halves with the weaker and the stronger measured response
pooled    share of features that pooled intervals cover
noise     share of features that intervals of the sampling noise alone would cover
width     mean width, over that of the sampling noise alone: 1 if predictions are as good as a second sample
bound     share of conditions whose true response is within the bound, and the median bound over the size of the true response
P(resp)   mean probability of a response, and share of conditions that respond; Brier score, and that of the share of all

Below come the coverage by number of units, and the curve of reliability of all screens together. With `--rows`, results are kept in a
folder, one file a screen, split and seed, and a call goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _ensemble_screens import TASKS, trial_of
from scipy.stats import norm

import shoal as sh
from shoal.evaluation._intervals import reliability, share_interval


def trial(task: str, seed: int, *, name: str, level: float) -> pd.DataFrame:
    """Return a row for each held-out condition."""
    one = trial_of(task, seed)
    adata = one.adata
    given = {} if one.embedding is None else {"embedding": one.embedding}
    model = sh.tl.fit(adata, name, rng=seed, calibrate=True, **given)
    tables = []
    for pooled in (False, True):
        sh.tl.predict(adata, model, subset="test", interval=level, pooled=pooled, rng=seed)
        sh.tl.evaluate_intervals(adata, prediction="predicted")
        tables.append(adata.uns["interval_evaluation"]["table"])
    entry = adata.uns["predicted_intervals"]
    found = tables[0].join(tables[1]["covered"].rename("pooled"))
    known = model.calibration
    own = [known.kinds[kind] for kind in found["kind"]]
    found["n_units"], found["reached"] = zip(
        *((one.n_units, min(level, one.reached)) for one in own), strict=True
    )
    at = entry["table"].index.get_indexer(found.index)
    real = adata.uns["interval_evaluation"]["response"]
    control = np.array([one.control for one in own])
    noise = np.sqrt((1 / found["n_cells"].to_numpy() + control)[:, None] * known.cell)
    half, varies = norm.ppf((1 + level) / 2) * noise, noise.max(axis=0) > 0
    gap = np.abs(entry["response"][at] - real)
    found["noise"] = (gap <= half)[:, varies].mean(axis=1)
    found["relative"] = found["width"] / (2 * half[:, varies].mean(axis=1))
    return found.assign(seed=seed)


def kept(folder: Path | None, task: str, seed: int, **options) -> pd.DataFrame:
    """Return the rows that a folder holds, or new ones, which it then holds."""
    if folder is None:
        return trial(task, seed, **options)
    path = folder / f"{task.replace(':', '_').replace(' ', '_')}_{seed}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        trial(task, seed, **options).to_csv(path)
    return pd.read_csv(path, index_col=0)


def chance(found: pd.DataFrame, level: float) -> float:
    """Return the variance of the coverage of conditions of a screen and split, if the level is right."""
    by_context = found["task"].iloc[0].endswith(":context")
    held = found.groupby("context" if by_context else "perturbation").size() / len(found)
    return level * (1 - level) * float((held**2).sum() + 1 / (found["n_units"].mean() + 2))


def expected(found: pd.DataFrame, level: float) -> str:
    """Return the level, the scatter of the coverage by chance, and what the next whole rank would cover."""
    u = np.round(found["n_units"].to_numpy())
    whole = np.ceil(level * (u + 1) - 1e-9) / (u + 1)
    rank = f"{whole.mean():.2f}" if (whole < 1).all() else "-"
    return f"{level:.2f} ± {np.sqrt(chance(found, level)):.2f} ({rank})"


def by_units(everything: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the coverage of conditions by the number of units that inner folds left out of their kind."""
    group = pd.cut(
        everything["n_units"], [0, 3, 8, 20, np.inf], labels=["2, 3", "4-8", "9-20", "> 20"]
    )
    rows = []
    for name, own in everything.groupby(group, observed=True):
        k, n = int(own["inside"].sum()), len(own)
        low, high = share_interval(k, n)
        tasks = own.groupby("task")["inside"].mean()
        scatter = np.sqrt(sum(chance(one, level) for _, one in own.groupby("task"))) / len(tasks)
        rows.append(
            {
                "units": name,
                "conditions": n,
                "cover": f"{k / n:.2f} ({low:.2f} to {high:.2f})",
                "screens and splits": len(tasks),
                "their mean": f"{tasks.mean():.2f}",
                "expected": f"{level:.2f} ± {scatter:.2f}",
                "bound": f"{own['within'].mean():.2f}",
                "width": f"{own['relative'].mean():.1f}",
            }
        )
    return pd.DataFrame(rows)


def row(task: str, found: pd.DataFrame, level: float) -> dict[str, object]:
    """Return the line of a screen and split."""
    data, _, split = task.partition(":")
    inside, n = found["inside"], len(found)
    held = found["context" if split == "context" else "perturbation"].nunique()
    low, high = share_interval(int(inside.sum()), n)
    strong = found["strength"] >= found["strength"].median()
    ratio = found["bound"] / found["strength"].where(found["strength"] > 0)
    responds, p = found["responds"], found["probability"]
    brier, base = ((p - responds) ** 2).mean(), responds.mean() * (1 - responds.mean())
    return {
        "screen": data,
        "split": split,
        "n": f"{n} of {held}",
        "units": f"{found['n_units'].mean():.0f}, {found['reached'].mean():.2f}",
        "cover": f"{inside.mean():.2f} ({low:.2f} to {high:.2f})",
        "expected": expected(found, level),
        "weak": f"{inside[~strong].mean():.2f}",
        "strong": f"{inside[strong].mean():.2f}",
        "pooled": f"{found['pooled'].mean():.2f}",
        "noise": f"{found['noise'].mean():.2f}",
        "width": f"{found['relative'].mean():.1f}",
        "bound": f"{found['within'].mean():.2f}, {ratio.median():.1f}",
        "P(resp)": f"{p.mean():.2f} {responds.mean():.2f}; {brier:.3f} {base:.3f}",
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[3, 4, 5])
    parser.add_argument("--level", type=float, default=0.9)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--rows", type=Path)
    given = parser.parse_args()
    logging.getLogger("shoal").setLevel(logging.ERROR)
    rows, everything, before = [], [], time.process_time()
    for task in given.only:
        options = {"name": given.model, "level": given.level}
        found = pd.concat(kept(given.rows, task, seed, **options) for seed in given.seeds)
        found = found.assign(task=task)
        rows.append(row(task, found, given.level))
        everything.append(found)
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, disable_numparse=True))
    together = pd.concat(everything)
    real = together[~together["task"].str.startswith("null")]
    means = real.groupby("task")[["inside", "pooled"]].mean().mean()
    several = [one for _, one in real.groupby("task")]
    scatter = np.sqrt(sum(chance(one, given.level) for one in several)) / len(several)
    print(
        f"\nmean over real screens: cover {means['inside']:.3f}, expected {given.level:.3f} ± "
        f"{scatter:.3f}, pooled {means['pooled']:.3f}\n"
    )
    print(by_units(real, given.level).to_markdown(index=False, disable_numparse=True), "\n")
    curve = reliability(together["probability"].to_numpy(), together["responds"].to_numpy(bool))
    print(curve.round(2).to_markdown(index=False))
    print(f"\nCPU {time.process_time() - before:.0f} s")


if __name__ == "__main__":
    main()
