"""In how many cells a gene is off after a response: laws against what held-out cells hold, on every real screen.

    python benchmarks/zeros.py [--data papalexi renge] [--seeds 0 1 2] [--folder DIR]

A held-out condition has the mean m of a gene, and the control cells of its context have the mean m0 and the share of zeros p. All
laws are told m, m0 and p: they say -log(zeros) = -log(p) + slope * (m - m0). Mean absolute errors of the share of zeros, over
held-out conditions with 60 cells in a context with 60 controls, and over genes that are on in some training cell. Slopes:

- `models`: what models do, `expected_zero_fraction`: that of the controls as far as these have the gene, that of training for the rest;
- `controls`: -log(p) / m0 of the controls of the context, which gives p ** r with r = m / m0; 0 where no control has the gene;
- `training`: the same of all training cells put together, perturbed ones and controls;
- `training of context`: of the training cells of the context alone;
- `regression`: through the share of zeros and the mean of every training condition, weighted by its cells;
- `none`: p itself.

`unseen` are the errors over the genes that no control cell of the context has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _screens import DATA, FOLDER, Task, prepare

from shoal.core._codes import members
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._expression import Expression
from shoal.models.post._zero_fraction import expected_zero_fraction

LEAST = 60


def slope_of(x: np.ndarray) -> np.ndarray:
    """Return -log(share of zeros) / mean of every gene, and 0 for genes that are off."""
    share, mean = ((x <= 0).sum(0) + 0.5) / (len(x) + 0.5), x.mean(0)
    return np.where(mean > 0, -np.log(share) / np.where(mean > 0, mean, 1), 0)


def regression(several: list[np.ndarray]) -> np.ndarray:
    """Return the slope of -log(share of zeros) against the mean over conditions, through 0."""
    mean = np.stack([x.mean(0) for x in several])
    share = np.stack([((x <= 0).sum(0) + 0.5) / (len(x) + 0.5) for x in several])
    n = np.array([len(x) for x in several])[:, None]
    square = (n * mean**2).sum(0)
    return np.where(
        square > 0, (n * mean * -np.log(share)).sum(0) / np.where(square > 0, square, 1), 0
    )


def errors(data: str, split: str, seed: int, folder: Path) -> list[dict[str, float]]:
    adata = prepare(Task(data, split, seed, (), None, folder))
    cells = population(adata, resolve(adata))
    values = adata.X.toarray()
    train, control = cells.train | cells.train_control, cells.labels.is_control
    known = (values[train] > 0).any(0)
    place = np.where(control, -1, cells.labels.code) * len(cells.contexts) + cells.context
    groups = [np.flatnonzero(train)[own] for own in members(place[train])]
    told = Expression.of_training(cells).zero_slope
    through = regression([values[own] for own in groups])
    found = []
    for own in members(place):
        here = cells.context == cells.context[own[0]]
        real, start = values[own], values[here & control]
        is_test = cells.split[own[0]] == 2 and not control[own[0]]
        if not is_test or min(len(real), len(start)) < LEAST:
            continue
        slopes = {
            "controls": slope_of(start),
            "training": told,
            "training of context": slope_of(values[here & train]),
            "regression": through,
            "none": np.zeros(len(known)),
        }
        p, m0, m = (start <= 0).mean(0), start.mean(0), real.mean(0)
        row = {}
        laws = {name: p * np.exp(-slope * (m - m0)) for name, slope in slopes.items()}
        for name, guess in {"models": expected_zero_fraction(m, start, told), **laws}.items():
            away = np.abs(np.minimum(guess, 1) - (real <= 0).mean(0))
            row[name] = away[known].mean()
            unseen = known & (m0 == 0) & (m > 0)
            row[f"unseen, {name}"] = away[unseen].mean() if unseen.any() else np.nan
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = [name for name, data in DATA.items() if data.counts]
    parser.add_argument("--data", nargs="+", default=counts, choices=counts)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    table = {}
    for name in given.data:
        for split in DATA[name].splits:
            found = [row for seed in given.seeds for row in errors(name, split, seed, given.folder)]
            table[f"{name}, {split}"] = pd.DataFrame(found).mean().to_dict() | {
                "conditions": len(found)
            }
    print(pd.DataFrame(table).T.round(4).to_markdown())


if __name__ == "__main__":
    main()
