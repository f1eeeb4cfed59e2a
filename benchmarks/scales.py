"""What the checks of scale say of real screens: no honest value is refused, and every other scale is named.

    python benchmarks/scales.py [--data papalexi renge] [--networks] [--steps 200] [--folder DIR]

Three tables:

- the kind that `core._scale.look` reads from real counts under common transformations;
- of every baseline (and network) and of distorted ones, the reason why `tl.evaluate` would refuse it, which
  should be none, and the difference between its mean profile and the real one;
- of a second experiment on other scales, the reason, which should name the scale.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from _screens import DATA, FOLDER, Data, Split, Task, fitted, prepare
from anndata import read_h5ad

from shoal.core._matrix import as_rows
from shoal.core._population import population
from shoal.core._scale import look
from shoal.core._screen import resolve
from shoal.evaluation._task import evaluation_tasks, rows_predicted
from shoal.metrics._cells import densify
from shoal.metrics._comparison import Populations
from shoal.metrics._scale_match import mismatch
from shoal.metrics._scale_profiles import profiles
from shoal.models.base._registry import names

if TYPE_CHECKING:
    from collections.abc import Callable

    import anndata as ad

    from shoal._typing import Floats
    from shoal.evaluation._task import EvaluationTask

DATA["nelisa"] = Data(
    "nelisa_a549_302compounds.h5ad",
    "perturbation",
    "DMSO",
    {"perturbation": Split("perturbation")},
    columns={"batch_key": "plate"},
    counts=False,
)
CELLS = 2_000  # cells of the first table


SHORTER = {  # what the third table leaves out of the messages
    "predicted values are those of cells scaled to about ": "",
    " the counts of the real ones": " the counts",
    ": another target_sum, such as 10,000 against the median depth?": "",
    "predicted values are ": "",
    "predicted means are below 0 in many genes, and real values are not: scaled, centred?": (
        "below 0 in many genes"
    ),
}


def scaled_to(depth: float) -> Callable[[Floats], Floats]:
    """Return a function from counts to cells that all have the same total."""

    def scale(counts: Floats) -> Floats:
        totals = counts.sum(axis=1, keepdims=True)
        return counts / np.maximum(totals, 1) * (depth or np.median(totals))

    return scale


def _estimated(counts: Floats) -> Floats:
    """Return counts of which a fifth were divided between genes, as alevin does."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(counts.shape) < 0.2, counts * rng.random(counts.shape), counts)


def _small(counts: Floats) -> Floats:
    """Return the genes whose counts are all below 20."""
    small: Floats = counts[:, counts.max(axis=0) < 20]
    return small


TRANSFORMED: dict[str, tuple[str, Callable[[Floats], Floats]]] = {
    "counts": ("counts", lambda c: c),
    "CP10k": ("linear", scaled_to(1e4)),
    "median-normalised": ("linear", scaled_to(0)),
    "below 20, less background": ("linear", lambda c: np.maximum(_small(c) * 0.95 - 0.02, 0)),
    "below 20, divided": ("linear", lambda c: _estimated(_small(c))),
    "below 20, median-normalised": ("linear", lambda c: scaled_to(0)(_small(c))),
    "log1p CP10k": ("log", lambda c: np.log1p(scaled_to(1e4)(c))),
    "log1p CPM": ("log", lambda c: np.log1p(scaled_to(1e6)(c))),
    "log1p median": ("log", lambda c: np.log1p(scaled_to(0)(c))),
    "log1p counts": ("log", np.log1p),
    "log2 CP10k": ("log", lambda c: np.log2(1 + scaled_to(1e4)(c))),
    "log2 median": ("log", lambda c: np.log2(1 + scaled_to(0)(c))),
    "log2 counts": ("log", lambda c: np.log2(1 + c)),
    "arcsinh counts": ("log", np.arcsinh),
    "roots, below 20": ("log", lambda c: np.sqrt(scaled_to(0)(_small(c)))),
    "roots of counts below 20": ("log", lambda c: np.sqrt(_small(c))),
    "z-scored": ("signed", lambda c: np.log1p(c) - np.log1p(c).mean(axis=0)),
}
OTHER: dict[
    str, Callable[[Floats], Floats]
] = {  # from natural logarithms of median-normalised cells
    "log2": lambda x: x / np.log(2),
    "log10": lambda x: x / np.log(10),
    "not logged": np.expm1,
    "5 x the depth": lambda x: np.log1p(5 * np.expm1(x)),
    "a fifth of the depth": lambda x: np.log1p(np.expm1(x) / 5),
    "log2, 5 x the depth": lambda x: np.log2(1 + 5 * np.expm1(x)),
    "not logged, 5 x": lambda x: 5 * np.expm1(x),
    "z-scored": lambda x: (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6),
    "half as large": lambda x: 0.5 * x,
}


def kinds(data: str, folder: Path) -> dict[str, str]:
    """Return what is read from the counts of a screen under all transformations."""
    adata = read_h5ad(folder / DATA[data].file)
    counts = densify(adata.X[:: max(1, adata.n_obs // CELLS)]).astype(float)
    found = {}
    for name, (expected, function) in TRANSFORMED.items():
        kind = look(as_rows(function(counts))).kind
        found[name] = kind if kind == expected else f"**{kind}**"
    return found


def task_of(data: str, split: str, folder: Path) -> tuple[ad.AnnData, EvaluationTask]:
    """Return a screen and what is predicted of it."""
    adata = prepare(Task(data, split, 0, (), None, folder))
    halves = DATA[data].counts  # wells are too few to be halved
    options = {"split": "test", "n_comps": 10, "min_cells": 20 if halves else 2}
    cells = population(adata, resolve(adata))
    return adata, evaluation_tasks(cells, halves=halves, seed=0, **options)[0]


def judged(task: EvaluationTask, means: Floats) -> tuple[str, float]:
    """Return why predicted means are refused, and how far they are from the real ones."""
    found = profiles(Populations(task.truth, task.truth.cells, exact=means))
    return mismatch(found), found.least_error


def distorted(task: EvaluationTask, means: Floats) -> dict[str, Floats]:
    """Return bad predictions that are on the right scale."""
    control, rng = task.truth.control, np.random.default_rng(0)
    return {
        "effects x 2": np.maximum(control + 2 * (means - control), min(control.min(), 0)),
        "effects x 5": np.maximum(control + 5 * (means - control), min(control.min(), 0)),
        "effects reversed": np.maximum(2 * control - means, min(control.min(), 0)),
        "one cell for all": np.broadcast_to(means.mean(axis=0), means.shape),
        "one value for all": np.full_like(means, means.mean()),
        "genes in random order": means[:, rng.permutation(means.shape[1])],
    }


def honest(data: str, folder: Path, models: list[str], steps: int) -> list[dict[str, Any]]:
    """Judge every model that can predict a split, and what is left of it after distortion."""
    rows = []
    for split, plan in DATA[data].splits.items():
        adata, task = task_of(data, split, folder)

        def judge(name: str, means: Floats) -> None:
            reason, error = judged(task, means)  # noqa: B023
            row = {"data": data, "split": split, "prediction": name}  # noqa: B023
            rows.append({**row, "difference": error, "refused": reason})

        for name in models:
            try:
                model = fitted(adata, name, plan.embedding, steps=steps, seed=0)
                asked = np.isin(np.arange(adata.n_obs), rows_predicted([task]))
                made = task.populations(*model.twins(subset=asked)[:2]).means
            except (ValueError, KeyError):  # it cannot predict this split
                continue
            judge(name, made)
            if name in ("mean_shift", "flow"):
                for kind, means in distorted(task, made).items():
                    judge(f"{name}, {kind}", means)
    return rows


def on_other_scales(data: str, folder: Path) -> list[dict[str, Any]]:
    """Judge the first halves of the real conditions, brought to other scales."""
    adata, task = task_of(data, next(iter(DATA[data].splits)), folder)
    own = densify(adata.X).astype(float)
    rows = []
    for name, function in OTHER.items():
        values = function(own)
        means = np.stack([values[at].mean(axis=0) for at in task.predicted])
        reason = judged(task, means)[0]
        for long, short in SHORTER.items():
            reason = reason.replace(long, short)
        rows.append({"data": data, "prediction on": name, "reason": reason})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--networks", action="store_true", help="train the networks too")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()

    counts = [name for name in given.data if DATA[name].counts]
    print("\n## What is read from real counts (bold: wrong)\n")
    print(pd.DataFrame({name: kinds(name, given.folder) for name in counts}).to_markdown())
    models = names("baseline") + (names("network", images=False) if given.networks else [])
    found = pd.DataFrame(
        [row for name in given.data for row in honest(name, given.folder, models, given.steps)]
    )
    print(f"\n## Honest predictions: {(found['refused'] != '').sum()} of {len(found)} refused\n")
    print(found.round(2).to_markdown(index=False))
    print("\n## A second experiment on another scale\n")
    rows = [row for name in counts for row in on_other_scales(name, given.folder)]
    reasons = pd.DataFrame(rows).pivot(index="prediction on", columns="data", values="reason")
    print(reasons.loc[list(OTHER), counts].to_markdown())


if __name__ == "__main__":
    main()
